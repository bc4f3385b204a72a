"""Mistakes of a new user: each message names a command that works."""

from __future__ import annotations

from pathlib import Path

import pytest

STUDY = """
from orchestrator import CollectArrayResults, Domain, ExperimentData, Pipeline, Step, datagenerator

def create(project_dir):
    domain = Domain()
    domain.add_float("x")
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(x)} for x in range(6)]).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x):
    return x * 2

pipeline = Pipeline("mistakes", [
    Step(create),
    Step(evaluate, name="evaluate", parallel=True),
    Step(CollectArrayResults(), name="collect"),
])
"""


def write(text: str = STUDY) -> None:
    Path("study.py").write_text(text.lstrip())


def run(cli, text: str):
    write(text)
    return cli("run", "study.py", "--project-job", "r")


def commands_in(text: str) -> list[str]:
    """Return the commands that a message offers."""
    found = [line.rpartition("orchestrator ")[2] for line in text.splitlines() if "orchestrator " in line]
    return [command for command in found if command.split()[0] in {"resume", "logs", "failures", "fork", "run"}]


def test_a_failed_run_says_the_exception_and_which_command_takes_a_fix_of_the_study(cli):
    failed = run(cli, STUDY.replace("return x * 2", "raise ValueError('the mesh is too coarse')"))
    assert failed.code == 1
    assert "ValueError: the mesh is too coarse" in failed.err
    assert "failures r" in commands_in(failed.err)
    assert any(command.startswith("resume r --update ") for command in commands_in(failed.err))
    write()
    assert cli("resume", "r", "--update", "study.py").code == 0


def test_most_of_several_exceptions_is_shown(cli):
    text = STUDY.replace("return x * 2", "raise [ValueError('a few'), KeyError('most')][x > 1]")
    failed = run(cli, text.replace("parallel=True", "max_failed=5"))
    assert "4 of them: KeyError: 'most'" in failed.err


def test_after_a_forgotten_store_a_command_repeats_the_step_that_has_to_store(cli):
    failed = run(cli, STUDY.replace(".store(project_dir)", ""))
    assert "no step has stored one" in failed.err
    offered = [command for command in commands_in(failed.err) if "--from-step create --update" in command]
    shown = cli("status", "r").out
    assert offered[0] in shown
    write()
    assert cli(*offered[0].split()).code == 0
