"""`status --watch`: drawn again in a terminal, lines elsewhere; it ends with the run, and Ctrl-C leaves cleanly."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from cli_records import T0, Records
from rich.console import Console
from rich.live import Live

from orchestrator.cli.status import read_status
from orchestrator.cli.watch import _Lines, _Screen, progress_line
from orchestrator.db.lease_holder import Holder
from orchestrator.machine.kinds import Mode
from orchestrator.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
import time
from contextlib import suppress
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    while x == 5.0 and not Path("go").exists():
        time.sleep(0.01)
    if x == 1.0:
        raise ValueError("no mesh " + 12 * "in this part ")
    return x

pipeline = Pipeline("live", [Step(store_numbers(6), name="create"), Step(evaluate, parallel=True, max_failed=2)])
"""
LONG = b"ValueError: no mesh " + 11 * b"in this part " + b"in this part"
WATCH = [sys.executable, "-m", "orchestrator", "status", "r", "--watch"]


def wait_for(fact, seconds=60.0):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def run(workspace):
    """A run that waits at an experiment until the file `go` exists."""
    (workspace / "study.py").write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "orchestrator", "run", "study.py", "--project-job", "r", "--jobs", "2"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (workspace / "r" / "experiment_data" / ".results").is_dir())
    yield process
    (workspace / "go").touch()
    process.wait(timeout=60)


@pytest.fixture
def status(workspace, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    records = Records(workspace)
    records.add_run("r", holder=Holder("login1", "its boot", 4242, "1"))
    records.add_step_run(0, "succeeded", seconds=2)
    records.add_step_run(1, "active", begin=2, n_experiments=198, n_tasks=9, n_finished_before=120, n_failed_before=2)
    records.add_job("running", begin=2, role="batch", tasks="0-8", n_tasks=9)
    yield read_status(Workspace.at(workspace), "r", T0 + 60)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen(status, golden, width):
    out = io.StringIO()
    console = Console(file=out, width=width, height=40, force_terminal=True, color_system=None)
    screen = _Screen(Live(console=console, auto_refresh=False, transient=True), "r")
    with screen.live:
        screen.show(status, None, T0 + 60)
        screen.show(status, None, T0 + 61)
    drawn = out.getvalue()
    # The second drawing begins where the first began.
    assert re.search(r"(\x1b\[1A\x1b\[2K){9}", drawn)
    first, _, _ = drawn.partition("\x1b[2K")
    golden(re.sub(r"\x1b\[[\d?]*\w|\r", "", first))


def test_the_line(status):
    assert progress_line(status, T0 + 60) == (
        "06:01:00 r: evaluate active, 122 of 320 experiments done (2 failed), 0 running"
    )


def test_the_line_of_a_step_that_waits_in_the_queue(status):
    jobs = tuple(job._replace(started_at=None) for job in status.now.jobs)
    queued = status._replace(run=status.run._replace(mode=Mode.SLURM), now=status.now._replace(jobs=jobs, n_all=None))
    assert progress_line(queued, T0 + 60) == "06:01:00 r: evaluate in the queue"


def test_lines_are_printed_only_when_something_has_changed(status, capsys):
    lines = _Lines()
    lines.show(status, None, T0 + 60)
    lines.show(status, None, T0 + 61)
    later = status._replace(now=status.now._replace(address="evaluate@1"))
    lines.show(later, None, T0 + 62)
    lines.show(later._replace(run=later.run._replace(n_finished=130)), None, T0 + 63)  # a few seconds later
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["06:01:00", "06:01:02"]


@pytest.mark.acceptance
def test_without_a_terminal_lines_are_printed_until_the_run_ends(workspace, run):
    watch = subprocess.Popen(WATCH, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = watch.stdout.readline()
    (workspace / "go").touch()
    out, err = watch.communicate(timeout=60)
    assert re.match(r"\d\d:\d\d:\d\d r: ", first)
    assert out.splitlines()[-1].endswith("r: succeeded")
    assert watch.returncode == 3
    assert "1 experiment failed, which is within the limits" in err


def in_terminal(there, *, ignores_ctrl_c=False):
    """Make a terminal that of this new process, as a shell does."""
    fcntl.ioctl(there, termios.TIOCSCTTY, 0)
    if ignores_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_until(terminal, is_there):
    """Read what is drawn on a terminal until it contains something."""
    drawn = b""
    while not is_there(drawn):
        drawn += os.read(terminal, 65536)
    return drawn


@pytest.mark.acceptance
@pytest.mark.parametrize("term", ["xterm-256color", "screen"])
@pytest.mark.parametrize("ignores", [False, True])
def test_in_a_terminal_ctrl_c_leaves_and_the_run_continues(workspace, run, term, ignores):
    here, there = pty.openpty()
    watch = subprocess.Popen(
        WATCH,
        stdin=there,
        stdout=there,
        stderr=there,
        env={**os.environ, "TERM": term},
        start_new_session=True,
        preexec_fn=partial(in_terminal, there, ignores_ctrl_c=ignores),
    )
    os.close(there)
    drawn = read_until(here, lambda drawn: drawn.count(b"Ctrl-C leaves") >= 2)
    os.write(here, b"\x03")
    watch.wait(timeout=30)
    with suppress(OSError):  # the other end is closed
        while True:
            drawn += os.read(here, 65536)
    os.close(here)
    assert watch.returncode == 130
    assert b"Traceback" not in drawn
    assert drawn.rstrip().endswith(b"orchestrator status r --watch")
    assert drawn.rfind(b"\x1b[?25h") > drawn.rfind(b"\x1b[?25l")  # the cursor is shown again
    assert run.poll() is None


@pytest.mark.acceptance
def test_the_screen_follows_the_width_of_its_terminal(workspace, run):
    """A long line is cut at 80 columns, and whole when the terminal has become wider."""
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (40, 80))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    watch = subprocess.Popen(WATCH, stdin=there, stdout=there, stderr=there, env=environment, start_new_session=True)
    try:
        narrow = read_until(here, lambda drawn: drawn.count(b"Ctrl-C leaves") >= 2)
        termios.tcsetwinsize(there, (40, 200))
        wide = read_until(here, lambda drawn: LONG in drawn)
    finally:
        watch.kill()
        watch.wait()
        os.close(here)
        os.close(there)
    assert LONG not in narrow
    assert LONG[:60] in narrow
    assert wide.rfind(b"Ctrl-C leaves") > 0


def test_watch_and_json_exclude_each_other(workspace):
    Records(workspace).add_run("r")
    done = subprocess.run([*WATCH, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--watch can't be combined with --json or --refresh." in done.stderr
