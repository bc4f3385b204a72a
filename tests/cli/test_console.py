"""What the console of a local run shows: progress; with `--verbose` also the output of steps, with `--quiet` errors."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator import Pipeline
from orchestrator.errors import DefinitionError

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
import logging
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

@datagenerator(output_names="y")
def evaluate(x):
    print("experiment", x)
    return x

def report(project_dir):
    logging.getLogger("a_library").info("a line of a library")
    print("the best is 4")

def look(project_dir):
    breakpoint()

def ask(project_dir):
    print("answer:", input("how many? "))

PARALLEL = True
steps = [Step(store_numbers(4), name="create"), Step(evaluate, parallel=PARALLEL), Step(report)]
pipeline = Pipeline("loud", steps)
debugged = Pipeline("debugged", [Step(look)])
asking = Pipeline("asking", [Step(ask)])
"""


@pytest.fixture
def run(workspace):
    """Return a function that runs the study with options, and returns what it prints."""

    def run(*options, parallel=True, study="study.py"):
        (workspace / "study.py").write_text(STUDY.replace("PARALLEL = True", f"PARALLEL = {parallel}"))
        command = [sys.executable, "-m", "orchestrator", "run", study, "--project-job", "r", *options]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )

    return run


@pytest.mark.parametrize("option", ["", "--verbose", "--quiet"])
def test_the_console(run, workspace, golden, option):
    done = run(*filter(None, [option]), parallel=False)
    golden.replace(str(workspace), "workspace")
    golden(done)
    log = (workspace / "logs/r/report.log").read_text().splitlines()
    # With --verbose the two streams go to the console separately, so the log may have their lines in another order.
    assert (sorted(log) if option == "--verbose" else log) == ["INFO a line of a library", "the best is 4"]


def in_a_terminal(*words, parallel=True, typed=b""):
    """Run the study in a terminal, where something was typed; return the exit code, and what is shown."""
    Path("study.py").write_text(STUDY.replace("PARALLEL = True", f"PARALLEL = {parallel}"))
    here, there = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "orchestrator", "run", *words, "--project-job", "r"]
    process = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=environment)
    os.close(there)
    os.write(here, typed)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while content := os.read(here, 65536):
            shown += content
    os.close(here)
    return process.wait(timeout=60), shown


def test_a_command_that_a_run_names_in_a_terminal_is_on_one_line_with_the_folder_of_the_workspace(workspace):
    folder = workspace / ("a_long_name_of_a_folder_" * 3)
    words = ["study.py", "--rootdir", str(folder)]
    assert in_a_terminal(*words)[0] == 0
    _, shown = in_a_terminal(*words, parallel=False)
    command = f"orchestrator resume r --from-step create --update {workspace}/study.py --rootdir {folder}\r\n"
    assert command.encode() in shown


@pytest.mark.parametrize("parallel", [True, False])
def test_a_bar_in_a_terminal_is_not_in_the_log(workspace, parallel):
    code, shown = in_a_terminal("study.py", "--jobs", "1", parallel=parallel)
    assert code == 0
    assert b"4/4" in shown
    assert b"the best is 4" not in shown
    logs = "".join(path.read_text() for path in sorted((workspace / "logs/r").glob("evaluate*")))
    assert sorted(logs.splitlines()) == [f"experiment {x}.0" for x in range(4)]


def test_a_debugger_that_would_not_be_seen_says_what_to_type(run, workspace):
    done = run(study="study.py:debugged")
    assert done.returncode == 1
    assert "RuntimeError: breakpoint() has no terminal here: the output of this step goes to its log." in done.stderr
    assert "--verbose" in (workspace / "logs/r/look.log").read_text() + done.stderr


def test_a_question_that_would_not_be_seen_is_an_error_and_is_asked_with_verbose(workspace):
    code, shown = in_a_terminal("study.py:asking")
    assert code == 1
    assert b"RuntimeError: input() has no terminal here" in shown
    code, shown = in_a_terminal("study.py:asking", "--verbose", typed=b"5\n")
    assert code == 0
    assert b"answer: 5" in shown


def test_quiet_and_verbose_exclude_each_other(run):
    done = run("--quiet", "--verbose")
    assert done.returncode == 2
    assert "--quiet and --verbose exclude each other." in done.stderr


def test_a_console_that_does_not_exist(golden):
    with golden.raises(DefinitionError):
        Pipeline("p", steps=[]).run(console="everything")
