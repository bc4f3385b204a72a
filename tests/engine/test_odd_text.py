"""Studies whose results, errors and places are not text as the program would like it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import Pipeline, Step
from orchestrator.cli.status import render
from orchestrator.db.status import run_status
from orchestrator.errors import DefinitionError, RunFailed
from tests.worker.test_receipt_writer import ODD

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
import threading
import numpy as np
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator
from tests.worker.test_receipt_writer import ODD
class Mine(BaseException):
    pass
def values():
    loop = []
    loop.append(loop)
    return {
        "generator": (i for i in range(3)),
        "lock": threading.Lock(),
        "loop": loop,
        "long integer": 7**6000,
        "masked": np.ma.array([1], mask=[1]),
        "structure": np.zeros(1, dtype=[("a", int)]),
        "object": np.array([object()], dtype=object),
        "odd name": {"y": 1},
        "fine": b"\\xe9".decode("utf-8", "surrogateescape"),
        "fine nul": "\\0",
        "fine empty": np.bytes_(b""),
        "fine long": "x" * 1_000_000,
    }
CASES = [*values(), *(f"raises {name}" for name in ODD), "raises mine"]
def create(project_dir):
    domain = Domain()
    domain.add_category("case", CASES)
    ExperimentData(domain, [{"case": case} for case in CASES]).store(project_dir)
@datagenerator(output_names="y")
def evaluate(case):
    if case == "raises mine":
        raise Mine("caf\\udce9")
    if case.startswith("raises"):
        raise ODD[case.removeprefix("raises ")]
    return values()[case]
def make(parallel):
    return Pipeline("odd", [Step(create), Step(evaluate, name="evaluate", parallel=parallel)])
parallel, here = make(True), make(False)
"""

SMALL = """
from orchestrator import Pipeline, Step
from tests.studies import square, store_numbers
pipeline = Pipeline("small", [Step(store_numbers(3), name="create"), Step(square, name="evaluate", parallel=True)])
"""


def orchestrator(*args: str | bytes, **more) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}
    command = [sys.executable, "-m", "orchestrator", *args]
    return subprocess.run(command, env=env, capture_output=True, check=False, **more)


@pytest.mark.acceptance
@pytest.mark.parametrize("how", ["parallel", "here"])
def test_an_odd_result_or_error_fails_only_its_experiment(workspace, table, how):
    Path("study.py").write_text(STUDY)
    done = orchestrator("run", f"study.py:{how}", "--project-job", "k", "--jobs", "1")
    assert done.returncode == 3, done.stderr  # some experiments failed, within the limits
    data = table("k")
    finished = {
        inputs["case"]
        for position, status in enumerate(data.statuses())
        for inputs in [data.input_rows()(position)]
        if status.name == "FINISHED"
    }
    assert finished == {"fine", "fine nul", "fine empty", "fine long", "odd name"}
    for command in (["status", "k"], ["status", "k", "--json"], ["logs", "k", "evaluate"], ["list"], ["resume", "k"]):
        shown = orchestrator(*command)
        assert shown.returncode == (3 if "resume" in command else 0), shown.stderr
        assert len(shown.stdout) < 500_000
    assert b"can't be stored in the table" in orchestrator("logs", "k", "evaluate").stdout


@pytest.mark.parametrize("case", ODD)
def test_an_odd_error_fails_only_its_step(workspace, case):
    def fails(project_dir):
        raise ODD[case]

    with pytest.raises(RunFailed) as raised:
        Pipeline(steps=[Step(fails)]).run(project_job="k")
    assert raised.value.__cause__ is ODD[case]
    assert len(str(raised.value)) < 3000
    shown = render(run_status(workspace / "orchestrator.db", "k"), 0.0)
    assert shown.startswith("Run k: failed\n  step fails failed: ")


@pytest.mark.acceptance
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["", "C"])
def test_a_workspace_and_a_study_whose_names_are_not_utf8_are_used_like_any_other(workspace, locale):
    folder, study = Path(os.fsdecode(b"caf\xe9 x")), b"st\xfcdy.py"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    (folder / os.fsdecode(study)).write_text(SMALL)
    for command in (
        ["run", study, "--project-job", "k"],
        ["status"],
        ["status", "--json"],
        ["list"],
        ["logs", "evaluate"],
        ["resume", "k", "--from-step", "evaluate"],
        ["resume", "k", "--from-step", "evaluate", "--update", study],
        ["db", "check"],
    ):
        done = orchestrator(*command, cwd=folder, env=locale)
        assert done.returncode == 0, done.stderr
    done = orchestrator("status", "--rootdir", bytes(folder), env=locale)
    assert b"caf\\udce9 x/st\\udcfcdy.py" in done.stdout


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "command", [["status", b"a\xe9"], ["logs", "k", b"a\xe9"], ["cancel", b"a\xe9"], ["resume", b"a\xe9"], [b"a\xe9"]]
)
def test_an_argument_that_is_not_utf8_is_an_error_of_the_user(workspace, command):
    Path("study.py").write_text(SMALL)
    assert orchestrator("run", "study.py", "--project-job", "k").returncode == 0
    done = orchestrator(*command)
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: ")
    assert b"bug" not in done.stderr


@pytest.mark.acceptance
def test_a_current_folder_that_was_removed_is_an_error_of_the_user(workspace):
    Path("study.py").write_text(SMALL)
    gone = workspace / "gone"
    command = (
        f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {sys.executable} -m orchestrator run {workspace}/study.py"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: The current folder has been removed.\nNext: Change to a folder that exists: cd FOLDER\n",
    )


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii:strict", "größe → ∞".encode()), ("latin-1:strict", b"gr\xf6\xdfe \\u2192 \\u221e")],
    ids=["ascii", "latin-1"],
)
def test_every_text_is_printed_on_a_terminal_of_another_encoding(workspace, encoding, shown):
    Path("study.py").write_text(SMALL.replace('"small"', '"größe → ∞"'), encoding="utf-8")
    env = {"PYTHONIOENCODING": encoding, b"ODD": b"\xe9"}
    for command in (["run", "study.py", "--project-job", "k"], ["status"], ["list"]):
        done = orchestrator(*command, env=env)
        assert done.returncode == 0, done.stderr
    # click takes ASCII for a UTF-8 terminal without its locale.
    assert shown in done.stdout


def test_a_root_folder_with_nul_is_refused():
    with pytest.raises(DefinitionError, match="Use a path without NUL"):
        Pipeline(steps=[Step(print)]).run(rootdir="a\0b")


@pytest.mark.acceptance
def test_a_run_ends_as_usual_if_warnings_are_errors_and_every_encoding_must_be_given(workspace):
    Path("study.py").write_text(SMALL)
    env = {"PYTHONWARNINGS": "error", "PYTHONWARNDEFAULTENCODING": "1"}
    for command in (["run", "study.py", "--project-job", "k"], ["status"], ["logs", "evaluate"], ["list"]):
        done = orchestrator(*command, env=env)
        assert done.returncode == 0, done.stderr


@pytest.mark.acceptance
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_run_ends_as_usual_if_standard_streams_are_closed(workspace, closed):
    Path("study.py").write_text(SMALL)
    run = [sys.executable, "-m", "orchestrator", "run", "study.py", "--project-job", "k"]
    shell = "exec " + '"$@" ' + " ".join(f"{number}>&-" for number in closed)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", shell, "sh", *run], env=env, check=False)
    assert done.returncode == 0
    status = json.loads(orchestrator("status", "k", "--json").stdout)
    assert status["run"]["state"] == "succeeded"
    assert orchestrator("db", "check").returncode == 0
