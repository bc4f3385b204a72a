"""Sentences at the width of a terminal."""

from __future__ import annotations

import pytest

from orchestrator.wrapping import with_command

LONG = f"/home/user/{'long/' * 12}file"


@pytest.mark.parametrize("command", [f"mv {LONG} {LONG}.old", f"rm -r {LONG}", f"orchestrator resume {LONG}"])
def test_a_command_stays_on_one_line(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = with_command("Next: ", f"If it is in the place of yours, move it away: {command}")
    assert lines == ["Next: If it is in the place of yours, move it away:", f"  {command}"]


def test_a_command_with_a_sentence_after_it_is_wrapped_with_the_sentence(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = with_command("", f"Remove it: rm file. {'Then type the command again. ' * 4}")
    assert max(map(len, lines)) <= 80
