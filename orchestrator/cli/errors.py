"""The one place that prints errors."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import traceback
from typing import TextIO

import click

from orchestrator.errors import OrchestratorError

__all__ = ["NEEDED", "show", "show_bug", "show_missing", "show_system", "show_usage"]

NEEDED = {"alembic", "cloudpickle", "filelock", "jinja2", "numpy", "pandas", "rich", "scipy", "sqlalchemy"}
"""Packages without which an orchestrator that is found on some path does not work."""

# A command ends its line; where a sentence follows it, it is only quoted.
_COMMAND = re.compile(r"(?P<text>.*: )(?P<command>(?P<program>orchestrator|python|pip) (?:(?!\. ).)*)", re.DOTALL)


def show(error: OrchestratorError, stream: TextIO | None = None, place: str = "") -> None:
    """Print what happened, and what to do next.

    Parameters
    ----------
    error : OrchestratorError
    stream : text stream, optional
        By default standard error.
    place : str, default ""
        The options that named the workspace, for the commands in the hint: typed as they are shown, they must find it.
    """
    stream = sys.stderr if stream is None else stream
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    lines = _wrapped("Error: ", error.message, width)
    for number, hint in enumerate(error.hint.splitlines()):
        lines += _hint("" if number else "Next: ", hint, width, place)
    print("\n".join(lines), file=stream)


def show_usage(error: click.ClickException) -> None:
    """Print what was typed wrongly, and which help page tells more."""
    context = getattr(error, "ctx", None)
    page = context.command_path if context is not None else "orchestrator"
    show(OrchestratorError(error.format_message(), f"See how it is typed: {page} --help"))


def show_system(error: OSError, place: str = "") -> None:
    """Print what the system refused."""
    about = f"{error.filename}: " if error.filename else ""
    show(
        OrchestratorError(
            f"{about}{error.strerror or error}.", "Mend that, then see where the run stands: orchestrator status"
        ),
        place=place,
    )


def show_missing(error: ModuleNotFoundError) -> None:
    """Print that this Python is not one in which orchestrator is installed."""
    show(
        OrchestratorError(
            f"{sys.executable} has no package {error.name}, which orchestrator needs: "
            "it is not installed in this Python.",
            "Run the Python in which it is. Jobs of a cluster do with SlurmCluster(runner=..., env_setup=[...])",
        )
    )


def show_bug(error: BaseException, place: str = "") -> None:
    """Print a traceback, and that it is not the user's fault."""
    traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    show(
        OrchestratorError(
            f"This is a bug in orchestrator: {what}",
            "Report it, with the lines above. What was recorded is kept; see it: orchestrator status",
        ),
        place=place,
    )


def _hint(label: str, hint: str, width: int, place: str) -> list[str]:
    """Keep a command in one piece, so that it can be copied."""
    match = _COMMAND.fullmatch(hint)
    if match is None:
        return _wrapped(label, hint, width)
    command = match["command"] + (place if match["program"] == "orchestrator" else "")
    if len(label + match["text"] + command) <= width:
        return [f"{label}{match['text']}{command}"]
    return [*_wrapped(label, match["text"].rstrip(), width), f"  {command}"]


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
