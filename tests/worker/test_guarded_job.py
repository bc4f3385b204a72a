"""The script of an array's job waits for its worker, and starts a second one if that dies."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from orchestrator import Step, datagenerator
from orchestrator.data.results import ResultFile, ResultWriter, inputs_digest
from orchestrator.definition.bundling import prepare_bundle
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.handoff.manifest import Entry
from orchestrator.handoff.receipt import read_receipt
from orchestrator.slurm.script import JOB_FILE, TOKEN, render, values
from orchestrator.slurm.variables import for_submission
from orchestrator.worker.guarded import FirstWorker, guard_of, is_guarded
from orchestrator.worker.processes import how_it_died
from orchestrator.worker.running import Running, alone_since
from orchestrator.workspace import TASK_MARK, RunFolder
from tests.engine.test_interruptions import wait_for
from tests.manifests import write_entries
from tests.processes import lives

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.acceptance]


@datagenerator(output_names="y")
def evaluate(x, how):
    with Path("began").open("a") as file:
        file.write(f"{os.getpid()} ")
    return BEHAVIOURS[how](x)


def wait_with_a_program(x):
    program = subprocess.Popen(["sleep", "600"], start_new_session=True)
    forked = os.fork()
    if forked == 0:
        os.setsid()
        time.sleep(600)
    Path("programs").write_text(f"{program.pid} {forked}")
    Path("is waiting").touch()
    time.sleep(600)


def save_on_sigterm(x):
    def save(number, frame):
        with Path("saved").open("a") as file:
            file.write("saved ")
        raise ValueError("saved")

    signal.signal(signal.SIGTERM, save)
    Path("is waiting").touch()
    time.sleep(600)


def end_on_sigterm(x):
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    Path("is waiting").touch()
    time.sleep(600)


def leave_behind(x):
    wait_with = threading.Event()
    threading.Thread(target=wait_with.wait).start()
    Path("programs").write_text(str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
    os.environ["LEFT"] = "1"
    os.chdir("/")
    return x


def crash_at_first(x):
    if len(Path("began").read_text().split()) == 1:
        os.abort()
    return x


def fill_the_disk(x):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    ResultWriter.write = full
    return x


BEHAVIOURS = {
    "returns": lambda x: x,
    "raises": lambda x: 1 / 0,
    "crashes": lambda x: os.abort(),
    "crashes at first": crash_at_first,
    "exits with 0": lambda x: os._exit(0),
    "exits with 113": lambda x: os._exit(3),
    "ends itself": lambda x: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(600),
    "fills the disk": fill_the_disk,
    "waits": wait_with_a_program,
    "saves": save_on_sigterm,
    "ends on SIGTERM": end_on_sigterm,
    "leaves behind": leave_behind,
}


class Task:
    """A job of one task with one experiment, or more."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.folder = RunFolder(workspace, "r")
        self.folder.logs.mkdir(parents=True)

    def start(self, how, n=1, **more):
        step = Step(evaluate, parallel=True)
        digest = prepare_bundle({"0": step}, None, needs_pickles=True).write(self.folder.bundles)
        entries = [Entry(row, inputs_digest({"x": row}), {"x": row, "how": how}, {}) for row in range(n)]
        write_entries(self.folder.manifest(0, 0, "mark"), [entries])
        fields = {"run_key": "r", "workspace": str(self.folder.workspace), "mark": "mark", "token": "token"}
        job = JobFile(
            **fields,
            role="batch",
            position=0,
            epoch=0,
            iteration="",
            kind="batch",
            parallel=True,
            path="0",
            until_path=None,
            project_dir=".",
            bundle_digest=digest,
            **more,
        )
        write_jobfile(self.folder.job("token").file, job)
        return self.restart(0)

    def restart(self, n):
        command = ["orchestrator.worker", "job", str(self.folder.workspace), "r", TOKEN, JOB_FILE]
        text = {"directives": {}, "env_setup": [], "env_vars": {}, "runner": [sys.executable], "threads": 1}
        script = Path("job.sh")
        script.write_text(render(values(**text, command=command, guard=guard_of(self.folder)), "one task"))
        job_id = str(os.getpid())  # no two tests at the same time have the same one
        slurm = {"SLURM_JOB_ID": job_id, "SLURM_ARRAY_JOB_ID": job_id, "SLURM_ARRAY_TASK_ID": "0"}
        environment = {**os.environ, **slurm, "PYTHONPATH": str(ROOT), "SLURM_RESTART_COUNT": str(n)}
        digest = sha256(self.folder.job("token").file.read_bytes()).hexdigest()
        # As SLURM does: the script is the first process of a session.
        return subprocess.Popen(
            ["bash", str(script), "token", digest],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments, code=0, **more):
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        return out + err

    def line(self):
        [path] = self.folder.results(".", "token").glob("*.jsonl")
        [line] = ResultFile.read(path).lines
        return line

    def receipt(self):
        return read_receipt(self.folder.job("token").receipt(0))

    def wait_until_it_waits(self):
        wait_for(Path("is waiting").exists)
        Path("is waiting").unlink()


@pytest.fixture
def task(workspace):
    return Task(workspace)


def began():
    return len(set(Path("began").read_text().split()))


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_one_experiment_is_evaluated_in_one_process(task, how):
    assert "Traceback" not in task.run(how)
    assert began() == 1
    receipt = task.receipt()
    assert (receipt.n_finished, receipt.n_failed) == ((1, 0) if how == "returns" else (0, 1))
    assert receipt.cpu_seconds > 0
    assert receipt.max_rss_mb > 1
    assert list((task.folder.job("token").path / "running").iterdir()) == []


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("crashes", "its process was killed by SIGABRT, 2 times"),
        ("exits with 0", "its process ended with exit code 0, 2 times"),
        ("exits with 113", "its process ended with exit code 3, 2 times"),
        ("ends itself", "its process was killed by SIGTERM, 2 times"),
    ],
)
def test_an_experiment_whose_process_dies_is_retried_and_then_has_failed(task, how, why):
    task.run(how, max_tries=2)
    assert began() == 2
    error = task.line()["error"]
    assert (error["type"], error["message"]) == ("crashed", why)
    assert task.receipt().n_failed == 1


def test_an_experiment_that_crashes_once_finishes(task):
    task.run("crashes at first", max_tries=3)
    assert task.line()["status"] == "FINISHED"
    assert task.receipt().n_finished == 1


def test_nothing_of_a_killed_worker_survives_and_its_experiment_is_evaluated_again(task):
    job = task.start("waits")
    task.wait_until_it_waits()
    first = Path("programs").read_text().split()
    os.kill(int(Path("began").read_text().split()[0]), signal.SIGKILL)
    task.wait_until_it_waits()
    assert not any(map(lives, first))
    job.send_signal(signal.SIGKILL)
    job.communicate(timeout=60)
    wait_for(lambda: not any(map(lives, Path("programs").read_text().split())))


def test_nothing_survives_the_end_of_the_script(task):
    job = task.start("waits")
    task.wait_until_it_waits()
    job.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(lives, [*Path("began").read_text().split(), *Path("programs").read_text().split()])))
    job.communicate(timeout=60)
    assert began() == 1


@pytest.mark.parametrize("to_all", [True, False])
def test_nothing_survives_sigterm_and_the_experiment_was_not_to_blame(task, to_all):
    job = task.start("waits")
    task.wait_until_it_waits()
    worker = int(Path("began").read_text())
    if to_all:  # as scancel does
        started = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        assert str(worker) in started
        for process in started:
            with suppress(ProcessLookupError):  # it ended because another one did
                os.kill(int(process), signal.SIGTERM)
        wait_for(lambda: not any(map(lives, started)))
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == -signal.SIGTERM
    wait_for(lambda: not any(map(lives, Path("programs").read_text().split())))
    assert began() == 1
    [running] = (task.folder.job("token").path / "running").iterdir()
    assert running.read_text().split()[2] == "0"


def test_an_experiment_may_save_what_it_has(task):
    job = task.start("saves")
    task.wait_until_it_waits()
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == 0
    assert Path("saved").read_text() == "saved "
    assert task.line()["error"]["message"] == "saved"


def test_what_an_experiment_leaves_behind_holds_nothing(task):
    printed = task.run("leaves behind")
    assert "left processes behind (sleep)" in printed
    assert task.receipt().n_finished == 1
    assert not lives(Path("programs").read_text())


@pytest.mark.parametrize("n", [1, 2])
def test_a_task_whose_step_was_stopped_by_another_one_ends(task, n):
    job = task.start("waits", n, stop_if_first_fail=5, tasks="0-1")
    task.wait_until_it_waits()
    task.folder.job("token").stop.touch()
    job.communicate(timeout=60)
    assert job.returncode == 0
    assert task.receipt().kind == "stopped"
    wait_for(lambda: not any(map(lives, Path("programs").read_text().split())))
    assert began() == 1


def test_the_supervisor_of_many_experiments_is_not_replaced(task):
    """It does not die by its experiments: the next attempt of the step evaluates them."""
    job = task.start("waits", n=2)
    task.wait_until_it_waits()
    experiment = int(Path("began").read_text())
    [supervisor] = [int(word) for word in Path(f"/proc/{experiment}/stat").read_text().rpartition(")")[2].split()[1:2]]
    os.kill(supervisor, signal.SIGKILL)
    job.communicate(timeout=60)
    assert (job.returncode, began()) == (-signal.SIGKILL, 1)
    wait_for(lambda: not any(map(lives, Path("programs").read_text().split())))
    [running] = (task.folder.job("token").path / "running").iterdir()
    assert running.read_text().split()[2] == "0"


def test_a_job_that_was_ended_is_no_success_whatever_its_experiment_says(task):
    job = task.start("ends on SIGTERM")
    task.wait_until_it_waits()
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == -signal.SIGTERM


def test_an_experiment_that_is_killed_while_the_host_has_no_memory_left_is_out_of_memory(tmp_path, monkeypatch):
    running = Running(tmp_path / "0")
    running.alone_since = 3
    running.begin([Entry(0, "digest", {}, {})], None)
    running.close()
    first, kinds = FirstWorker("mark", 128 + signal.SIGKILL, False), []
    for number in (3, 4):
        monkeypatch.setattr("orchestrator.worker.processes.oom_kills", lambda number=number: number)
        kinds.append(how_it_died(first.exit_code, alone_since(tmp_path / "0"))[0])
    assert kinds == ["crashed", "out_of_memory"]


@pytest.mark.parametrize(
    ("code", "before", "died"),
    [
        (-signal.SIGKILL, 3, ("out_of_memory", "its process was killed because there was no memory left")),
        (-signal.SIGKILL, 4, ("crashed", "its process was killed by SIGKILL")),
        (-signal.SIGKILL, None, ("crashed", "its process was killed by SIGKILL")),
        (-signal.SIGSEGV, 3, ("crashed", "its process was killed by SIGSEGV")),
        (9, 3, ("crashed", "its process ended with exit code 9")),
    ],
)
def test_only_a_process_that_was_killed_while_the_kernel_had_no_memory_for_one_is_out_of_memory(
    monkeypatch, code, before, died
):
    monkeypatch.setattr("orchestrator.worker.processes.oom_kills", lambda: 4)
    assert how_it_died(code, before) == died


def test_a_job_inside_another_one_is_not_guarded_by_its_script(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(TASK_MARK, "outer.7")
    assert [is_guarded("outer"), is_guarded("inner")] == [True, False]
    assert TASK_MARK not in for_submission(os.environ, [])


def test_an_error_of_the_job_itself_is_printed_once(task):
    task.run("returns", code=1, cwd="/nowhere")
    job = task.restart(0)
    assert job.communicate(timeout=60)[1].count("/nowhere") == 1


def test_a_full_disk_is_printed_once_by_name_and_no_experiment_is_to_blame(task):
    printed = task.run("fills the disk", code=1)
    folder = task.folder.results(".", "token")
    assert printed.splitlines()[-1] == f"no space is left on the disk of {folder}"
    assert "Traceback" not in printed
    assert began() == 1
