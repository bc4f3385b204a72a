"""The commands that the page "After a failure" names, for the tests that type them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "howto" / "after-a-failure.md"


def commands() -> list[tuple[tuple[str, ...], ...]]:
    """Return the words after `orchestrator` of each command, for each row of the first table."""
    table = PAGE.read_text(encoding="utf-8").partition("| type |")[2].partition("\n\n")[0]
    rows = [line.rpartition(" | ")[2] for line in table.splitlines()[2:]]
    return [tuple(tuple(shlex.split(typed)) for typed in re.findall(r"`orchestrator ([^`]+)`", row)) for row in rows]
