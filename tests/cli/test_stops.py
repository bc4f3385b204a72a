"""What stops a run on this machine: Ctrl-C, SIGTERM, the end of its terminal; and what its records say then."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import lives

pytestmark = [pytest.mark.acceptance]

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
import subprocess, time
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

def run_program():
    program = "echo $$ >> programs; while [ ! -e go ]; do sleep 0.02; done"
    subprocess.run(["sh", "-c", program])

@datagenerator(output_names="y")
def evaluate(x):
    run_program()
    return x

def call(project_dir):
    run_program()

def deaf(project_dir):
    program = subprocess.Popen(["sh", "-c", "trap '' INT TERM; echo $$ >> programs; exec sleep 600"])
    while not Path("go").exists():
        try:
            Path("waiting").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            Path("heard").touch()
    program.kill()

steps = {"parallel": Step(evaluate, parallel=True), "call": Step(call), "deaf": Step(deaf)}
pipeline = Pipeline("kids", [Step(store_numbers(2), name="create"), steps["KIND"]])
"""

STOPS = {"INT": (130, "Ctrl-C"), "TERM": (143, "SIGTERM"), "HUP": (129, "the terminal was closed")}


def wait_for(fact, seconds=60.0):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def programs(workspace):
    file = workspace / "programs"
    return file.read_text().split() if file.exists() else []


@pytest.fixture
def run(workspace):
    """Return a function that starts a run, and returns when its programs run."""
    started = []

    def start(kind, **options):
        (workspace / "study.py").write_text(STUDY.replace("KIND", kind))
        command = [sys.executable, "-m", "orchestrator", "run", "study.py", "--project-job", "r", "--jobs", "2"]
        streams = {name: options.pop(name, subprocess.PIPE) for name in ("stdout", "stderr")}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        process = subprocess.Popen(command, env=environment, text=True, **streams, **options)
        started.append(process)
        wait_for(lambda: len(programs(workspace)) == (2 if kind == "parallel" else 1))
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for pid in programs(workspace):
        with suppress(OSError):
            os.kill(int(pid), signal.SIGKILL)


def orchestrator(*arguments):
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60
    )


def check_stopped(workspace, words):
    wait_for(lambda: not any(map(lives, programs(workspace))))
    status = orchestrator("status", "r").stdout.splitlines()
    assert status[0].startswith(f"Run r (kids): stopped ({words} at ")
    waited = orchestrator("wait", "r")
    assert (waited.returncode, waited.stderr.startswith(f"Run r was stopped ({words} at ")) == (75, True)
    (workspace / "go").touch()
    assert orchestrator("resume", "r").returncode == 0
    assert orchestrator("status", "r").stdout.startswith("Run r (kids): succeeded\n")


def test_a_dry_run_says_with_which_step_a_stopped_run_continues(run):
    process = run("call")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    said = orchestrator("resume", "r", "--dry-run")
    assert said.stdout == "Continues run r with call.\nNothing was changed (--dry-run).\n"


def test_no_command_says_that_it_continues_a_run_that_another_process_advances(workspace, run):
    process = run("call")
    for words in ("advance r", "resume r", "resume r --from-step create", "run study.py --project-job r"):
        for options in ((), ("--dry-run",)):
            done = orchestrator(*words.split(), *options)
            assert (done.returncode, done.stdout) == (75, ""), (words, done)
            assert done.stderr.startswith(f"Error: Run r is being advanced by process {process.pid} "), (words, done)
    (workspace / "go").touch()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("kind", ["parallel", "call"])
@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_a_run_which_can_be_resumed(workspace, run, number, kind):
    code, words = STOPS[number]
    process = run(kind)
    process.send_signal(signal.Signals[f"SIG{number}"])
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err.endswith(
        f"Error: Run r was stopped ({words}); all results are kept.\nNext: To continue: orchestrator resume r\n"
    )
    check_stopped(workspace, words)


def in_terminal(run, kind, *, ignores_hangup=False):
    """Start a run in a terminal of its own; return the run, and the other end of the terminal."""
    here, there = pty.openpty()

    def enter():
        fcntl.ioctl(there, termios.TIOCSCTTY, 0)
        if ignores_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = run(kind, stdin=there, stdout=there, stderr=there, start_new_session=True, preexec_fn=enter)
    os.close(there)
    return process, here


@pytest.mark.parametrize("kind", ["parallel", "call"])
def test_a_run_whose_terminal_is_closed_is_stopped(workspace, run, kind):
    process, terminal = in_terminal(run, kind)
    os.close(terminal)
    assert process.wait(timeout=60) == 129
    check_stopped(workspace, "the terminal was closed")


@pytest.mark.parametrize("kind", ["parallel", "call"])
def test_a_run_that_ignores_the_end_of_its_terminal_continues(workspace, run, kind):
    """As below `nohup`."""
    process, terminal = in_terminal(run, kind, ignores_hangup=True)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    (workspace / "go").touch()
    assert process.wait(timeout=60) == 0
    assert orchestrator("status", "r").stdout.startswith("Run r (kids): succeeded\n")


@pytest.mark.parametrize("number", ["INT", "TERM"])
def test_the_second_signal_ends_a_step_that_ignores_the_first_which_is_recorded(workspace, run, number):
    process = run("deaf")
    wait_for(lambda: (workspace / "waiting").exists())
    process.send_signal(signal.Signals[f"SIG{number}"])
    wait_for(lambda: (workspace / "heard").exists())
    assert process.poll() is None
    while process.poll() is None:  # a signal directly after the first belongs to it
        process.send_signal(signal.Signals[f"SIG{number}"])
        time.sleep(0.01)
    assert process.returncode == -signal.Signals[f"SIG{number}"]
    check_stopped(workspace, STOPS[number][1])


def test_a_signal_that_is_sent_twice_at_once_is_one(workspace, run):
    """`timeout` sends its signal to its process, and then to its group."""
    process = run("parallel")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    check_stopped(workspace, "SIGTERM")
