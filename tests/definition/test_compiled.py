"""The compiled code of a study, which is kept with its text."""

from __future__ import annotations

import pytest

from orchestrator.definition.compiled import compiled, read_compiled

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


def test_damaged_code_is_not_used():
    content = compiled(TEXT, ORIGIN)
    for position in range(0, len(content), 7):
        damaged = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        assert read_compiled(damaged, TEXT, ORIGIN) is None
        assert read_compiled(content[:position], TEXT, ORIGIN) is None


def test_a_text_that_can_not_be_compiled_has_no_code():
    assert compiled("x =", ORIGIN) == b""
    assert read_compiled(b"", "x =", ORIGIN) is None


def test_warnings_of_the_compiler_are_not_shown_again(recwarn):
    assert compiled("x = 1 is 1\n", ORIGIN)
    assert not recwarn
