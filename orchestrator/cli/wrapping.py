"""Wrap sentences to the width of the terminal, but keep a command on one line, so that it can be copied."""

from __future__ import annotations

import re

from orchestrator.cli.render import echo
from orchestrator.host import terminal_width

__all__ = ["say", "with_command", "wrapped"]

WIDEST = 100
"""Longer lines are hard to read."""

# A command at the end of a line. With a sentence after it, it is part of the text.
_COMMAND = re.compile(r"(?P<text>.*: )(?P<command>(?P<program>orchestrator|python|pip) (?:(?!\. ).)*)", re.DOTALL)


def say(text: str, *, err: bool = False) -> None:
    """Print sentences, wrapped in a terminal; each line of the text may end with a command.

    The command gets the options that name the workspace, so the text must not contain them.
    """
    from orchestrator.cli.workspace import typed_options

    in_terminal = terminal_width(0) > 0  # or COLUMNS is set; elsewhere a program may search for a sentence
    for line in text.splitlines():
        options = typed_options()
        echo("\n".join(with_command("", line, options)) if in_terminal else _with_options(line, options), err=err)


def with_command(label: str, text: str, options: str = "") -> list[str]:
    """Return the lines of a text that may end with a command.

    Parameters
    ----------
    label : str
        Begin of the first line.
    text : str
        The text.
    options : str, default ""
        Appended to a command of `orchestrator`.
    """
    match = _COMMAND.fullmatch(text)
    if match is None:
        return wrapped(label, text)
    command = _with_options(text, options)[match.start("command") :]
    if len(label + match["text"] + command) <= _width():
        return [f"{label}{match['text']}{command}"]
    return [*wrapped(label, match["text"].rstrip()), f"  {command}"]


def _with_options(text: str, options: str) -> str:
    match = _COMMAND.fullmatch(text)
    return text + options if match is not None and match["program"] == "orchestrator" else text


def wrapped(label: str, text: str) -> list[str]:
    """Return the lines of a text; an indented paragraph, or an item of a list, stays indented."""
    import textwrap

    lines: list[str] = []
    for number, paragraph in enumerate(text.splitlines()):
        indent = re.match(r" *(- )?", paragraph)
        hanging = " " * len(indent[0]) if indent else ""
        lines += textwrap.wrap(
            paragraph,
            _width(),
            initial_indent=label if number == 0 else "",
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return lines


def _width() -> int:
    return min(terminal_width(80), WIDEST)
