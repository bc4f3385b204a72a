"""Print errors. No other module does.

Exit codes are in `orchestrator.errors`; `orchestrator.cli.main` ends the process with them.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from typing import TextIO

import click

from orchestrator.errors import OrchestratorError
from orchestrator.visible import visible
from orchestrator.wrapping import with_command, wrapped

__all__ = ["REQUIRED_PACKAGES", "show", "show_bug", "show_missing", "show_system", "show_usage"]

REQUIRED_PACKAGES = frozenset(
    ("alembic", "cloudpickle", "filelock", "jinja2", "numpy", "orjson", "pandas", "rich", "scipy", "sqlalchemy", "yaml")
)
"""Packages that orchestrator needs; one of them is missing if it is not installed in this Python."""


def show(error: OrchestratorError, stream: TextIO | None = None, options: str = "", run: str = "") -> None:
    """Print what happened, and what to do next.

    Parameters
    ----------
    error : OrchestratorError
        The error to print.
    stream : text stream, optional
        Where to print; by default standard error.
    options : str, default ""
        The options that name the workspace, appended to each command in the hint, so that it can be typed as printed.
    run : str, default ""
        Key of the run that the command is about, in place of `RUN` in the hint.
    """
    stream = sys.stderr if stream is None else stream
    lines = wrapped("Error: ", visible(error.message))
    hints = error.hint.replace(" RUN", f" {shlex.quote(run)}") if run else error.hint
    for number, hint in enumerate(visible(hints).splitlines()):
        lines += with_command("" if number else "Next: ", hint, options)
    print("\n".join(lines), file=stream)


def show_usage(error: click.ClickException) -> None:
    """Print what is wrong with the command line, and how to show the right usage."""
    context = getattr(error, "ctx", None)
    page = context.command_path if context is not None else "orchestrator"
    show(OrchestratorError(error.format_message(), f"Show the usage: {page} --help"))


def show_system(error: OSError, options: str = "") -> None:
    """Print an error of the operating system that the user can fix."""
    about = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        show(
            OrchestratorError(
                f"{about}{error.strerror}: the disk is full, or the quota is used up. What was recorded is kept.",
                "Make room. To see which runs could be deleted: orchestrator clean --older-than 7d --dry-run\n"
                "Then type the command again; if a run has stopped: orchestrator resume",
            ),
            options=options,
        )
        return
    if (found := _in_the_way(error)) is not None:
        path, away = shlex.quote(found), shlex.quote(f"{found}.damaged")
        show(
            OrchestratorError(
                f"{found} can't be used: something else is in the place of a file or folder.",
                f"Move it away: mv {path} {away}\nThen type the command again.",
            ),
            options=options,
        )
        return
    show(
        OrchestratorError(f"{about}{error.strerror or error}.", "Fix that, then check the run: orchestrator status"),
        options=options,
    )


def _in_the_way(error: OSError) -> str | None:
    """Return the path of what is in the place of a file or folder, if the error says so."""
    if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return None
    if not isinstance(error.filename, str | bytes):  # it may be a descriptor
        return None
    path = os.fsdecode(error.filename)
    while not os.path.lexists(path) and os.path.dirname(path) != path:  # noqa: PTH120
        path = os.path.dirname(path)  # noqa: PTH120
    return path or None


def show_missing(error: ModuleNotFoundError) -> None:
    """Print that orchestrator is not installed in this Python."""
    show(
        OrchestratorError(
            f"orchestrator is not installed in {sys.executable}: the package {error.name} is missing.",
            "Use the Python in which it is installed. For jobs on a cluster, set "
            "SlurmCluster(runner=..., env_setup=[...])",
        )
    )


def show_bug(error: BaseException, options: str = "") -> None:
    """Print a traceback, and that the error is a bug of orchestrator."""
    import traceback

    print(visible("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    show(
        OrchestratorError(
            f"This is a bug in orchestrator: {what}",
            "Report it with the lines above. The records are kept. Show them: orchestrator status",
        ),
        options=options,
    )
