"""The one place that prints errors."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import TextIO

from orchestrator.errors import OrchestratorError

__all__ = ["show"]

_COMMAND = re.compile(r"(?P<text>.*: )(?P<command>(?:orchestrator|python|pip) .*)", re.DOTALL)


def show(error: OrchestratorError, stream: TextIO | None = None) -> None:
    """Print what happened, and what to do next.

    Parameters
    ----------
    error : OrchestratorError
    stream : text stream, optional
        By default standard error.
    """
    stream = sys.stderr if stream is None else stream
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    lines = _wrapped("Error: ", error.message, width)
    for number, hint in enumerate(error.hint.splitlines()):
        lines += _hint("" if number else "Next: ", hint, width)
    print("\n".join(lines), file=stream)


def _hint(label: str, hint: str, width: int) -> list[str]:
    """Keep a command in one piece, so that it can be copied."""
    match = _COMMAND.fullmatch(hint)
    if match is None or len(f"{label}{hint}") <= width:
        return _wrapped(label, hint, width)
    return [*_wrapped(label, match["text"].rstrip(), width), f"  {match['command']}"]


def _wrapped(label: str, text: str, width: int) -> list[str]:
    lines: list[str] = []
    for number, paragraph in enumerate(text.splitlines()):
        indent = re.match(r"[ -]*", paragraph)
        hanging = " " * len(indent[0]) if indent else ""
        lines += textwrap.wrap(
            paragraph,
            width,
            initial_indent=label if number == 0 else "",
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return lines
