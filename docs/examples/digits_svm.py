"""Tune a support vector machine on scikit-learn's handwritten digits.

A first design covers all of log10(C) and log10(gamma); each round of the loop samples a box half as wide around the
best model so far, until a round gains nothing. The best model is tested on images that the search did not use, and is
written to `best.json` in the folder of the run. This takes about half a minute on two cores. Run it with one of

    orchestrator run docs/examples/digits_svm.py
    python docs/examples/digits_svm.py
"""

import json
import os
from pathlib import Path

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

# The experiments run in parallel: with more than one thread each, they would slow each other down.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

RANGES = {"log_c": (-2.0, 4.0), "log_gamma": (-6.0, 0.0)}
SAMPLES_PER_ROUND = 16
SMALLEST_GAIN = 0.0005  # less than one more correct image of 1347


def digits():
    """Load the images and split them: three quarters for the search, one quarter to test the best model."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    return train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)


def sample(ranges, seed: int, domain: Domain) -> ExperimentData:
    """Draw one round of open experiments from a box, as rows of a table over `domain`."""
    box = Domain()
    for parameter, (low, high) in ranges.items():
        box.add_float(parameter, low=low, high=high)
    empty = ExperimentData(domain=box)
    inputs, _ = create_sampler("latin", seed=seed).call(empty, n_samples=SAMPLES_PER_ROUND).to_pandas()
    return ExperimentData(domain=domain, input_data=inputs)


def create(project_dir: Path) -> None:
    """Write the first round, over the whole ranges, into `project_dir`."""
    domain = Domain()
    for parameter, (low, high) in RANGES.items():
        domain.add_float(parameter, low=low, high=high)
    domain.add_output("accuracy")
    sample(RANGES, seed=0, domain=domain).store(project_dir)


@datagenerator(output_names="accuracy")
def evaluate(log_c: float, log_gamma: float) -> float:
    """Evaluate one experiment: the accuracy of one model, cross-validated."""
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    images, _, labels, _ = digits()
    return float(cross_val_score(SVC(C=10**log_c, gamma=10**log_gamma), images, labels, cv=5).mean())


class Narrow(Block):
    """Add a round of experiments around the best so far, in a box that halves each time."""

    def call(self, data: ExperimentData, iteration: int) -> ExperimentData:
        inputs, outputs = data.to_pandas()
        best = inputs.loc[outputs["accuracy"].idxmax()]
        ranges = {}
        for parameter, (low, high) in RANGES.items():
            reach = (high - low) / 2 ** (iteration + 2)
            ranges[parameter] = (
                max(low, best[parameter] - reach),
                min(high, best[parameter] + reach),
            )
        return data + sample(ranges, seed=iteration + 1, domain=data.domain)


def converged(data: ExperimentData) -> bool:
    """Whether the last round improved on all earlier rounds by less than SMALLEST_GAIN."""
    accuracy = data.to_pandas()[1]["accuracy"]
    before, last = accuracy.iloc[:-SAMPLES_PER_ROUND], accuracy.iloc[-SAMPLES_PER_ROUND:]
    return bool(last.max() - before.max() < SMALLEST_GAIN)


def report(project_dir: Path) -> None:
    """Test the best model on unseen images, print it, and write it to `best.json`."""
    from sklearn.svm import SVC

    inputs, outputs = ExperimentData.from_file(project_dir).to_pandas()
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
                Step(Narrow(), name="narrow"),
                Step(evaluate, name="evaluate", parallel=True),
                Step(CollectArrayResults(), name="collect"),
            ],
        ),
        Step(report, name="report"),
    ],
)

if __name__ == "__main__":
    pipeline.run(mode="local")
