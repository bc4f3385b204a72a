"""Look for metamaterials that can be compressed: a study of f3dasm, after its imports were changed.

The structure is that of f3dasm's published study "Fragile becomes supercompressible", in its form as a pipeline:
sample designs of a column of slender longerons, add imperfections from a lognormal distribution, analyse the linear
buckling of each design, open all experiments again, and follow the compression of those that coil. There Abaqus
computes both stages, by the package abaqus2py. Here a stub with a few formulas stands in its place, which writes and
reads the same kinds of files. So the numbers are not those of the paper: M. A. Bessa, P. Glowacki, M. Houlder,
"Bayesian machine learning in metamaterial design: fragile becomes supercompressible", Advanced Materials 31 (2019)
1904845.

With f3dasm in the place of orchestrator in the two import lines below, this file runs on f3dasm 2.4, and gives the same
table. It takes a few seconds. The figure `columns.png` is in the folder of the run. Run it with one of

    orchestrator run docs/examples/supercompressible.py
    python docs/examples/supercompressible.py
"""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd

from orchestrator import (
    Block,
    CollectArrayResults,
    DataGenerator,
    ExperimentData,
    ExperimentSample,
    Pipeline,
    SlurmResources,
    Step,
)
from orchestrator.design import Domain

CONFIG = {
    "n_samples": 24,
    "seed": 42,
    "constants": {"young_modulus": 3500.0, "n_longerons": 3, "bottom_diameter": 100.0},
    "ranges": {
        "ratio_top_diameter": (0.0, 0.8),
        "ratio_pitch": (0.25, 1.5),
        "ratio_shear_modulus": (0.035, 0.45),
        "ratio_area": (1.17e-5, 4.1e-3),
        "ratio_Ixx": (1.128e-11, 1.4e-6),
        "ratio_Iyy": (1.128e-11, 1.4e-6),
        "ratio_J": (1.353e-11, 7.77e-6),
    },
    "imperfection": {"mean": -2.7, "sigma": 0.29},
}


class Simulator(DataGenerator):
    """The stub of the adapter to the solver: it writes the results of each experiment to a folder of its own.

    Parameters
    ----------
    analysis : callable
        ``analysis(folder, **values)`` returns a dict of results.
    """

    def __init__(self, analysis):
        self.analysis = analysis
        self.working_directory = Path()

    def execute(self, experiment_sample: ExperimentSample, id: int | None = None, **kwargs) -> ExperimentSample:
        folder = self.working_directory / str(id)
        folder.mkdir(parents=True, exist_ok=True)
        results = self.analysis(folder, **experiment_sample.to_dict(), **kwargs)
        with (folder / "results.pkl").open("wb") as file:
            pickle.dump(results, file)
        for name, value in results.items():
            experiment_sample.store(object=value, name=name, to_disk=not np.isscalar(value))
        return experiment_sample


class StagedSimulator(Simulator):
    """A simulator that works in a subfolder of the run, which is known only when it runs."""

    def __init__(self, subdir: str, **kwargs):
        super().__init__(**kwargs)
        self.subdir = subdir

    def execute(self, experiment_sample: ExperimentSample, id: int | None = None, **kwargs) -> ExperimentSample:
        self.working_directory = Path(experiment_sample.project_dir) / self.subdir
        return super().execute(experiment_sample, id=id, **kwargs)


def buckle(folder: Path, **design) -> dict:
    """Return the buckling loads of a column, and whether it coils: its longerons twist more easily than they bend."""
    diameter, young = design["bottom_diameter"], design["young_modulus"]
    pitch = design["ratio_pitch"] * diameter
    bending = young * diameter**4 * np.array([design["ratio_Ixx"], design["ratio_Iyy"]])
    twist = design["ratio_shear_modulus"] * young * diameter**4 * design["ratio_J"]
    taper = 1 - design["ratio_top_diameter"] / 2
    loads = np.sort(design["n_longerons"] * taper * np.pi**2 * bending / pitch**2)
    return {"loads": loads, "critical_load": float(loads[0]), "coilable": int(twist * taper < bending.max())}


def compress(folder: Path, **design) -> dict:
    """Return the curve of the compression of a column that coils, and the energy that it absorbs."""
    stage = folder.parent.parent / "lin_buckle" / folder.name / "results.pkl"
    with stage.open("rb") as file:
        buckling = pickle.load(file)
    if not buckling["coilable"]:
        raise ValueError("the column does not coil: the analysis does not converge")
    strain = np.linspace(0, 0.9, 50)
    area = np.pi / 4 * design["bottom_diameter"] ** 2
    softening = 1 + design["imperfection"] * 20 * strain
    stress = buckling["critical_load"] / area * (1 - np.exp(-strain / 0.02)) / softening
    energy = float(((stress[1:] + stress[:-1]) / 2 * np.diff(strain)).sum())
    return {"curve": np.column_stack([strain, stress]), "stress": float(stress.max()), "energy": energy}


class MarkAllOpen(Block):
    """Open all experiments again, so that the next stage evaluates each of them."""

    def call(self, data: ExperimentData, **kwargs) -> ExperimentData:
        return data.mark_all("open")


def create(project_dir: Path, config: dict) -> None:
    """Write the designs, with their imperfections, into `project_dir`."""
    rng = np.random.default_rng(config["seed"])
    domain = Domain()
    for name, value in config["constants"].items():
        domain.add_constant(name, value)
    for name, (low, high) in config["ranges"].items():
        domain.add_float(name, low=low, high=high)
    designs = {name: rng.uniform(low, high, config["n_samples"]) for name, (low, high) in config["ranges"].items()}
    data = ExperimentData(domain=domain, input_data=pd.DataFrame({**config["constants"], **designs}))

    with_imperfection = Domain()
    with_imperfection.add_float("imperfection", low=0.0, high=1.0)
    imperfections = rng.lognormal(**config["imperfection"], size=config["n_samples"])
    frame = pd.DataFrame({"imperfection": imperfections})
    data.join(ExperimentData(domain=with_imperfection, input_data=frame)).store(project_dir)


def report(project_dir: Path) -> None:
    """Print the column that absorbs most energy, and draw all that coil."""
    inputs, outputs = ExperimentData.from_file(project_dir).to_pandas()
    best = outputs["energy"].astype(float).idxmax()
    coils = outputs["coilable"] == 1
    energy = 1000 * outputs["energy"][best]
    print(f"{coils.sum()} of {len(outputs)} columns coil; column {best} absorbs {energy:.3g} kJ/m3")

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for which, marker, label in ((coils, "o", "coils"), (~coils, "x", "does not coil")):
        left.plot(inputs["ratio_pitch"][which], outputs["critical_load"][which], marker, label=label)
    left.set(yscale="log", xlabel="pitch / diameter", ylabel="critical load in N", title="linear buckling")
    left.legend(fontsize="small")
    for row in outputs.index[coils]:
        with (project_dir / "riks" / str(row) / "results.pkl").open("rb") as file:
            strain, stress = pickle.load(file)["curve"].T
        right.plot(100 * strain, 1000 * stress, "k" if row == best else "0.75", zorder=2 + (row == best))
    right.set(xlabel="compression in %", ylabel="stress in kPa", title="compression (black: most energy)")
    figure.savefig(project_dir / "columns.png", dpi=80)


def build_pipeline(config: dict) -> Pipeline:
    """Return the pipeline of the two stages."""
    small = SlurmResources(time="00:10:00", mem="1G", cpus_per_task=1)
    return Pipeline(
        name="supercompressible",
        steps=[
            Step(name="create", block=create, resources=small, kwargs={"config": config}),
            Step(
                name="lin_buckle",
                block=StagedSimulator(subdir="lin_buckle", analysis=buckle),
                parallel=True,
                dependency="afterok",
                resources=small,
                kwargs={"pass_id": True},
            ),
            Step(
                name="reset",
                block=CollectArrayResults(cleanup=True) >> MarkAllOpen(),
                dependency="afterany",
                resources=small,
            ),
            Step(
                name="riks",
                block=StagedSimulator(subdir="riks", analysis=compress),
                parallel=True,
                dependency="afterok",
                resources=small,
                kwargs={"pass_id": True},
            ),
            Step(name="post", block=CollectArrayResults(cleanup=True), dependency="afterany", resources=small),
            Step(name="report", block=report, dependency="afterany", resources=small),
        ],
    )


pipeline = build_pipeline(CONFIG)

if __name__ == "__main__":
    pipeline.run(mode="local")
