"""What a run survives: Ctrl-C, kill -9, a request to cancel, a second process."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import ExperimentData, Pipeline, Step, datagenerator
from orchestrator.db import guard
from orchestrator.db.lease_holder import STALE
from orchestrator.db.runs import find_run
from orchestrator.engine import commands
from orchestrator.engine.lease import hold_lease
from orchestrator.engine.local import run as local_run
from orchestrator.errors import Busy, Interrupted, LeaseHeld
from orchestrator.kernel_lock import KernelLock
from orchestrator.workspace import Workspace
from tests.processes import lives
from tests.studies import store_numbers

pytestmark = [pytest.mark.acceptance]

STUDY = """
import os, time
from pathlib import Path
from orchestrator import Block, CollectArrayResults, ExperimentData, Loop, Pipeline, Step, datagenerator
from tests.studies import store_numbers

HERE = Path(__file__).parent

@datagenerator(output_names="y")
def evaluate(x):
    with open(HERE / "evaluated", "a") as file:
        file.write(f"{x}\\n")
    time.sleep(0.004)
    return x * x

class Grow(Block):
    def call(self, data, iteration):
        new = [{"x": 100.0 * (iteration + 1) + i} for i in range(30)]
        return data + ExperimentData(domain=data.domain, input_data=new)

pipeline = Pipeline("study", [
    Step(store_numbers(30), name="create"),
    Step(evaluate, parallel=True),
    Loop(3, [Step(Grow(), name="grow"), Step(evaluate, parallel=True), Step(CollectArrayResults(), name="collect")]),
])
if __name__ == "__main__":
    pipeline.run(project_job="r", jobs=2)
"""

SLOW = """
import time
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    if x >= 2.0 and not Path("go").exists():
        Path("waiting").touch()
        time.sleep(60)
    return x * x

def wait(project_dir):
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.01)

steps = [Step(store_numbers(6), name="create"), Step(evaluate, parallel=PARALLEL) if BATCH else Step(wait)]
pipeline = Pipeline("slow", steps)
if __name__ == "__main__":
    pipeline.run(project_job="r", jobs=1)
"""
KINDS = {
    "pool": SLOW.replace("PARALLEL", "True").replace("BATCH", "True"),
    "batch of one task": SLOW.replace("PARALLEL", "False").replace("BATCH", "True"),
    "call": SLOW.replace("PARALLEL", "False").replace("BATCH", "False"),
}


@datagenerator(output_names="y")
def doubled(x):
    return 2 * x


def wait_for(fact, seconds=120.0):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def is_waiting(workspace):
    return (workspace / "waiting").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_one_ctrl_c_stops_cleanly_and_says_how_to_resume(workspace, rows, script, kind, golden):
    process = script(KINDS[kind])
    wait_for(lambda: is_waiting(workspace))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 1
    golden(err)
    assert rows("SELECT state, lease_pid FROM run") == [("active", None)]
    assert rows("SELECT state, kind, reason FROM job ORDER BY id DESC LIMIT 1") == [
        ("cancelled", "interrupted", "the run was stopped")
    ]
    stopped = find_run(workspace / "orchestrator.db", "r")
    assert stopped.stalled == "it was stopped (Ctrl-C)"
    assert stopped.started_at < stopped.stopped_at < time.time()
    (workspace / "go").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert rows("SELECT state FROM run") == ["succeeded"]
    ended = find_run(workspace / "orchestrator.db", "r")
    assert ended.stopped_at is None
    # Between the stop and the resume it was idle, and so was its step.
    assert 0 < ended.idle_seconds < ended.ended_at - ended.started_at
    assert ended.seconds == pytest.approx(ended.ended_at - ended.started_at - ended.idle_seconds)
    assert rows("SELECT idle_seconds > 0 FROM step_run ORDER BY position") == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_from_another_process_stops_running_tasks(workspace, rows, script, kind, golden):
    process = script(KINDS[kind])
    wait_for(lambda: is_waiting(workspace))
    printed = commands.cancel(Workspace.at(workspace), "r")
    golden(printed)
    process.communicate(timeout=40)
    assert process.returncode == 1
    assert rows("SELECT state FROM run") == ["cancelled"]
    assert rows("SELECT state FROM step_run") == ["succeeded", "cancelled"]
    assert rows("SELECT count(*) FROM job WHERE ended_at IS NULL") == [0]
    (workspace / "go").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert rows("SELECT state, cancel_requested_at FROM run") == [("succeeded", None)]


def test_a_cancel_that_the_step_ignores_says_how_to_end_it(workspace, script, golden, monkeypatch):
    monkeypatch.setattr(local_run, "CANCEL_WAIT", 0.0)
    process = script(KINDS["call"])
    wait_for(lambda: is_waiting(workspace))
    golden.replace(process.pid, "PID")
    golden.replace(socket.gethostname(), "HOST")
    with golden.raises(Busy):
        commands.cancel(Workspace.at(workspace), "r")
    process.kill()
    process.wait()
    assert "Run r was cancelled." in commands.cancel(Workspace.at(workspace), "r")


def test_two_processes_never_advance_one_run(workspace, script, golden):
    process = script(KINDS["call"])
    wait_for(lambda: is_waiting(workspace))
    golden.replace(process.pid, "the other process")
    with golden.raises(LeaseHeld, exact=False):
        commands.resume(Workspace.at(workspace), "r")
    (workspace / "go").touch()
    process.communicate(timeout=40)
    assert process.returncode == 0


def test_workers_die_with_the_process_that_started_them(workspace, script):
    process = script(KINDS["pool"])
    wait_for(lambda: is_waiting(workspace))
    [worker] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    wait_for(lambda: not lives(worker))


def test_a_killed_run_can_be_resumed_at_once(workspace, script):
    """Without waiting for a lease to expire; `scripts/bench/resume` prints the seconds."""
    process = script(KINDS["pool"])
    wait_for(lambda: is_waiting(workspace))
    process.kill()
    process.wait()
    (workspace / "waiting").unlink()
    command = [sys.executable, "-c", "import study; study.pipeline.run(project_job='r', jobs=1)"]
    again = subprocess.Popen(command, cwd=workspace, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        wait_for(lambda: is_waiting(workspace), seconds=STALE / 4)
    finally:
        again.kill()
        again.wait()


@pytest.mark.timeout(0)
def test_random_kills_lose_no_result_and_repeat_no_experiment(workspace, rows, script, pytestconfig):
    """Kill -9 at random moments, again and again, until the run has ended by itself."""
    seed = int(os.environ.get("ORCHESTRATOR_SEED", random.randrange(2**32)))
    print(f"ORCHESTRATOR_SEED={seed}")
    moments = random.Random(seed)
    n_kills, n_ended, wanted = 0, 0, pytestconfig.getoption("--kills")
    has_results: dict[float, int] = {}
    text = STUDY
    while True:
        process, text = script(text), None
        try:
            process.wait(timeout=moments.uniform(0.2, 1.6) if n_kills < wanted else 60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            n_kills += 1
            has_results = check_table(workspace, has_results)
            continue
        assert process.returncode == 0, process.stderr.read()
        if n_kills >= wanted:
            break
        # It ended before it was killed often enough: it starts again in the same records.
        has_results = {}
        (workspace / "evaluated").unlink()
        n_ended += 1
        rename_run(workspace, n_ended)
    data = ExperimentData.from_file(workspace / "r")
    xs = [row["x"] for row in map(data.input_rows(), range(len(data)))]
    assert xs == [100.0 * k + i for k in range(4) for i in range(30)]
    assert [row["y"] for row in map(data.output_rows(), range(len(data)))] == [x * x for x in xs]
    assert rows("SELECT state FROM run WHERE key = 'r'") == ["succeeded"]
    assert rows("SELECT count(*) FROM job WHERE ended_at IS NULL") == [0]


def rename_run(workspace, n):
    import sqlite3

    (workspace / "r").rename(workspace / f"done{n}")
    with sqlite3.connect(workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET key = ? WHERE key = 'r'", (f"done{n}",))
    connection.close()


def check_table(workspace, before):
    """The table can be read, what had a result still has it, and was not evaluated again since."""
    try:
        data = ExperimentData.from_file(workspace / "r")
    except FileNotFoundError:
        assert not before
        return {}
    inputs = data.input_rows()
    finished = {inputs(place)["x"] for place, status in enumerate(data.statuses()) if status.name == "FINISHED"}
    evaluated = Counter(map(float, (workspace / "evaluated").read_text().split())) if finished else Counter()
    assert before.keys() <= finished
    assert {x: evaluated[x] for x in before} == before
    return {x: evaluated[x] for x in finished}


def test_a_run_that_no_process_advances_can_be_cancelled(workspace, rows, script, golden):
    process = script(KINDS["call"])
    wait_for(lambda: is_waiting(workspace))
    process.kill()
    process.wait()
    golden(commands.cancel(Workspace.at(workspace), "r"))
    assert rows("SELECT state, kind FROM job ORDER BY id DESC LIMIT 1") == [("cancelled", "interrupted")]


def test_pipeline_objects_can_be_run_twice(workspace, rows):
    pipeline = Pipeline("p", [Step(lambda project_dir: None, name="nothing")])
    assert pipeline.run() != pipeline.run()
    assert rows("SELECT state FROM run") == ["succeeded", "succeeded"]


def test_a_ctrl_c_during_any_database_access_stops_cleanly(workspace, rows, monkeypatch, golden):
    """It must not leave a lock for which its own process then waits."""
    pipeline = Pipeline("p", [Step(store_numbers(3)), Step(doubled), Step(lambda project_dir: None, name="end")])
    monkeypatch.setattr(guard, "WAIT", 5.0)
    acquired = KernelLock.acquire
    hints = []
    for at in range(1, 100):
        came = iter(range(1, 1000))

        def acquire(self, seconds, at=at, came=came):
            acquired(self, seconds)
            if threading.current_thread() is threading.main_thread() and next(came) == at:
                signal.raise_signal(signal.SIGINT)

        key = f"r{at}"
        try:
            with monkeypatch.context() as patch:
                patch.setattr(local_run, "hold_lease", watched(patch, acquire))
                pipeline.run(project_job=key)
        except Interrupted as stopped:
            hints.append(stopped.hint)
            assert rows("SELECT lease_pid FROM run WHERE key = ?", key) == [None]
            pipeline.run(project_job=key)
        assert rows("SELECT state FROM run WHERE key = ?", key) == ["succeeded"]
        if next(came) < at:
            break
    assert len(hints) > 5
    for at, hint in enumerate(hints, start=1):
        golden(hint.replace(f"r{at}", "r"), "each")


def watched(patch, acquire):
    """Return `hold_lease`, with the guard as it is to be from the moment on when the run is held."""

    @contextmanager
    def hold(*arguments):
        patch.setattr(KernelLock, "acquire", acquire)
        with hold_lease(*arguments) as fence:
            yield fence

    return hold


RECORDS_AWAY = """
from pathlib import Path
from orchestrator import Pipeline, Step

def hide(project_dir):
    Path("away").mkdir()
    for file in Path().glob("orchestrator.db*"):
        file.rename(Path("away") / file.name)

def note(project_dir):
    (project_dir / "noted").touch()

pipeline = Pipeline("study", [Step(hide), Step(note)])
"""


def test_a_run_waits_while_its_records_are_away_and_then_continues(tmp_path):
    (tmp_path / "study.py").write_text(RECORDS_AWAY)
    command = [sys.executable, "-m", "orchestrator", "run", "study.py", "--project-job", "r"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        said = next(line for line in run.stderr if "Ctrl-C ends it" in line)
        assert "There is no database at" in said
        for file in (tmp_path / "away").iterdir():
            file.rename(tmp_path / file.name)
        rest = run.stderr.read()
    assert run.returncode == 0, rest
    assert (tmp_path / "r" / "noted").exists()


OTHER_TABLES = """
import sqlite3
from orchestrator import Pipeline, Step

def change(project_dir):
    connection = sqlite3.connect("orchestrator.db")
    connection.execute("ALTER TABLE job RENAME COLUMN planned_at TO of_another_version")
    connection.commit()
    connection.close()

pipeline = Pipeline("study", [Step(change)])
"""


def test_a_run_does_not_wait_for_records_of_another_version(tmp_path):
    (tmp_path / "study.py").write_text(OTHER_TABLES)
    command = [sys.executable, "-m", "orchestrator", "run", "study.py", "--project-job", "r"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "The run continues when" not in run.stderr
    assert "was made by another version of" in run.stderr


def test_a_process_that_a_step_has_forked_is_ended_by_sigterm_while_it_computes_in_c(workspace):
    """As the processes of a `multiprocessing.Pool` are: their handlers are those from before the run."""

    def fork(project_dir):
        context = multiprocessing.get_context("fork")
        started = context.Event()

        def compute():
            started.set()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

        process = context.Process(target=compute)
        process.start()
        started.wait()
        process.terminate()
        process.join(20)
        assert process.exitcode == -signal.SIGTERM, process.exitcode

    Pipeline(steps=[Step(fork)]).run(project_job="r")
