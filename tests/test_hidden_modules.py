"""A file of the user that hides a module of Python is named, whichever module imports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.hidden_modules import hidden_module

STUDY = """
from orchestrator import Pipeline, Step
{line}
def first(project_dir):
    pass
pipeline = Pipeline("hidden", [Step(first)])
"""

# `random` and `smtplib` are not imported before the study is. Nothing in the first study uses its random.py.
LINES = {
    "random": ["", "import random; random.Random()", "from random import Random"],
    "smtplib": ["from smtplib import SMTP", "import smtplib.nothing"],
}


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    # PYTHONSAFEPATH: with `-m`, Python would put the folder first before the program begins.
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", "study.py"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in LINES.items() for line in lines])
@pytest.mark.parametrize("is_package", [False, True], ids=["file", "package"])
def test_the_file_and_the_command_that_renames_it_are_named(
    name: str, line: str, is_package: bool, tmp_path: Path
) -> None:
    hiding = tmp_path / (name if is_package else f"{name}.py")
    file = hiding / "__init__.py" if is_package else hiding
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    (tmp_path / "study.py").write_text(STUDY.format(line=line))
    done = _run(tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"Error: {hiding.name} hides the module {name} of Python")
    assert f"mv {hiding.name} my_{hiding.name}\n" in done.stderr
    assert "Traceback" not in done.stderr
    hiding.rename(tmp_path / f"my_{hiding.name}")
    assert "hides" not in _run(tmp_path).stderr


def test_a_file_that_exists_is_not_replaced_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "my_random.py").touch()
    error = hidden_module(ImportError("no Random", name="random", path=str(tmp_path / "random.py")))
    assert error is not None
    assert f"mv {tmp_path / 'random.py'} {tmp_path / 'my_my_random.py'}" in error.hint


def test_the_cause_of_an_error_is_looked_at(tmp_path: Path) -> None:
    error = ValueError("a library failed")
    error.__cause__ = ImportError("no Random", name="random", path=str(tmp_path / "random.py"))
    assert hidden_module(error) is not None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("nothing is missing"),
        ImportError("without a name"),
        ImportError("no package of the user", name="mine", path="/home/me/mine.py"),
        ImportError("a module of Python itself", name="json", path=os.__file__.replace("os.py", "json/__init__.py")),
        ImportError("another file in place of a module", name="distutils", path="/home/me/_distutils/__init__.py"),
        AttributeError("of an object", name="x", obj=object()),
        AttributeError("of a module of Python itself", name="x", obj=os),
    ],
    ids=str,
)
def test_other_errors_have_another_cause(error: BaseException) -> None:
    assert hidden_module(error) is None
