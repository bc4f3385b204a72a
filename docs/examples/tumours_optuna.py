"""Tune a classifier of tumours with Optuna, which is asked for experiments and told their results.

The data are scikit-learn's measurements of 569 breast tumours. Each round of the loop tells Optuna all results so far,
and asks it for the next experiments. Optuna's study is made from the table each time: so nothing is lost when a run is
interrupted, and a resume proposes what the run would have proposed. Some combinations of options don't exist: there the
classifier raises an error, and Optuna records the experiment as failed. The loop ends when two rounds improved
nothing.

The best model is written to `best.json`, and the search to `tumours.png`, in the folder of the run. This takes about
ten seconds on two cores. It needs `pip install optuna scikit-learn matplotlib`. Run it with one of

    orchestrator run docs/examples/tumours_optuna.py
    python docs/examples/tumours_optuna.py
"""

import json
from itertools import product
from pathlib import Path

# Imported here and not in the functions: so a local run imports it once, and not in each task.
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from orchestrator import Block, Domain, ExperimentData, Loop, Pipeline, Step, datagenerator

LOG_C = (-4.0, 1.0)
PENALTIES, LOSSES = ("l1", "l2"), ("hinge", "squared_hinge")
PER_ROUND = 8
PATIENCE = 2  # rounds


def create(project_dir: Path) -> None:
    """Write a table without experiments: Optuna proposes all of them."""
    domain = Domain()
    domain.add_float("log_c", *LOG_C)
    domain.add_category("penalty", list(PENALTIES))
    domain.add_category("loss", list(LOSSES))
    domain.add_output("accuracy")
    ExperimentData(domain=domain).store(project_dir)


def told(data: ExperimentData, seed: int):
    """Return a study of Optuna that knows all experiments of the table."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    space = {
        "log_c": FloatDistribution(*LOG_C),
        "penalty": CategoricalDistribution(PENALTIES),
        "loss": CategoricalDistribution(LOSSES),
    }
    for _, sample in data:
        has_failed = sample.is_status("error")
        study.add_trial(
            optuna.trial.create_trial(
                params=sample.input_data,
                distributions=space,
                value=None if has_failed else sample.output_data["accuracy"],
                state=optuna.trial.TrialState.FAIL if has_failed else optuna.trial.TrialState.COMPLETE,
            )
        )
    return study, space


class Ask(Block):
    """Add the experiments that Optuna proposes."""

    def call(self, data: ExperimentData, seed: int) -> ExperimentData:
        study, space = told(data, seed)
        proposed = [study.ask(space).params for _ in range(PER_ROUND)]
        return data + ExperimentData(domain=data.domain, input_data=proposed)


@datagenerator(output_names="accuracy")
def evaluate(log_c: float, penalty: str, loss: str) -> float:
    """Evaluate one experiment: the accuracy of a classifier, cross-validated."""
    measurements, is_benign = load_breast_cancer(return_X_y=True)
    model = LinearSVC(C=10**log_c, penalty=penalty, loss=loss, max_iter=20_000, random_state=0)
    # Otherwise an error of the model is a warning and a missing value.
    scores = cross_val_score(make_pipeline(StandardScaler(), model), measurements, is_benign, cv=5, error_score="raise")
    return float(scores.mean())


def converged(data: ExperimentData) -> bool:
    """Whether the last rounds improved nothing."""
    accuracy = data.to_pandas()[1]["accuracy"]
    last = PATIENCE * PER_ROUND
    return len(accuracy) > last and bool(accuracy[-last:].max() <= accuracy[:-last].max())


def report(project_dir: Path) -> None:
    """Print the best model, write it to `best.json`, and draw the search."""
    inputs, outputs = ExperimentData.from_file(project_dir).to_pandas()
    accuracy = outputs["accuracy"]
    row = accuracy.idxmax()
    best = {
        "C": float(10 ** inputs.loc[row, "log_c"]),
        "penalty": inputs.loc[row, "penalty"],
        "loss": inputs.loc[row, "loss"],
        "accuracy": float(accuracy[row]),
        "experiments": len(accuracy),
        "failed": int(accuracy.isna().sum()),
    }
    (project_dir / "best.json").write_text(json.dumps(best, indent=2) + "\n")
    print(f"best of {best['experiments']} experiments, {best['failed']} of which failed: {best}")
    plot(project_dir / "tumours.png", inputs, accuracy)


def plot(path: Path, inputs, accuracy) -> None:
    """Draw the accuracy by experiment, and by parameters. Accuracies below 0.9 are drawn at 0.9."""
    from matplotlib.figure import Figure

    accuracy = accuracy.clip(lower=0.9)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.plot(accuracy.index, accuracy, "o", color="tab:blue", label="experiment")
    left.step(accuracy.index, accuracy.cummax().ffill(), where="post", color="tab:orange", label="best so far")
    failed = accuracy.index[accuracy.isna()]
    left.plot(failed, [0.89] * len(failed), "X", color="black", label="failed (no accuracy)")
    for row in range(PER_ROUND, len(accuracy), PER_ROUND):
        left.axvline(row - 0.5, color="0.9", zorder=0)
    left.set(xlabel="experiment", ylabel="accuracy (0.9: 0.9 or less)", title="the search, round by round")
    left.legend(fontsize="small")
    for penalty, loss in product(PENALTIES, LOSSES):
        which = (inputs["penalty"] == penalty) & (inputs["loss"] == loss) & accuracy.notna()
        if which.any():
            right.plot(inputs["log_c"][which], accuracy[which], "o", label=f"{penalty}, {loss}")
    right.set(xlabel="log10(C)", title="by parameters")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=80)


pipeline = Pipeline(
    name="tumours",
    steps=[
        Step(create, name="create"),
        Loop(
            n_iterations=12,
            until=converged,
            steps=[Step(Ask(), name="ask"), Step(evaluate, name="evaluate", parallel=True)],
        ),
        Step(report, name="report"),
    ],
    seed=1,
)

if __name__ == "__main__":
    pipeline.run(mode="local")
