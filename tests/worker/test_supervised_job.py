"""A task of an array in a real process: what it leaves when an experiment, or the whole task, dies."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator import Step, datagenerator
from orchestrator.data import results
from orchestrator.data.results import ResultFile, inputs_digest
from orchestrator.definition.bundle import LoadedStep
from orchestrator.definition.bundling import prepare_bundle
from orchestrator.handoff.jobfile import JobFile, read_jobfile, write_jobfile
from orchestrator.handoff.manifest import Entry, Manifest
from orchestrator.handoff.receipt import read_receipt
from orchestrator.worker import processes, supervisor
from orchestrator.worker.running import read_cuts
from orchestrator.worker.table_work import Request, freeze
from orchestrator.worker.task import SupervisedTask
from orchestrator.workspace import RunFolder
from tests.engine.test_interruptions import wait_for
from tests.manifests import write_entries
from tests.processes import lives
from tests.studies import numbers

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.acceptance]


@datagenerator(output_names="y")
def evaluate(x):
    with Path("began").open("a") as file:
        file.write(f"{x} ")
    if x == 1 and Path("hangs").exists():
        Path("program").write_text(str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
        Path("is waiting").touch()
        time.sleep(600)
    if x == 1 and Path("crashes").exists():
        os.abort()
    if x == 1 and Path("saves").exists():
        signal.signal(signal.SIGTERM, save)
        Path("is waiting").touch()
        time.sleep(600)
    if x == 1 and Path("is large").exists():
        return "x" * 4000
    if x == 1 and Path("is late").exists():
        wait_for(Path("is killed").exists)
    if x == 2 and Path("is late").exists() and not Path("is hit").exists():
        Path("is hit").touch()
        time.sleep(600)
    return x


def save(number, frame):
    with Path("saved").open("a") as file:
        file.write("begins ")
    time.sleep(0.5)
    with Path("saved").open("a") as file:
        file.write("ends")
    os._exit(0)


class Array:
    """An array of one task with four experiments; each call of `start` is another job."""

    def __init__(self, workspace, evaluate=evaluate):
        self.folder = RunFolder(workspace, "r")
        self.folder.logs.mkdir(parents=True)
        self.digest = prepare_bundle({"0": Step(evaluate, parallel=True)}, None, needs_pickles=True).write(
            self.folder.bundles
        )
        entries = [Entry(row, inputs_digest({"x": row}), {"x": row}, {}) for row in range(4)]
        write_entries(self.folder.manifest(0, 0, "mark"), [entries])
        self.tokens = []
        self.n_jobs = 0

    def submit(self, kinds=(), epoch=0, **more):
        token = f"token{self.n_jobs}"
        self.n_jobs += 1
        job = JobFile(
            run_key="r",
            workspace=str(self.folder.workspace),
            mark="mark",
            token=token,
            role="batch",
            position=0,
            epoch=epoch,
            iteration="",
            kind="batch",
            parallel=True,
            path="0",
            until_path=None,
            project_dir=".",
            bundle_digest=self.digest,
            earlier_tokens=list(self.tokens),
            earlier_kinds=dict(zip(self.tokens, kinds, strict=False)),
            **more,
        )
        self.tokens.append(token)
        write_jobfile(self.folder.job(token).file, job)
        return token

    def start(self, *arguments, **more):
        token = self.submit(*arguments, **more)
        sha256 = hashlib.sha256(self.folder.job(token).file.read_bytes()).hexdigest()
        command = [sys.executable, "-m", "orchestrator.worker", "job", str(self.folder.workspace), "r", token, sha256]
        slurm = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
        return subprocess.Popen(
            command, env={**os.environ, **slurm, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments, **more):
        process = self.start(*arguments, **more)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err

    def receipt(self):
        return read_receipt(self.folder.job(self.tokens[-1]).receipt(0))

    def lines(self):
        paths = sorted(self.folder.table(".").rglob("*.jsonl"))
        return {line["row"]: line for path in paths for line in ResultFile.read(path).lines}


@pytest.fixture
def array(workspace):
    return Array(workspace)


def began(workspace):
    found = (workspace / "began").read_text().split()
    (workspace / "began").unlink()
    return found


def test_a_crash_costs_only_the_experiment_that_crashed(workspace, array):
    (workspace / "crashes").touch()
    array.run(max_tries=3)
    assert began(workspace) == ["0", "1", "2", "3", "1", "1"]
    receipt = array.receipt()
    assert (receipt.n_experiments, receipt.n_finished, receipt.n_failed) == (4, 3, 1)
    assert array.lines()[1]["error"]["type"] == "crashed"
    assert array.lines()[1]["error"]["message"] == "its process was killed by SIGABRT, 3 times"
    # Nothing that grows with experiments is left.
    assert list((array.folder.job("token0").path / "running").iterdir()) == []


def killed_while_it_hangs(workspace, array, number, *arguments, **more):
    (workspace / "hangs").touch()
    (workspace / "is waiting").unlink(missing_ok=True)
    process = array.start(*arguments, **more)
    wait_for((workspace / "is waiting").exists)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number
    program = (workspace / "program").read_text()
    wait_for(lambda: not lives(program))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_after_the_end_of_a_task_its_running_experiment_is_tried_last_and_then_has_failed(workspace, array, number):
    killed_while_it_hangs(workspace, array, number)
    assert began(workspace) == ["0", "1"]
    killed_while_it_hangs(workspace, array, number, ["timeout"])
    assert began(workspace) == ["2", "3", "1"]
    array.run(["timeout", "timeout"])
    assert not (workspace / "began").exists()
    error = array.lines()[1]["error"]
    assert (error["type"], error["message"]) == ("timeout", "its job reached its time limit, 2 times")
    receipt = array.receipt()
    assert (receipt.n_finished, receipt.n_failed, receipt.n_earlier) == (3, 1, 3)


def test_an_experiment_gets_sigterm_once_and_may_save_what_it_has(workspace, array):
    (workspace / "saves").touch()
    process = array.start()
    wait_for((workspace / "is waiting").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert (workspace / "saved").read_text() == "begins ends"


def test_a_failure_of_the_cluster_is_no_try_of_an_experiment(workspace, array):
    killed_while_it_hangs(workspace, array, signal.SIGKILL)
    killed_while_it_hangs(workspace, array, signal.SIGKILL)
    (workspace / "hangs").unlink()
    array.run()
    assert array.receipt().n_finished == 4


def test_a_damaged_record_of_what_was_running_costs_nothing(workspace, array):
    killed_while_it_hangs(workspace, array, signal.SIGKILL)
    [path] = array.folder.job("token0").running_of(0)
    path.write_bytes(b"\xff" * 200 + b"\n" + json.dumps([1, 2]).encode() + b"\n[[")
    (workspace / "hangs").unlink()
    array.run(["timeout"])
    assert array.receipt().n_finished == 4


def test_a_resume_tries_what_was_cut_in_an_earlier_epoch_last(workspace, array):
    numbers(4).store(array.folder.table("."))
    killed_while_it_hangs(workspace, array, signal.SIGKILL)
    request = Request(0, 1, "mark", ".", max_tasks=1, earlier_kinds={"token0": "timeout"})
    assert freeze(array.folder, request).n_experiments == 3
    [*_, cut] = sorted(Manifest.open(array.folder.manifest(0, 1, "mark")), key=lambda entry: len(entry.cuts))
    assert (cut.row, cut.cuts) == (1, ["timeout"])
    array.tokens.clear()
    array.n_jobs = 1
    began(workspace)
    (workspace / "hangs").unlink()
    array.run(epoch=1)
    assert began(workspace) == ["2.0", "3.0", "1.0"]


def supervised_here(array, **more):
    """Evaluate the task with this process as its supervisor."""
    job = read_jobfile(array.folder.job(array.submit(**more)).file)
    failed = []
    here = supervisor.Supervisor(1, lambda n: None, lambda *why: failed.append(why), ends_at_once=True)
    here.run({0: lambda: SupervisedTask(array.folder, job, 0, LoadedStep(evaluate, {}))})
    assert failed == []


def test_a_process_that_the_kernel_has_killed_for_its_memory_is_called_so(workspace, array, monkeypatch):
    counted = iter(range(100))
    for module in (supervisor, processes):
        monkeypatch.setattr(module, "oom_kills", lambda: next(counted))
    (workspace / "crashes").touch()
    monkeypatch.setattr(os, "abort", lambda: os.kill(os.getpid(), signal.SIGKILL))
    supervised_here(array)
    error = array.lines()[1]["error"]
    assert error["type"] == "out_of_memory"
    assert error["message"] == "its process was killed because there was no memory left, 2 times"


def test_batches_leave_no_open_files(workspace, array):
    job = read_jobfile(array.folder.job(array.submit()).file)
    step = LoadedStep(evaluate, {})
    descriptors = Path("/proc/self/fd")
    before = sorted(descriptors.iterdir())
    for restart in range(3):
        here = supervisor.Supervisor(1, lambda n: None, lambda *why: None, ends_at_once=True)
        here.run({0: partial(SupervisedTask, array.folder, job, 0, step, restart=restart)})
    assert sorted(descriptors.iterdir()) == before


def test_a_result_that_is_too_large_fails_alone(workspace, array, monkeypatch):
    monkeypatch.setattr(results, "LONGEST_LINE", 4000)
    (workspace / "is large").touch()
    supervised_here(array)
    assert began(workspace) == ["0", "1", "2", "3"]
    assert [line["status"] for line in array.lines().values()] == ["FINISHED", "ERROR", "FINISHED", "FINISHED"]
    assert "write it to a file of its own" in array.lines()[1]["error"]["message"]


def test_a_timeout_that_comes_too_late_ends_no_other_experiment_for_good(workspace, array, monkeypatch):
    kill = os.kill

    def kill_late(pid, number):
        (workspace / "is killed").touch()
        wait_for((workspace / "is hit").exists)
        kill(pid, number)

    monkeypatch.setattr(os, "kill", kill_late)
    (workspace / "is late").touch()
    supervised_here(array, timeout=1.0)
    assert began(workspace) == ["0", "1", "2", "2", "3"]
    assert [line["status"] for line in array.lines().values()] == ["FINISHED"] * 4


OPENS = """
import atexit, gzip, os, threading, time
from pathlib import Path
from orchestrator import datagenerator

if "SLURM_JOB_ID" in os.environ:
    packed, text = gzip.open("packed.gz", "wb"), open("text", "w")
    packed.write(b"all")
    text.write("all")
    atexit.register(Path("exited").touch)

def wait_for_the_receipt():
    while not list(Path().glob("r/.orchestrator/jobs/*/receipts/*.json")):
        time.sleep(0.01)
    Path("finished").touch()

if Path("has a thread").exists():
    threading.Thread(target=wait_for_the_receipt).start()

@datagenerator(output_names="y")
def evaluate(x):
    assert "SLURM_JOB_ID" in os.environ
    return x
"""


@pytest.mark.parametrize("has_thread", [False, True])
def test_a_task_ends_after_what_its_study_does_at_the_end_of_the_interpreter(workspace, monkeypatch, has_thread):
    (workspace / "opens.py").write_text(OPENS)
    monkeypatch.syspath_prepend(workspace)
    array = Array(workspace, import_module("opens").evaluate)
    del sys.modules["opens"]
    if has_thread:
        (workspace / "has a thread").touch()
    array.run()
    assert array.receipt().n_finished == 4
    if not has_thread:  # with one, the interpreter itself does not complete it
        assert gzip.decompress(Path("packed.gz").read_bytes()) == b"all"
    assert Path("text").read_text() == "all"
    assert Path("exited").exists()
    assert Path("finished").exists() == has_thread


@pytest.mark.parametrize("where", ["a result", "the receipt", "the file of the task"])
def test_a_full_disk_fails_the_task_and_is_no_try_of_an_experiment(array, monkeypatch, where):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    job = read_jobfile(array.folder.job(array.submit()).file)
    failed = []
    with monkeypatch.context() as patch:
        if where == "a result":
            patch.setattr("orchestrator.worker.evaluator.write_line", full)
        elif where == "the receipt":
            patch.setattr("orchestrator.worker.task.end_task", full)
        else:
            patch.setattr("orchestrator.worker.task.Running", full)
        here = supervisor.Supervisor(1, lambda n: None, lambda *why: failed.append(why), ends_at_once=True)
        here.run({0: lambda: SupervisedTask(array.folder, job, 0, LoadedStep(evaluate, {}))})
    [(task, why)] = failed
    assert task == 0
    assert why.startswith("no space is left on the disk")
    for path in array.folder.job(job.token).running_of(0):
        assert read_cuts(path, "crashed", "its process died") == []
    array.run(["infrastructure"])
    assert array.receipt().n_finished == 4
