"""Each command that the page "After a failure" names ends a run as the page says, in the situation that it names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.after_a_failure import commands

pytestmark = pytest.mark.slow

STUDY = """
import os
import signal
import subprocess
import sys
from pathlib import Path

from orchestrator import CollectArrayResults, Pipeline, Step, datagenerator
from tests.studies import store_numbers


def is_first(name):
    is_there = Path("FOLDER", name).exists()
    Path("FOLDER", name).touch()
    return not is_there


def prepare(project_dir):
    PREPARE


@datagenerator(output_names="y")
def evaluate(x):
    if x in FAILING and (FAULT):
        raise ValueError("no convergence")
    return FACTOR * x


pipeline = Pipeline("study", [
    Step(store_numbers(ROWS), name="create"),
    Step(prepare),
    Step(evaluate, name="evaluate", parallel=True, max_failed=3),
    Step(CollectArrayResults(), name="collect"),
])
"""
GOOD = {"PREPARE": "pass", "FAILING": "()", "FAULT": "True", "FACTOR": "2", "ROWS": "6"}
EVEN = [0, 2, 4, 6, 8, 10]
NO_LICENCE = "if is_first('tried'): raise OSError('no licence')"
KILLED = "if is_first('killed'): os.kill(os.getpid(), signal.SIGKILL)"
HELD = "if is_first('held'): subprocess.run([sys.executable, '-m', 'orchestrator', 'hold', 'r'], check=True)"


class Situation(NamedTuple):
    """A study that ends with an exit code, its correction, the command, and the outputs and exit code after it."""

    study: dict[str, str]
    code: int
    command: str
    outputs: list[float | None]
    code_after: int = 0
    corrected: dict[str, str] | None = None
    key: str = "r"


SITUATIONS = {
    "killed": Situation({"PREPARE": KILLED}, -9, "resume", EVEN),
    "no licence": Situation({"PREPARE": NO_LICENCE}, 1, "resume", EVEN),
    "fault in a step": Situation({"PREPARE": "1 / 0"}, 1, "resume --update study.py", EVEN, corrected={}),
    "a licence for some": Situation({"FAILING": "(1, 4)", "FAULT": "is_first(str(x))"}, 3, "retry", EVEN),
    "fault in some": Situation({"FAILING": "(1, 4)"}, 3, "retry --update study.py", EVEN, corrected={}),
    "too many": Situation(
        {"FAILING": "(0, 1, 2, 3)"}, 1, "resume --accept-failed", [None, None, None, None, 8, 10], code_after=3
    ),
    "wrong table": Situation(
        {"ROWS": "3"}, 0, "resume --from-step create --update study.py", EVEN, corrected={"ROWS": "6"}
    ),
    "wrong results": Situation(
        {"FACTOR": "3"}, 0, "resume --from-step evaluate --table-as-then --update study.py", EVEN, corrected={}
    ),
    "wrong results, to keep": Situation(
        {"FACTOR": "3"}, 0, "fork --from evaluate --update study.py", EVEN, corrected={}, key="r-2"
    ),
    "held": Situation({"PREPARE": HELD}, 75, "release", EVEN),
}


def write(changes: dict[str, str]) -> None:
    text = STUDY
    for name, value in (GOOD | changes).items():
        text = text.replace(name, value)
    Path("study.py").write_text(text.replace("FOLDER", str(Path.cwd())))


def outputs(key: str) -> list[float | None]:
    return [None if pd.isna(y) else y for y in pd.read_csv(Path(key, "experiment_data", "output.csv")).y]


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_command_of_the_page_ends_the_run(cli, here, name):
    situation = SITUATIONS[name]
    write(situation.study)
    assert cli("run", "study.py", "--project-job", "r").code == situation.code
    before = outputs("r")
    if situation.corrected is not None:
        write(situation.corrected)
    words = situation.command.split()
    assert here(*words, "--dry-run").code == 0
    assert outputs("r") == before
    done = here(*words)
    assert done.code == situation.code_after, done.err
    assert outputs(situation.key) == situation.outputs
    if situation.key != "r":
        assert outputs("r") == before


def test_a_killed_run_goes_back_to_an_earlier_step(cli, here):
    write({"PREPARE": KILLED, "ROWS": "3"})
    assert cli("run", "study.py", "--project-job", "r").code == -9
    write({})
    done = here("resume", "r", "--from-step", "create", "--update", "study.py")
    assert done.code == 0, done.err
    assert outputs("r") == EVEN


def test_a_resume_after_a_cancelled_step_says_that_it_has_to_be_repeated(cli, here):
    cancels = "subprocess.Popen([sys.executable, '-m', 'orchestrator', 'cancel', 'r', '-y']); signal.pause()"
    write({"PREPARE": f"if is_first('cancelled'): {cancels}"})
    assert cli("run", "study.py", "--project-job", "r").code == 4
    refused = here("resume", "r", "--from-step", "evaluate")
    assert refused.code == 2
    assert "the step before it, prepare, was cancelled." in " ".join(refused.err.split())
    assert here("resume", "r").code == 0
    assert outputs("r") == EVEN


def test_a_retry_of_a_stopped_run_names_the_command_that_continues_it(cli, here):
    write({"PREPARE": KILLED})
    assert cli("run", "study.py", "--project-job", "r").code == -9
    refused = here("retry", "r")
    assert refused.err.endswith("If it was stopped: orchestrator resume r\n")
    assert here("resume", "r").code == 0


def test_the_page_names_no_other_commands():
    named = {" ".join(words) for row in commands() for words in row}
    # tests/slurm/test_after_a_failure_on_slurm.py types these.
    on_slurm = {words for words in named if words.startswith(("set ", "submit "))}
    assert {situation.command for situation in SITUATIONS.values()} == named - on_slurm
    assert len(on_slurm) == 2


def test_failed_experiments_of_a_run_that_fails_later_can_be_evaluated_with_the_corrected_study(cli):
    study = cli.workspace / "later.py"
    study.write_text(
        "from orchestrator import Pipeline, Step, datagenerator\n"
        "from tests.studies import store_numbers\n"
        '@datagenerator(output_names="y")\n'
        "def evaluate(x):\n"
        "    return 1 / x\n"
        "def last(project_dir):\n"
        "    raise ValueError('no licence')\n"
        'pipeline = Pipeline("later", [Step(store_numbers(3)), Step(evaluate), Step(last)])\n'
    )
    assert cli("run", "later.py", "--project-job", "r").code == 1
    retry = f"orchestrator retry r --update {study}"
    assert retry in cli("status", "r").out
    study.write_text(study.read_text().replace("1 / x", "x").replace("raise ValueError('no licence')", "pass"))
    cli(*retry.split()[1:])
    assert "succeeded" in cli("status", "r").out
