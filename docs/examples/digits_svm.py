"""Tune a support vector machine on scikit-learn's handwritten digits.

A first design covers all of log10(C) and log10(gamma). In each round of the loop a Gaussian process, fitted to all
results so far, proposes the next models, until a round gains nothing. The best model is tested on images that the
search did not use, and is written to `best.json` in the folder of the run; `search.png` there shows the search. This
takes about half a minute on two cores. It needs `pip install scikit-learn matplotlib`. Run it with one of

    orchestrator run docs/examples/digits_svm.py
    python docs/examples/digits_svm.py
"""

import json
import os
from pathlib import Path

# The experiments run in parallel: with more than one thread each, they would slow each other down.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Imported here and not in the functions: so a local run imports it once, and not in each task.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.svm import SVC

from orchestrator import (
    Block,
    CollectArrayResults,
    Domain,
    ExperimentData,
    Loop,
    Pipeline,
    Step,
    create_sampler,
    datagenerator,
)

RANGES = {"log_c": (-2.0, 4.0), "log_gamma": (-6.0, 0.0)}
SAMPLES_PER_ROUND = 16
SMALLEST_GAIN = 0.0005  # less than one more correct image of 1347


def digits():
    """Load the images and split them: three quarters for the search, one quarter to test the best model."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)


def create(project_dir: Path) -> None:
    """Write the first round, over the whole ranges, into `project_dir`."""
    domain = Domain()
    for parameter, (low, high) in RANGES.items():
        domain.add_float(parameter, low=low, high=high)
    domain.add_output("accuracy")
    data = ExperimentData(domain=domain, project_dir=project_dir)
    create_sampler("latin", seed=0).call(data, n_samples=SAMPLES_PER_ROUND).store(project_dir)


@datagenerator(output_names="accuracy")
def evaluate(log_c: float, log_gamma: float) -> float:
    """Evaluate one experiment: the accuracy of one model, cross-validated."""
    images, _, labels, _ = digits()
    return float(cross_val_score(SVC(C=10**log_c, gamma=10**log_gamma), images, labels, cv=5).mean())


def surrogate(points: np.ndarray, accuracy: np.ndarray):
    """Fit a Gaussian process to the logarithm of the error, as a function of the parameters in the unit square."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    # The length is fixed: a first design of a few points does not show it.
    process = GaussianProcessRegressor(Matern(0.3, nu=2.5), alpha=1e-3, optimizer=None, normalize_y=True)
    return process.fit(points, np.log10(1 - accuracy))


class Propose(Block):
    """Add the best models of functions that are drawn from the Gaussian process (Thompson sampling)."""

    def call(self, data: ExperimentData, iteration: int) -> ExperimentData:
        candidates = np.random.default_rng(iteration).random((500, len(RANGES)))
        functions = surrogate(*known(data)).sample_y(candidates, SAMPLES_PER_ROUND, random_state=iteration)
        rows = [dict(zip(RANGES, row, strict=True)) for row in unscaled(candidates[functions.argmin(axis=0)]).tolist()]
        return data + ExperimentData(domain=data.domain, input_data=rows)


def known(data: ExperimentData) -> tuple[np.ndarray, np.ndarray]:
    """Return the parameters of all experiments, scaled to the unit square, and their accuracy."""
    inputs, outputs = data.to_pandas()
    low, high = np.array(list(RANGES.values())).T
    return (inputs[list(RANGES)].to_numpy(float) - low) / (high - low), outputs["accuracy"].to_numpy(float)


def unscaled(points: np.ndarray) -> np.ndarray:
    """Return the parameters at points of the unit square."""
    low, high = np.array(list(RANGES.values())).T
    return low + points * (high - low)


def converged(data: ExperimentData) -> bool:
    """Whether the last round improved on all earlier rounds by less than SMALLEST_GAIN."""
    accuracy = data.to_pandas()[1]["accuracy"]
    before, last = accuracy.iloc[:-SAMPLES_PER_ROUND], accuracy.iloc[-SAMPLES_PER_ROUND:]
    return bool(last.max() - before.max() < SMALLEST_GAIN)


def report(project_dir: Path) -> None:
    """Test the best model on unseen images, print it, write it to `best.json`, and draw the search."""
    data = ExperimentData.from_file(project_dir)
    inputs, outputs = data.to_pandas()
    row = outputs["accuracy"].idxmax()
    c, gamma = (float(10 ** inputs.loc[row, parameter]) for parameter in RANGES)
    images, unseen, labels, unseen_labels = digits()
    best = {
        "C": c,
        "gamma": gamma,
        "cross_validated_accuracy": float(outputs.loc[row, "accuracy"]),
        "test_accuracy": float(SVC(C=c, gamma=gamma).fit(images, labels).score(unseen, unseen_labels)),
        "evaluations": int(outputs["accuracy"].notna().sum()),
    }
    (project_dir / "best.json").write_text(json.dumps(best, indent=2) + "\n")
    print(f"best model of {best['evaluations']} evaluations: SVC(C={c:.4g}, gamma={gamma:.4g})")
    print(f"accuracy: {best['cross_validated_accuracy']:.4f} cross-validated, ", end="")
    print(f"{best['test_accuracy']:.4f} on {len(unseen)} unseen images")
    plot(project_dir / "search.png", *known(data))


def plot(path: Path, points: np.ndarray, accuracy: np.ndarray) -> None:
    """Draw the experiments over the surrogate, and the best accuracy after each round."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 60)] * 2), axis=-1).reshape(-1, 2)
    log_c, log_gamma = unscaled(grid).T.reshape(2, 60, 60)
    predicted = surrogate(points, accuracy).predict(grid).reshape(60, 60)
    shown = left.contourf(
        log_c, log_gamma, 100 * 10 ** np.minimum(predicted, 0), np.geomspace(1, 100, 9), cmap="Greys", norm="log"
    )
    figure.colorbar(shown, label="predicted error in %", format="%.0f")
    rounds = np.arange(len(accuracy)) // SAMPLES_PER_ROUND
    dots = left.scatter(*unscaled(points).T, 25, rounds, cmap="plasma", edgecolors="w", linewidths=0.5)
    figure.colorbar(dots, label="round (0: first design)", ticks=np.unique(rounds))
    left.set(xlabel="log10(C)", ylabel="log10(gamma)", title="the search")

    right.plot(100 * (1 - accuracy), "o", color="0.7", label="experiment")
    right.step(range(len(accuracy)), 100 * (1 - np.maximum.accumulate(accuracy)), where="post", label="best so far")
    right.set(yscale="log", xlabel="experiment", ylabel="error in %", title="its progress")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=80)


pipeline = Pipeline(
    name="digits",
    steps=[
        Step(create, name="create"),
        Step(evaluate, name="evaluate", parallel=True),
        Step(CollectArrayResults(), name="collect"),
        Loop(
            n_iterations=5,
            until=converged,
            steps=[
                Step(Propose(), name="propose"),
                Step(evaluate, name="evaluate", parallel=True),
                Step(CollectArrayResults(), name="collect"),
            ],
        ),
        Step(report, name="report"),
    ],
)

if __name__ == "__main__":
    pipeline.run(mode="local")
