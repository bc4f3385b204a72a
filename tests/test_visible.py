"""Text of others on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machine.states import RunState
from orchestrator.visible import visible, visible_values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, é, 東京, 🙂", "plain text, é, 東京, 🙂"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("10 %\r20 %\b", r"10 %\r20 %\x08"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp\u202c\u2028", r"\u202egnp\u202c\u2028"),
        ("a\udc80b", r"a\udc80b"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_escapes_are_shown(text, shown):
    assert visible(text) == shown


@given(st.text())
def test_no_control_or_format_character_is_left(text):
    left = {unicodedata.category(character) for character in visible(text).replace("\n", "").replace("\t", "")}
    assert not left & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(visible(text)) == visible(text)


def test_every_text_of_a_view_is_shown():
    value = ({"a\x1b": ["\x07", 1, None]}, ("\r",), RunState.FAILED)
    shown = visible_values(value)
    assert shown == ({r"a\x1b": [r"\x07", 1, None]}, (r"\r",), RunState.FAILED)
    assert type(shown[2]) is RunState
