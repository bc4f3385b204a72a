"""The limit: the same work as study.py's, as a chain of jobs that is submitted at once, of sizes known in advance.

python chain.py submit|submit_importing|submit_short N_EXPERIMENTS N_ITERATIONS
python chain.py STEP N_EXPERIMENTS ITERATION     a job of it, such as create or collect

The short one has no job of its own for collecting: the job that updates does that, too.

The table is that of orchestrator. A task of an array loads its own inputs and the function's pickle; the importing one
imports the study instead, as a task of orchestrator does.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

FOLDER = Path("bench")


def submit(
    n: int, n_iterations: int, after_array: tuple[str, ...] = ("collect", "update"), evaluation: str = "evaluate"
) -> None:
    import cloudpickle
    import study

    cloudpickle.register_pickle_by_value(study)
    FOLDER.mkdir()
    (FOLDER / "square.pkl").write_bytes(cloudpickle.dumps(study.square.f))
    before = sbatch("create", n, 0, None)
    for iteration in range(n_iterations):
        before = sbatch(evaluation, n, iteration, before, f"--array=0-{n - 1}")
        for what in after_array:
            before = sbatch(what, n, iteration, before)
    sbatch("report", n, n_iterations, before)


def submit_importing(n: int, n_iterations: int) -> None:
    submit(n, n_iterations, evaluation="import_and_evaluate")


def submit_short(n: int, n_iterations: int) -> None:
    submit(n, n_iterations, ("collect_and_update",))


def sbatch(what: str, n: int, iteration: int, before: str | None, *options: str) -> str:
    after = [f"--dependency=afterany:{before}"] if before else []
    log = FOLDER / f"{what}.{iteration}.%a.log"
    command = ["sbatch", "--parsable", f"--job-name={what}", f"--output={log}", "--time=01:00:00", *after, *options]
    work = f"exec python chain.py {what} {n} {iteration}"
    done = subprocess.run([*command, f"--wrap={work}"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def create(n: int, iteration: int) -> None:
    import study

    study.create(FOLDER, n)
    hand_out(0)


def evaluate(n: int, iteration: int) -> None:
    square = pickle.loads((FOLDER / "square.pkl").read_bytes())
    row, inputs = inputs_of_task(iteration)
    store_result(iteration, row, square(**inputs))


def import_and_evaluate(n: int, iteration: int) -> None:
    from study import square

    row, inputs = inputs_of_task(iteration)
    store_result(iteration, row, square.f(**inputs))


def collect(n: int, iteration: int) -> None:
    from study import ExperimentData

    data = ExperimentData.from_file(FOLDER)
    for task in range(n):
        row, y = json.loads(result_of(iteration, task).read_text())
        sample = data.get_experiment_sample(row)
        sample.store("y", y)
        sample.mark("finished")
        data.store_experimentsample(sample, row)
    data.store(FOLDER)


def collect_and_update(n: int, iteration: int) -> None:
    collect(n, iteration)
    update(n, iteration)


def update(n: int, iteration: int) -> None:
    import study

    study.Update().call(study.ExperimentData.from_file(FOLDER), n).store(FOLDER)
    hand_out(iteration + 1)


def report(n: int, iteration: int) -> None:
    import study

    study.report(FOLDER)


def hand_out(iteration: int) -> None:
    """Write the open experiments for the tasks of the next array."""
    from study import ExperimentData

    inputs = [(row, inputs) for row, inputs, _ in ExperimentData.from_file(FOLDER).open_rows()]
    (FOLDER / f"inputs.{iteration}.json").write_text(json.dumps(inputs))


def inputs_of_task(iteration: int) -> tuple[int, dict[str, float]]:
    row, inputs = json.loads((FOLDER / f"inputs.{iteration}.json").read_text())[own_task()]
    return row, inputs


def store_result(iteration: int, row: int, y: float) -> None:
    result_of(iteration, own_task()).write_text(json.dumps([row, y]))


def own_task() -> int:
    return int(os.environ["SLURM_ARRAY_TASK_ID"])


def result_of(iteration: int, task: int) -> Path:
    return FOLDER / f"result.{iteration}.{task}.json"


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
