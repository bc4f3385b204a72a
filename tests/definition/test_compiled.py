"""The compiled code of a study, which is kept with its text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.definition.compiled import compiled, read_compiled
from tests.environments import ENVIRONMENT

TEXT, ORIGIN = "x = 1\nassert x\n", "/home/me/study.py"


def test_the_code_is_that_of_the_text():
    code = read_compiled(compiled(TEXT, ORIGIN), TEXT, ORIGIN)
    assert code == compile(TEXT, ORIGIN, "exec", dont_inherit=True)
    assert code.co_filename == ORIGIN


@pytest.mark.parametrize(("text", "origin"), [(f"{TEXT}#", ORIGIN), (TEXT, "/home/me/moved/study.py")])
def test_the_code_of_another_text_or_place_is_not_used(text, origin):
    assert read_compiled(compiled(TEXT, ORIGIN), text, origin) is None


def test_the_code_of_another_python_is_not_used(monkeypatch):
    content = compiled(TEXT, ORIGIN)
    monkeypatch.setattr("orchestrator.definition.compiled.MAGIC_NUMBER", b"next")
    assert read_compiled(content, TEXT, ORIGIN) is None


@pytest.mark.parametrize(
    "text",
    ["def f(a):\n    return [a, 'b', 'c d', b'e', 1.5, (2, None), lambda: 'b']\n", TEXT, "class A: x: int = 1\n"],
)
def test_the_same_text_has_the_same_bytes_in_each_process(text):
    program = f"from orchestrator.definition.compiled import compiled; print(compiled({text!r}, {ORIGIN!r}).hex())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**ENVIRONMENT, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{compiled(text, ORIGIN).hex()}\n".encode()}


@pytest.mark.parametrize("text", ["'a' in {'a', 'b'}\n", "def f(a):\n    return a in {'b', 'c'}\n"])
def test_code_whose_bytes_differ_between_processes_is_not_kept(text):
    assert compiled(text, ORIGIN) == b""


def test_a_text_that_can_not_be_compiled_has_no_code():
    assert compiled("x =", ORIGIN) == b""
    assert read_compiled(b"", "x =", ORIGIN) is None


def test_warnings_of_the_compiler_are_not_shown_again(recwarn):
    assert compiled("x = 1 is 1\n", ORIGIN)
    assert not recwarn
