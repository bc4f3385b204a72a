"""What an experiment printed and logged is found by its number, in a process of its own, as users run studies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import cli as main
from orchestrator.cli.workspace import TypedOptions

pytestmark = pytest.mark.acceptance

STUDY = """
import logging, os, signal, subprocess, sys, time
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

log = logging.getLogger("mystudy")

@datagenerator(output_names="y")
def evaluate(x):
    number = int(x)
    print("begin", number)
    log.info("info of %d", number)
    log.debug("debug of %d", number)
    sys.stderr.write(f"error {number}\\n")
    subprocess.run(["echo", f"child {number}"], check=True)
    if number == 3:
        raise ValueError("three")
    if number == 5 and Path("hold").exists():
        print("waits", end="", flush=True)
        Path("waiting").touch()
        while Path("hold").exists():
            time.sleep(0.01)
    print("end", number, end="")
    return x

def note(project_dir):
    log.info("info of a step")
    log.warning("warning of a step")

PARALLEL
"""

PIPELINE = 'pipeline = Pipeline("p", [Step(store_numbers(9)), Step(evaluate, parallel={}, max_failed=1), Step(note)])'

SEQUENTIAL_AND_PARALLEL = pytest.mark.parametrize("parallel", [False, True])

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def printed(text, number):
    """Whether a text is what an experiment has printed; locally, the order of output and errors is not kept."""
    lines = [f"begin {number}", f"{TIME} INFO experiment {number} mystudy: info of {number}", f"error {number}"]
    lines += [f"child {number}", f"end {number}" if number != 3 else ""]
    return all(
        re.fullmatch(expected, line)
        for expected, line in zip(sorted(lines, key=_words), sorted(text.split("\n"), key=_words), strict=True)
    )


def _words(line):
    return line.split(" ")[-3:]


def logs(*arguments):
    return CliRunner().invoke(main, ["logs", *arguments], obj=TypedOptions(), catch_exceptions=False).stdout


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def study(cli, parallel, extra=""):
    text = STUDY.replace("PARALLEL", PIPELINE.format(parallel)) + extra
    (cli.workspace / "noisy.py").write_text(text.lstrip())
    return "noisy.py"


@SEQUENTIAL_AND_PARALLEL
def test_the_output_of_each_experiment_is_found_by_its_number(cli, parallel):
    cli("run", study(cli, parallel), "--project-job", "r", "--jobs", "2")
    for number in range(9):
        out = logs("r", "evaluate", "--experiment", str(number))
        assert printed(out, number), out
        assert logs("--experiment", str(number)) == logs("r", "--experiment", str(number)) == out
    [log] = json.loads(logs("evaluate", "--experiment", "4", "--json"))["logs"]
    assert printed(Path(log["path"]).read_text()[log["begin"] : log["end"]], 4)


@SEQUENTIAL_AND_PARALLEL
def test_log_lines_of_a_step_have_a_time_and_a_level(cli, parallel):
    cli("run", study(cli, parallel), "--project-job", "r")
    lines = f"{TIME} INFO mystudy: info of a step\n{TIME} WARNING mystudy: warning of a step\n"
    assert re.fullmatch(lines, logs("r", "note"))


@SEQUENTIAL_AND_PARALLEL
def test_what_a_running_experiment_has_printed_so_far(cli, parallel):
    (cli.workspace / "hold").touch()
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", study(cli, parallel), "--project-job", "r"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until((cli.workspace / "waiting").exists)
        wait_until(lambda: logs("r", "evaluate", "--experiment", "5").endswith("waits"))
        assert logs("--experiment", "5").endswith("waits")
        command = [*command[:3], "logs", "r", "evaluate", "--experiment", "5", "-f"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout.readline() == "begin 5\n"
            (cli.workspace / "hold").unlink()
            assert following.stdout.read().endswith("waitsend 5")
    finally:
        running.kill()
        running.wait()


def test_the_last_evaluation_counts_and_one_that_was_not_repeated_is_still_found(cli):
    name = study(cli, parallel=True)
    text = (cli.workspace / name).read_text()
    (cli.workspace / name).write_text(text.replace("max_failed=1", "max_failed=0"))
    cli("run", name, "--project-job", "r")
    (cli.workspace / name).write_text(text.replace('ValueError("three")', 'ValueError(print("again"))'))
    cli("resume", "r", "--update", name)
    assert logs("r", "evaluate", "--experiment", "3").endswith("again\n")
    assert printed(logs("r", "evaluate", "--experiment", "4"), 4)


def test_a_killed_experiment_has_printed_the_rest_of_its_log(cli):
    name = study(cli, parallel=True)
    text = (cli.workspace / name).read_text()
    (cli.workspace / name).write_text(text.replace('raise ValueError("three")', "os.kill(os.getpid(), signal.SIGKILL)"))
    cli("run", name, "--project-job", "r", "--jobs", "1")
    assert printed(logs("r", "evaluate", "--experiment", "3"), 3)


def test_an_experiment_that_was_not_evaluated(cli, golden):
    extra = """
from orchestrator import Loop
def more(project_dir, iteration):
    store_numbers(2 - iteration)(project_dir)
pipeline = Pipeline("p", [Loop(2, [Step(more), Step(evaluate, parallel=True)])])
"""
    cli("run", study(cli, parallel=True, extra=extra), "--project-job", "r")
    golden(cli("logs", "r", "evaluate", "--experiment", "7", "-f"))
    golden(cli("logs", "r", "evaluate", "--experiment", "1"))
    golden(cli("logs", "r", "evaluate", "--experiment", "7", "--task", "1"))
    golden(cli("logs", "--experiment", "7"))
    # The step that has evaluated it last.
    assert printed(cli("logs", "r", "--experiment", "1").out, 1)


def test_the_level_is_chosen_by_the_environment(cli):
    name = study(cli, parallel=True)
    cli("run", name, "--project-job", "r", ORCHESTRATOR_LOG_LEVEL="debug")
    assert "DEBUG experiment 1 mystudy: debug of 1\n" in logs("r", "evaluate", "--experiment", "1")
    cli("run", name, "--project-job", "s", ORCHESTRATOR_LOG_LEVEL="WARNING")
    assert "INFO" not in logs("s", "evaluate")
    cli("run", name, "--project-job", "t", ORCHESTRATOR_LOG_LEVEL="loud")
    log = logs("t", "note")
    assert "ORCHESTRATOR_LOG_LEVEL='loud' is not a level. INFO is used." in log
    assert "INFO mystudy: info of a step\n" in log


def test_the_level_of_the_main_module_holds_in_workers(cli):
    extra = """
if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s by main: %(message)s")
    pipeline.run(mode="local", project_job="r")
"""
    cli.python(study(cli, parallel=True, extra=extra))
    assert "DEBUG experiment 1 mystudy: debug of 1\n" in logs("r", "evaluate", "--experiment", "1")
    assert logs("r", "note").endswith("INFO by main: info of a step\nWARNING by main: warning of a step\n")


@SEQUENTIAL_AND_PARALLEL
def test_what_the_study_configures_when_it_is_imported_holds(cli, parallel):
    name = study(cli, parallel)
    text = (cli.workspace / name).read_text()
    configured = 'logging.basicConfig(level=logging.INFO, format="mine %(levelname)s: %(message)s")\nlog = '
    (cli.workspace / name).write_text(text.replace("log = ", configured, 1))
    cli("run", name, "--project-job", "r", ORCHESTRATOR_LOG_LEVEL="DEBUG")
    lines = logs("r", "evaluate", "--experiment", "1").split("\n")
    assert sorted(lines) == ["begin 1", "child 1", "end 1", "error 1", "mine INFO: info of 1"]


@SEQUENTIAL_AND_PARALLEL
def test_what_an_experiment_configures_holds_and_no_line_is_doubled(cli, parallel):
    name = study(cli, parallel)
    text = (cli.workspace / name).read_text()
    configured = 'logging.basicConfig(level=logging.DEBUG, format="mine: %(message)s")'
    (cli.workspace / name).write_text(text.replace('    print("begin", number)', f"    {configured}"))
    cli("run", name, "--project-job", "r", "--jobs", "1")
    lines = logs("r", "evaluate", "--experiment", "1").split("\n")
    # Locally, the order of output and errors is not kept.
    assert sorted(lines) == ["child 1", "end 1", "error 1", "mine: debug of 1", "mine: info of 1"]


def test_a_logger_with_a_handler_of_its_own_or_with_one_that_does_nothing(cli):
    name = study(cli, parallel=True)
    text = (cli.workspace / name).read_text()
    setup = """    quiet, loud = logging.getLogger("quiet"), logging.getLogger("loud")
    if not loud.handlers:
        quiet.addHandler(logging.NullHandler())
        loud.addHandler(logging.StreamHandler())
    quiet.info("by quiet")
    loud.info("by loud")
    number = int(x)
"""
    (cli.workspace / name).write_text(text.replace("    number = int(x)\n", setup))
    cli("run", name, "--project-job", "r")
    lines = logs("r", "evaluate", "--experiment", "1").splitlines()
    assert lines[0].endswith(" INFO experiment 1 quiet: by quiet")
    assert lines[1:3] == ["by loud", "begin 1"]


def test_a_log_that_was_deleted(cli, golden):
    cli("run", study(cli, parallel=False), "--project-job", "r")
    (cli.workspace / "logs" / "r" / "evaluate.log").unlink()
    golden(cli("logs", "r", "evaluate", "--experiment", "1"))


def test_debug_lines_of_libraries_are_left_out(cli):
    name = study(cli, parallel=True)
    library = cli.workspace / "site-packages" / "chatty.py"
    library.parent.mkdir()
    library.write_text(
        "import logging\ndef talk():\n    logging.getLogger('chatty').debug('noise')\n"
        "    logging.getLogger('chatty').info('news')\n"
    )
    text = (cli.workspace / name).read_text()
    call = f"    sys.path.insert(0, {str(library.parent)!r}); import chatty; chatty.talk()\n    number = int(x)"
    (cli.workspace / name).write_text(text.replace("    number = int(x)", call))
    cli("run", name, "--project-job", "r", ORCHESTRATOR_LOG_LEVEL="DEBUG")
    out = logs("r", "evaluate", "--experiment", "1")
    assert "INFO experiment 1 chatty: news" in out
    assert "debug of 1" in out
    assert "noise" not in out
