"""`status` and `list` count the experiments of a step while it works, wherever its tasks run and whatever has died."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import suppress

import pytest
from click.testing import CliRunner

from orchestrator import ExperimentData
from orchestrator.cli.main import cli
from orchestrator.cli.workspace import TypedOptions
from orchestrator.db.status import run_status
from orchestrator.engine.live import live_status
from orchestrator.errors import NotFound
from orchestrator.workspace import Workspace

pytestmark = pytest.mark.acceptance

STUDY = """
import time
from pathlib import Path
from orchestrator import Block, DataGenerator, Loop, Pipeline, Step, datagenerator
from tests.studies import numbers, store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    while x == 5.0 and not Path("go").exists():
        time.sleep(0.01)
    if x % 3 == 1:
        raise ValueError("bad licence")
    return x * x

class Grow(Block):
    def call(self, data, iteration):
        return data + numbers(4, 2 * (iteration + 1))

KIND = {
    "parallel": dict(parallel=True), "one after the other": dict(parallel=False),
    "with a timeout": dict(parallel=False, timeout=60.0),
}["KIND"]
step = Step(evaluate, name="evaluate", max_failed=1.0, abort_early=False, **KIND)
steps = [Step(store_numbers(12), name="create"), step]
if LOOP:
    steps = [Step(store_numbers(0), name="create"), Loop(2, [Step(Grow(), name="grow"), step])]
pipeline = Pipeline("live", steps)
if __name__ == "__main__":
    import sys
    pipeline.resume("r", jobs=2) if sys.argv[1:] == ["resume"] else pipeline.run(project_job="r", jobs=2)
"""
# Rows 1, 4, 7 and 10 fail. Tasks get the rows in turn, and row 5 waits: alone, or with row 13 if there were one.
COUNTS = {"parallel": (7, 4, 1, 0), "one after the other": (3, 2, 1, 6), "with a timeout": (3, 2, 1, 6)}


def status_of(workspace):
    place, now = Workspace.at(workspace), time.time()
    return live_status(place, run_status(place.database, "r", now), now)


def wait_for_counts(workspace, counts):
    """Wait until the open step has these numbers of experiments: finished, failed, running, waiting."""
    end, seen = time.monotonic() + 60, None
    while seen != counts:
        assert time.monotonic() < end, f"there are {seen}, not {counts}"
        time.sleep(0.02)
        with suppress(NotFound):  # it has not begun yet
            status = status_of(workspace)
            now = status.now
            seen = None if now is None else (now.n_finished, now.n_failed, now.n_running, now.n_waiting)
    return status


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("kind", COUNTS)
def test_experiments_are_counted_while_a_step_works(workspace, script, kind):
    process = script(STUDY.replace('"KIND"', repr(kind)).replace("LOOP", "False"))
    status = wait_for_counts(workspace, COUNTS[kind])
    finished, failed, *_ = COUNTS[kind]
    assert status.now.n_all == 12
    assert (status.run.n_finished, status.run.n_failed) == (finished, failed)
    assert [(step.n_finished, step.n_failed) for step in status.steps] == [(0, 0), (finished, failed)]
    assert status.now.seconds_left is not None
    [failure] = status.failures
    assert (failure.n, failure.why, failure.address) == (failed, "ValueError: bad licence", "evaluate")
    assert failure.rows == tuple(range(1, 12, 3))[:failed]
    assert failure.inputs == {"x": 1.0}
    assert "bad licence" in failure.traceback
    shown = CliRunner().invoke(cli, ["status"], obj=TypedOptions(), catch_exceptions=False).stdout
    assert "    ValueError: bad licence\n    experiment 1: x=1\n" in shown
    assert re.search(r"Now:  evaluate, for .* s, about .* s left\n", shown)
    listed = CliRunner().invoke(cli, ["list", "--json"], obj=TypedOptions(), catch_exceptions=False)
    [run] = json.loads(listed.stdout)
    assert (run["n_finished"], run["n_failed"], run["n_running"], run["n_waiting"]) == COUNTS[kind]
    (workspace / "go").touch()
    process.communicate(timeout=60)
    status = status_of(workspace)
    assert (status.run.n_finished, status.run.n_failed, status.run.n_running, status.run.n_waiting) == (8, 4, 0, 0)
    [failure] = status.failures
    assert failure.n == 4


@pytest.mark.parametrize("kind", COUNTS)
def test_a_killed_run_and_its_second_attempt_count_each_experiment_once(workspace, script, kind):
    process = script(STUDY.replace('"KIND"', repr(kind)).replace("LOOP", "False"))
    finished, failed, running, waiting = COUNTS[kind]
    wait_for_counts(workspace, (finished, failed, running, waiting))
    kill(process)
    status = wait_for_counts(workspace, (finished, failed, 0, running + waiting))
    assert status.run.stalled
    again = script(None, "resume")
    # In a process of its own, an experiment whose process died is evaluated as the last of its task.
    now = COUNTS[kind] if kind == "one after the other" else (7, 4, 1, 0)
    status = wait_for_counts(workspace, now)
    finished, failed, *_ = now
    assert (status.run.n_finished, status.run.n_failed) == (finished, failed)
    assert [failure.n for failure in status.failures if failure.why == "ValueError: bad licence"] == [failed]
    (workspace / "go").touch()
    again.communicate(timeout=60)
    status = status_of(workspace)
    assert (status.run.n_finished, status.run.n_failed) == (8, 4)


def test_a_step_in_a_loop_counts_the_iterations_before(workspace, script):
    process = script(STUDY.replace('"KIND"', '"parallel"').replace("LOOP", "True"))
    # Iteration 0 has x = 2, 3, 4, 5.
    wait_for_counts(workspace, (2, 1, 1, 0))
    (workspace / "go").touch()
    process.communicate(timeout=60)
    status = status_of(workspace)
    assert status.run.state == "succeeded"
    assert (status.run.n_finished, status.run.n_failed) == (5, 3)


def test_what_a_user_may_not_read_is_left_as_recorded(workspace, script):
    process = script(STUDY.replace('"KIND"', '"parallel"').replace("LOOP", "False"))
    wait_for_counts(workspace, COUNTS["parallel"])
    jobs = workspace / "r" / ".orchestrator" / "jobs"
    jobs.chmod(0o777)  # then the files below it are not believed
    status = status_of(workspace)
    assert (status.now.n_running, status.run.state) == (0, "active")
    jobs.chmod(0o700)
    (workspace / "go").touch()
    process.communicate(timeout=60)


DIES = """
import os
import signal
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    if x == 29.0:
        os.kill(os.getppid(), signal.SIGKILL)  # its worker, so that the task leaves no receipt
        signal.pause()
    if x % 3 == 1:
        raise ValueError("bad licence")
    return x * x

step = Step(evaluate, name="evaluate", parallel=True, max_failed=1.0, abort_early=False)
pipeline = Pipeline("dies", [Step(store_numbers(40), name="create"), step])
if __name__ == "__main__":
    pipeline.run(project_job="r", jobs=1)
"""


def test_the_counts_of_a_failed_step_are_those_of_its_table_though_a_task_died(workspace, script):
    script(DIES).communicate(timeout=60)
    status = status_of(workspace)
    assert status.run.state == "failed"
    assert "task failed" in [failure.what for failure in status.failures]
    statuses = [status.name for status in ExperimentData.from_file(workspace / "r").statuses()]
    counts = (statuses.count("FINISHED"), statuses.count("ERROR"))
    assert 0 < statuses.count("OPEN") < 40
    assert (status.run.n_finished, status.run.n_failed) == counts
    assert [(step.n_finished, step.n_failed) for step in status.steps] == [(0, 0), counts]
