"""Find the lightest plate with an elliptical hole that bears its load, with the finite-element program CalculiX.

A square steel plate is pulled in two directions. The larger the hole, the lighter the plate, but the stress at its edge
must stay below a limit. Each experiment writes an input deck in a folder of its own, runs the program, and reads the
volume, the highest stress and the field of stresses. Some holes cut the edge of the plate: there the program fails. A
Gaussian process learns the stress from all experiments, also from those that failed, and proposes the next holes. The
loop ends when two rounds made the plate less than 1 % lighter.

The best plate is written to `best.json`, and the search to `plate.png`, in the folder of the run. This takes about
twenty seconds on two cores. It needs CalculiX (`apt-get install calculix-ccx`). Run it with one of

    orchestrator run docs/examples/plate_calculix.py
    python docs/examples/plate_calculix.py
"""

import json
import os
from pathlib import Path

import numpy as np

from orchestrator import Block, CommandGenerator, Domain, ExperimentData, Loop, Pipeline, Step, create_sampler

# The experiments run in parallel: with more than one thread each, they would slow each other down.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

HALF_WIDTH = 50.0  # mm, of the plate
LOADS = {"thickness": 1.0, "tension_x": 100.0, "tension_y": 50.0}  # mm, MPa, MPa
LIMIT = 220.0  # MPa
SIZES = (5.0, 60.0)  # mm, of the half axes of the hole: larger ones than the plate fail
FIRST = 12  # experiments before the first round
MARGINS = (0.0, 1.0, 2.0, 3.0)  # from bold to careful: an experiment in each round for each of them
AROUND, OUTWARD = 16, 10  # elements of the mesh


def prepare(a: float, b: float, **_) -> dict:
    """Return the mesh of a quarter of the plate, whose hole has the half axes a and b."""
    # A grid with a point for each corner and each middle of an edge of an element. It leaves out their centres.
    angles = np.linspace(0, np.pi / 2, 2 * AROUND + 1)
    hole = np.column_stack([a * np.cos(angles), b * np.sin(angles)])
    edge = np.column_stack([np.cos(angles), np.sin(angles)])
    edge *= HALF_WIDTH / edge.max(axis=1, keepdims=True)
    outward = np.linspace(0, 1, OUTWARD + 1) ** 1.5  # small elements at the hole
    outward = np.sort(np.concatenate([outward, (outward[1:] + outward[:-1]) / 2]))
    points = hole + outward[:, None, None] * (edge - hole)

    i, j = np.indices(points.shape[:2])
    is_node = (i % 2 == 0) | (j % 2 == 0)
    number = np.cumsum(is_node).reshape(is_node.shape)
    around = [(0, 0), (2, 0), (2, 2), (0, 2), (1, 0), (2, 1), (1, 2), (0, 1)]
    first = [(i, j) for i in range(0, 2 * OUTWARD, 2) for j in range(0, 2 * AROUND, 2)]
    elements = [[int(number[i + di, j + dj]) for di, dj in around] for i, j in first]
    outermost = range(len(elements) - AROUND + 1, len(elements) + 1)
    return {
        "nodes": points[is_node].tolist(),
        "elements": elements,
        "bottom": number[:, 0].tolist(),
        "left": number[:, -1].tolist(),
        "right": outermost[: AROUND // 2],
        "top": outermost[AROUND // 2 :],
    }


def read(folder: Path) -> dict:
    """Read what CalculiX has computed: the volume in mm3, the highest stress in MPa, and the field of stresses."""
    volume = float((folder / "plate.dat").read_text().split()[-1])
    blocks = (folder / "plate.frd").read_text().split("\n -3")
    nodes = _values(next(block for block in blocks if "    2C " in block))
    stresses = _values(next(block for block in blocks if " -4  STRESS" in block))
    xx, yy, zz, xy, yz, zx = stresses.T
    shear = xy**2 + yz**2 + zx**2
    von_mises = np.sqrt(((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * shear)
    field = np.column_stack([nodes[:, :2], von_mises])
    return {"volume": volume, "stress": float(von_mises.max()), "field": field}


def _values(block: str) -> np.ndarray:
    """Return the numbers in a block of the results: a line for each node, 12 characters for each number."""
    lines = [line[13:] for line in block.splitlines() if line.startswith(" -1")]
    return np.array([[float(line[i : i + 12]) for i in range(0, len(line.rstrip()), 12)] for line in lines])


def create(project_dir: Path) -> None:
    """Write the first holes into `project_dir`."""
    domain = Domain()
    domain.add_float("a", *SIZES)
    domain.add_float("b", *SIZES)
    for output in ("volume", "stress"):
        domain.add_output(output)
    domain.add_output("field", to_disk=True)
    # A small hole, with which the plate surely bears its load, and some anywhere.
    small = ExperimentData(domain=domain, input_data=[{"a": 12.0, "b": 6.0}])
    anywhere = create_sampler("latin", seed=1).call(ExperimentData(domain=domain), n_samples=FIRST - 1)
    (small + anywhere).store(project_dir)


def numbers(data: ExperimentData):
    """Return the half axes, volumes and stresses of all experiments; a failed one has no volume and no stress."""
    inputs, outputs = data.to_pandas()
    return inputs[["a", "b"]].to_numpy(float), *outputs[["volume", "stress"]].to_numpy(float).T


def surrogate(axes: np.ndarray, stress: np.ndarray):
    """Fit a Gaussian process to the logarithm of the stress. A failed plate is as bad as one far above the limit."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    known = np.log(np.fmin(stress, 3 * LIMIT))
    # The length is fixed: the first experiments are too few to show it.
    process = GaussianProcessRegressor(Matern(25.0, nu=2.5), alpha=1e-4, optimizer=None, normalize_y=True)
    return process.fit(axes, known)


class Propose(Block):
    """Add for each margin the largest hole whose predicted stress is below the limit by so many standard deviations."""

    def call(self, data: ExperimentData, seed: int) -> ExperimentData:
        axes, _, stress = numbers(data)
        holes = np.random.default_rng(seed).uniform(*SIZES, (5000, 2))
        mean, spread = surrogate(axes, stress).predict(holes, return_std=True)
        area = holes.prod(axis=1)
        rows = []
        for margin in MARGINS:
            best = np.where(mean + margin * spread < np.log(LIMIT), area, 0).argmax()
            rows.append(dict(zip(("a", "b"), holes[best].tolist(), strict=True)))
            area[best] = 0  # no hole twice
        return data + ExperimentData(domain=data.domain, input_data=rows)


def lightest(volume: np.ndarray, stress: np.ndarray) -> int:
    """Return the place of the lightest plate that bears its load."""
    return int(np.where(stress <= LIMIT, volume, np.inf).argmin())


def converged(data: ExperimentData) -> bool:
    """Whether the last two rounds made the plate less than 1 % lighter."""
    _, volume, stress = numbers(data)
    earlier = len(volume) - 2 * len(MARGINS)
    before, now = (volume[lightest(volume[:n], stress[:n])] for n in (max(earlier, 1), len(volume)))
    return earlier >= FIRST and bool(now > 0.99 * before)


def report(project_dir: Path) -> None:
    """Print the best plate, write it to `best.json`, and draw the search."""
    data = ExperimentData.from_file(project_dir)
    axes, volume, stress = numbers(data)
    row = lightest(volume, stress)
    best = {
        "a": float(axes[row, 0]),
        "b": float(axes[row, 1]),
        "stress": float(stress[row]),
        "saved": 1 - float(volume[row]) / (HALF_WIDTH**2 * LOADS["thickness"]),
        "experiments": len(axes),
        "failed": int(np.isnan(stress).sum()),
    }
    (project_dir / "best.json").write_text(json.dumps(best, indent=2) + "\n")
    print(f"best of {best['experiments']} plates, {best['failed']} of which failed: ", end="")
    print(f"half axes {best['a']:.1f} and {best['b']:.1f} mm, {best['stress']:.0f} MPa, {best['saved']:.0%} lighter")
    plot(project_dir / "plate.png", axes, stress, row, data.get_experiment_sample(row).output_data["field"])


def plot(path: Path, axes: np.ndarray, stress: np.ndarray, row: int, field: np.ndarray) -> None:
    """Draw the experiments over the surrogate, and the stresses in the best plate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    a, b = np.meshgrid(np.linspace(*SIZES, 60), np.linspace(*SIZES, 60))
    predicted = np.exp(surrogate(axes, stress).predict(np.column_stack([a.ravel(), b.ravel()]))).reshape(a.shape)
    shown = left.contourf(a, b, predicted, levels=np.arange(100, 701, 50), cmap="YlOrRd", extend="both")
    figure.colorbar(shown, label="predicted highest stress in MPa")
    left.contour(a, b, predicted, levels=[LIMIT], colors="k", linestyles="--")
    has_failed = np.isnan(stress)
    order = np.arange(len(axes))
    for which, marker, color, label in (
        (~has_failed & (order < FIRST), "o", "white", "first experiments"),
        (~has_failed & (order >= FIRST), "o", "tab:blue", "proposed"),
        (has_failed, "X", "black", "failed"),
        (order == row, "*", "lime", "best"),
    ):
        size = 220 if marker == "*" else 50
        left.scatter(*axes[which].T, size, color, marker, edgecolors="k", linewidths=0.7, label=label)
    left.set(xlabel="half axis a in mm", ylabel="half axis b in mm", title="the search (dashed: the limit)")
    left.legend(fontsize="small", loc="upper left")

    x, y, von_mises = field.T
    # Triangles within the hole are not part of the plate.
    from matplotlib.tri import Triangulation

    triangles = Triangulation(x, y)
    in_hole = (x / axes[row, 0]) ** 2 + (y / axes[row, 1]) ** 2 < 1.0001
    triangles.set_mask(in_hole[triangles.triangles].all(axis=1))
    shown = right.tricontourf(triangles, von_mises, levels=20, cmap="viridis")
    figure.colorbar(shown, label="von Mises stress in MPa")
    right.set(xlabel="x in mm", ylabel="y in mm", title="a quarter of the best plate", aspect="equal")
    figure.savefig(path, dpi=80)


solve = CommandGenerator(
    ["ccx", "-i", "plate"],
    read,
    files={"plate.inp": Path(__file__).parent / "plate.inp.jinja"},
    prepare=prepare,
    to_disk=["field"],
)


def solve_step() -> Step:
    """Return the step that evaluates all open experiments."""
    return Step(solve, name="solve", parallel=True, kwargs=LOADS, timeout=60)


pipeline = Pipeline(
    name="plate",
    steps=[
        Step(create, name="create"),
        solve_step(),
        Loop(n_iterations=8, until=converged, steps=[Step(Propose(), name="propose"), solve_step()]),
        Step(report, name="report"),
    ],
    seed=1,
)

if __name__ == "__main__":
    pipeline.run(mode="local")
