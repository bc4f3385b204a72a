"""Cancel a step of a run on this machine, hold the run, and release it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from orchestrator import ExperimentData
from orchestrator.engine import commands, steer
from orchestrator.errors import Busy
from orchestrator.workspace import Workspace
from tests.isolation import as_in_a_process_of_its_own

pytestmark = [pytest.mark.acceptance]

STUDY = """
import time
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    if x >= 2.0 and not Path("go").exists():
        Path("waiting").touch()
        while not Path("go").exists():
            time.sleep(0.01)
    return x * x

def report(project_dir):
    Path("reported").touch()
    while Path("wait").exists():
        time.sleep(0.01)

pipeline = Pipeline("steered", [
    Step(store_numbers(6), name="create"), Step(evaluate, parallel=PARALLEL), Step(report, dependency="THEN"),
])
if __name__ == "__main__":
    pipeline.run(project_job="r", jobs=1)
"""


def wait_for(fact, seconds=60.0):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def in_a_process_of_its_own():
    with as_in_a_process_of_its_own():
        yield


@pytest.fixture
def started(workspace):
    """Return a function that starts the study in a process, and waits until its step does."""
    processes = []

    def start(then="afterok", *, parallel=True):
        (workspace / "study.py").write_text(STUDY.replace("THEN", then).replace("PARALLEL", str(parallel)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "study.py"], cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True
            )
        )
        wait_for((workspace / "waiting").exists)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("parallel", [True, False])
def test_a_run_ends_with_the_step_that_is_cancelled_and_a_resume_continues_it(
    workspace, rows, started, golden, parallel
):
    process = started(parallel=parallel)
    golden("\n".join(steer.about_cancel_step(Workspace.at(workspace), "r", "evaluate")))
    golden(steer.cancel_step(Workspace.at(workspace), "r", "evaluate"))
    process.communicate(timeout=40)
    assert process.returncode == 1
    assert rows("SELECT state, reason FROM run") == [("cancelled", "step evaluate was cancelled by the user")]
    assert rows("SELECT state FROM step_run") == ["succeeded", "cancelled"]
    (workspace / "go").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert rows("SELECT state, cancel_step FROM run") == [("succeeded", None)]
    data = ExperimentData.from_file(workspace / "r")
    assert [row["y"] for row in map(data.output_rows(), range(6))] == [x * x for x in range(6)]


@pytest.mark.parametrize("parallel", [True, False])
def test_a_run_continues_after_the_cancelled_step_if_the_next_one_runs_after_a_failure(
    workspace, rows, started, parallel
):
    (workspace / "wait").touch()
    process = started("afterany", parallel=parallel)
    said = steer.cancel_step(Workspace.at(workspace), "r", "evaluate")
    assert said == "Step evaluate was cancelled. The run continues. Watch it with: orchestrator status r"
    wait_for((workspace / "reported").exists)
    # A cancel of the run still reaches it.
    assert steer.cancel_step(Workspace.at(workspace), "r", "report").endswith("Run r was cancelled.")
    process.communicate(timeout=40)
    assert rows("SELECT name, state FROM step_run") == [
        ("create", "succeeded"),
        ("evaluate", "cancelled"),
        ("report", "cancelled"),
    ]
    (workspace / "wait").unlink()
    commands.resume(Workspace.at(workspace), "r")
    assert rows("SELECT state, reason FROM run") == [("succeeded", "1 step did not succeed")]


def test_a_step_of_a_run_that_no_process_advances_is_cancelled_here(workspace, rows, started):
    process = started("afterany")
    process.kill()
    process.wait()
    steer.cancel_step(Workspace.at(workspace), "r", "evaluate")
    assert rows("SELECT state FROM run") == ["active"]
    assert rows("SELECT name, state FROM step_run") == [("create", "succeeded"), ("evaluate", "cancelled")]
    (workspace / "go").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert rows("SELECT state, reason FROM run") == [("succeeded", None)]


def test_a_held_run_ends_its_step_and_begins_no_other_until_it_is_released(workspace, rows, started, golden):
    process = started()
    place = Workspace.at(workspace)
    golden("\n".join(steer.about_hold(place, "r")))
    golden(steer.hold(place, "r"))
    assert steer.about_hold(place, "r") == []
    (workspace / "go").touch()
    _, err = process.communicate(timeout=40)
    golden(err.splitlines()[-2:])
    assert rows("SELECT state FROM run") == ["active"]
    assert rows("SELECT name, state FROM step_run") == [("create", "succeeded"), ("evaluate", "succeeded")]
    with golden.raises(Busy):
        commands.resume(place, "r")
    assert steer.release(place, "r") is None
    assert (workspace / "reported").exists()
    assert rows("SELECT state, held_at FROM run") == [("succeeded", None)]
    assert steer.release(place, "r") == "Nothing to do: run r is not held."
    assert steer.hold(place, "r") == "Nothing to do: run r has succeeded."


def test_a_run_that_is_released_before_its_process_has_ended_continues_there(workspace, rows, started):
    process = started()
    place = Workspace.at(workspace)
    steer.hold(place, "r")
    assert steer.release(place, "r").startswith("The run continues.")
    (workspace / "go").touch()
    process.communicate(timeout=40)
    assert process.returncode == 0
    assert rows("SELECT state FROM run") == ["succeeded"]
