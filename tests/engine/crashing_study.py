"""The study that is killed at every boundary: its steps, a new run of it, and what that leaves behind."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator import (
    Block,
    CollectArrayResults,
    Domain,
    ExperimentData,
    ExperimentSample,
    Loop,
    Pipeline,
    SlurmResources,
    Step,
    datagenerator,
)
from orchestrator.db.store import NewRun, Store
from orchestrator.engine import code
from orchestrator.engine.code import CheckedPipeline
from orchestrator.workspace import RunFolder

KEY = "r"
N_FIRST, N_MORE = 4, 2
LEFT = 50.0
"""The experiment whose result a task of f3dasm has left in a file."""

INPUTS = [*map(float, range(N_FIRST)), LEFT, *(100.0 * (k + 1) + i for k in range(2) for i in range(N_MORE))]
TABLE = [(x, x * x) for x in INPUTS]
"""Input and output of each experiment at the end."""

EACH_ONCE = Counter(x for x in INPUTS if x != LEFT)
EVALUATED: Counter[float] = Counter()


def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=1000.0)
    domain.add_output("y")
    inputs = [*({"x": float(i)} for i in range(N_FIRST)), {"x": LEFT}]
    ExperimentData(domain=domain, input_data=inputs).store(project_dir)
    ExperimentSample({"x": LEFT}, {"y": LEFT * LEFT}, "finished", project_dir).store_as_json(N_FIRST, project_dir)


@datagenerator(output_names="y")
def evaluate(x):
    EVALUATED[x] += 1
    return x * x


class Grow(Block):
    def call(self, data, iteration):
        new = [{"x": 100.0 * (iteration + 1) + i} for i in range(N_MORE)]
        return data + ExperimentData(domain=data.domain, input_data=new)


def enough(data):
    return len(data) >= N_FIRST + 1 + 2 * N_MORE


def pipeline(*, is_parallel: bool = True, array_size: int = 3) -> Pipeline:
    small = SlurmResources(max_array_size=array_size)

    def batch(name):
        return Step(evaluate, name=name, parallel=is_parallel, resources=small)

    collect = Step(CollectArrayResults(), name="collect")
    loop = Loop(9, [batch("evaluate"), collect, Step(Grow(), name="grow")], enough)
    gather = Step(CollectArrayResults(), name="gather")
    return Pipeline("crashes", [Step(create), gather, loop, batch("end"), batch("nothing left")])


class NewlyCreated(NamedTuple):
    """A run that no process has advanced yet."""

    store: Store
    folder: RunFolder
    checked: CheckedPipeline


def new_run(workspace: Path, steps: Pipeline, mode: str = "local") -> NewlyCreated:
    EVALUATED.clear()
    checked = code.check(steps, KEY, None)
    store = Store(workspace / "orchestrator.db")
    folder = RunFolder(workspace, KEY)
    folder.path.mkdir(exist_ok=True)
    new = NewRun(
        KEY, "salt", "crashes", mode, checked.plan, 0, None, None, None, code.store_code(folder, checked), None, {}
    )
    store.create_run(new, time.time())
    return NewlyCreated(store, folder, checked)


class Records(NamedTuple):
    """All that is recorded of what happened, without times, ids and restarts of the same work."""

    runs: list[Any]
    step_runs: list[Any]
    jobs: list[Any]
    events: list[Any]


def records(workspace: Path) -> Records:
    connection = sqlite3.connect(workspace / "orchestrator.db")
    runs = connection.execute("SELECT state, reason FROM run").fetchall()
    step_runs = connection.execute(
        "SELECT position, epoch, iteration, name, kind, path, state, reason, n_experiments, n_tasks, batch_size,"
        " n_finished, n_failed, until FROM step_run ORDER BY id"
    ).fetchall()
    jobs = connection.execute(
        "SELECT token, role, batch, attempt, tasks, n_tasks, state, kind, failed_tasks, n_finished, n_failed, until"
        " FROM job WHERE role != 'orchestrator' ORDER BY id"
    ).fetchall()
    events = connection.execute(
        "SELECT what, old, new FROM event WHERE what NOT LIKE 'job is %' AND what != 'lease' ORDER BY id"
    ).fetchall()
    connection.close()
    return Records(runs, step_runs, jobs, events)


def table(workspace: Path) -> list[tuple[float, float]]:
    data = ExperimentData.from_file(workspace / KEY)
    inputs, outputs = data.input_rows(), data.output_rows()
    return [(inputs(place)["x"], outputs(place)["y"]) for place in range(len(data))]
