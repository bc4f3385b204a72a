"""Wrap sentences to the width of the terminal, but keep a command on one line, so that it can be copied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from orchestrator.host import terminal_width

__all__ = ["above_command", "options_of_commands", "screen_lines", "with_command", "wrapped"]

WIDEST = 100
"""Longer lines are hard to read."""

# A command at the end of a line. With a sentence after it, it is part of the text.
_PROGRAMS = "orchestrator|python|pip|mv|rm|cp|ln|ls|cd|chmod|kill|export|module|squeue|scontrol"
_COMMAND = re.compile(rf"(?P<text>.*: )(?P<command>(?P<program>{_PROGRAMS}) (?:(?!\. ).)*)", re.DOTALL)

_NAMES_A_WORKSPACE = re.compile(r" --(rootdir|db) ")


_options = ContextVar("options", default="")


@contextmanager
def options_of_commands(options: str) -> Iterator[None]:
    """Let each command that is printed in the block end with these options, which name the workspace."""
    token = _options.set(options)
    try:
        yield
    finally:
        _options.reset(token)


def screen_lines(text: str, *, has_width: bool, hanging: str = "") -> list[str]:
    """Return the lines of sentences; each line of the text may end with a command.

    The command gets the options that name the workspace, so the text must not contain them. Without a width, as in a
    file or pipe, nothing is wrapped, because a program may search for a sentence. `hanging` begins the further lines of
    a sentence.
    """
    options = _options.get()
    if not has_width:
        return [_with_options(line, options) for line in text.splitlines()]
    return [line for each in text.splitlines() for line in with_command("", each, options, hanging)]


def with_command(label: str, text: str, options: str = "", hanging: str = "") -> list[str]:
    """Return the lines of a text that may end with a command.

    Parameters
    ----------
    label : str
        Begin of the first line.
    text : str
        The text.
    options : str, default ""
        Appended to a command of `orchestrator`.
    hanging : str, default ""
        Begin of the further lines of the text.
    """
    match = _COMMAND.fullmatch(text)
    if match is None:
        return wrapped(label, text, hanging)
    command = _with_options(text, options)[match.start("command") :]
    return above_command(match["text"], command, label, hanging)


def above_command(text: str, command: str, label: str = "", hanging: str = "") -> list[str]:
    """Return the lines of a text and a command after it, which gets a line of its own if they do not fit into one."""
    if len(label + text + command) <= _width():
        return [f"{label}{text}{command}"]
    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    return [*wrapped(label, text.rstrip(), hanging), f"{indent}{command}"]


def _with_options(text: str, options: str) -> str:
    match = _COMMAND.fullmatch(text)
    if match is None or match["program"] != "orchestrator" or _NAMES_A_WORKSPACE.search(match["command"]):
        return text
    return text + options


def wrapped(label: str, text: str, hanging: str = "") -> list[str]:
    """Return the lines of a text; an indented paragraph, or an item of a list, stays indented."""
    import textwrap

    lines: list[str] = []
    for number, paragraph in enumerate(text.splitlines()):
        indent = re.match(r" *(- )?", paragraph)
        lines += textwrap.wrap(
            paragraph,
            _width(),
            initial_indent=label if number == 0 else "",
            subsequent_indent=hanging + " " * len(indent[0] if indent else ""),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return lines


def _width() -> int:
    return min(terminal_width(80), WIDEST)
