"""No decision depends on a text: the machine, the engine and the records compare members of enums.

A sentence for users can be reworded, and nothing else changes with it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "orchestrator"
DECIDE = ("machine", "engine", "db", "handoff", "worker")

ALLOWED = {
    "python": "the runner's default",
    "dumb": "of the variable TERM",
    "None": "squeue's word for no reason",
    "persist": "of SQLite",
    "ok": "of SQLite",
    "ZX": "states of a process, from the kernel",
    "pipeline": "the name that a study gives",
    ".py": "the ending of a file",
    "read": "how a database is opened: a Literal, which mypy checks",
    "write": "the same",
    "upgrade": "the same",
    "run": "the name of a table",
    "<frozen ": "files of Python's own import system and commands",
    "bdb": "the module of Python's debugger",
    "EOF when reading a line": "Python's words in input(), which has no exception of its own",
    "/getpass.py": "a file of Python",
    "/libgomp": "the file of a library",
    "biufc": "kinds of numbers in NumPy",
    "{project_job}": "the place of the run's key in a folder of logs",
    **dict.fromkeys(["type", "message", "rows"], "names of values in a receipt"),
    **dict.fromkeys(["job", "serve", "freeze", "compare", "collect", "fold"], "what a worker is called with"),
}
"""Words of other programs or of the user, and names of ours that are in no text for users."""


def compared_words(path: Path) -> Iterator[tuple[int, str]]:
    """Find the words that are compared, matched, or searched at the start or end of a text."""
    for node in ast.walk(ast.parse(path.read_text())):
        found: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            # `"key" in mapping` asks for a name, not for a state.
            is_key = isinstance(node.ops[0], ast.In | ast.NotIn) and _is_name(node.left)
            found = node.comparators if is_key else [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            found = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found = node.args if node.func.attr in ("startswith", "endswith") else []
        for expression in found:
            for part in (
                ast.walk(expression) if isinstance(expression, ast.Tuple | ast.List | ast.Set) else [expression]
            ):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and _is_word(part.value):
                    yield part.lineno, part.value


def _is_name(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Constant) and str(expression.value).isidentifier()


def _is_word(text: str) -> bool:
    return sum(letter.isalpha() for letter in text) > 1


def decisions_by_words() -> list[str]:
    files = [file for folder in DECIDE for file in sorted((PACKAGE / folder).rglob("*.py"))]
    return [
        f"{file.relative_to(PACKAGE)}:{line} {word!r}"
        for file in files
        for line, word in compared_words(file)
        if word not in ALLOWED
    ]


def test_no_text_decides():
    assert decisions_by_words() == []


@pytest.mark.parametrize(
    "code",
    [
        'job.reason == "the scheduler does not list it"',
        'job.reason.startswith("retried after: ")',
        'kind in ("batch", "call")',
        '"retried after" in job.reason',
        'match what:\n    case "task failed":\n        pass',
    ],
)
def test_the_search_finds_a_text_that_decides(tmp_path, code):
    file = tmp_path / "module.py"
    file.write_text(code)
    assert list(compared_words(file))


def test_the_engine_asks_the_machine_what_a_state_means():
    """It imports no state, so that it holds no `if` about one."""
    imported = {
        (str(file.relative_to(PACKAGE)), alias.name)
        for file in sorted((PACKAGE / "engine").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "orchestrator.machine.states"
        for alias in node.names
    }
    assert {name for _, name in imported} <= {"FailureKind", "RunState"}, imported
    assert {file for file, name in imported if name == "RunState"} <= {"engine/perform.py"}, imported
