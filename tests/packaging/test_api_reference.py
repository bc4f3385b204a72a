"""The reference of the Python interface agrees with the docstrings, and their examples work."""

from __future__ import annotations

import doctest
import importlib.machinery
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "api-reference"
PAGE = ROOT / "docs" / "reference" / "api.md"
EXAMPLES = [
    found
    for name in orchestrator.__all__
    for found in doctest.DocTestFinder().find(
        getattr(orchestrator, name),
        name,
        globs={public: getattr(orchestrator, public) for public in orchestrator.__all__},
    )
    if found.examples
]


@pytest.fixture(scope="module")
def script():
    loader = importlib.machinery.SourceFileLoader("api_reference", str(SCRIPT))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader("api_reference", loader))
    loader.exec_module(loaded)
    return loaded


def api_reference(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_the_page_says_what_the_docstrings_say():
    done = api_reference("--check", PAGE)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_found_and_replaced(tmp_path):
    page = tmp_path / "api.md"
    page.write_text(PAGE.read_text().replace("Steps that are repeated.", "Steps."))
    stale = api_reference("--check", page)
    assert (stale.returncode, f"scripts/api-reference --write {page}" in stale.stderr) == (1, True)
    assert api_reference("--write", page).returncode == 0
    assert page.read_text() == PAGE.read_text()


def without_docstring(x): ...


def without_entry(x: int, y: int) -> None:
    """Add.

    Parameters
    ----------
    x : int
        The first.
    """


def without_text(x: int) -> None:
    """Add.

    Parameters
    ----------
    x : int

    Raises
    ------
    ValueError
    """


def without_returns(x: int) -> int:
    """Add.

    Parameters
    ----------
    x, z : int
        The first.
    """


def whole(*numbers: int, **options: int) -> int:
    """Return the sum.

    Parameters
    ----------
    *numbers : int
        The numbers.
    **options : int
        Not used.
    """


@pytest.mark.parametrize(
    ("function", "problems"),
    [
        (without_docstring, ["f has no docstring"]),
        (without_entry, ["f: the parameter y is not described"]),
        (without_text, ["f: 'x : int' in Parameters has no text", "f: 'ValueError' in Raises has no text"]),
        (without_returns, ["f: there is no parameter z", "f: what it returns is not described"]),
        (whole, []),
    ],
)
def test_a_missing_part_of_a_docstring_is_an_error(script, function, problems):
    assert list(script.problems(script.Documented("f", function))) == problems


@pytest.mark.parametrize(
    "example",
    [
        # A pipeline that runs starts processes.
        pytest.param(found, id=found.name, marks=[pytest.mark.acceptance] if found.name == "Pipeline" else [])
        for found in EXAMPLES
    ],
)
def test_the_examples_work(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.DocTestRunner(verbose=False).run(example)
    assert failed == 0, capsys.readouterr().out


def test_every_class_and_function_has_an_example():
    named = {example.name for example in EXAMPLES}
    without = {name for name in orchestrator.__all__ if name not in named}
    assert without == {"LoopBlock", "OrchestratorError"}
    assert all(inspect.getdoc(getattr(orchestrator, name)) for name in without)
