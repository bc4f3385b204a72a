"""Say what a command will do before it does it; on a terminal, ask first if it can't be undone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from orchestrator.cli.render import echo, say
from orchestrator.host import is_terminal

__all__ = ["asker", "change_options", "goes_ahead"]


def change_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that changes something."""
    yes = click.option("--yes", "-y", is_flag=True, help="Do not ask. Without a terminal nothing is asked in any case.")
    dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
    return dry_run(yes(function))


def asker(*, dry_run: bool, yes: bool) -> Callable[..., bool]:
    """Return `goes_ahead` for a command that may create a run, which is not announced if the console is quiet."""
    from orchestrator.engine.progress import Console, console_now

    def agrees(lines: Sequence[str], *, is_new: bool, asks: bool, otherwise: Sequence[str] = ()) -> bool:
        is_quiet = is_new and console_now() is Console.NOTHING
        shown = (lines or otherwise) if dry_run else [] if is_quiet else lines
        return goes_ahead(shown, dry_run=dry_run, yes=yes, asks=asks)

    return agrees


def goes_ahead(lines: Sequence[str], *, dry_run: bool, yes: bool, asks: bool) -> bool:
    """Say what will be done, and return whether to do it.

    Parameters
    ----------
    lines : sequence of str
        What will be done.
    dry_run, yes : bool
        The options.
    asks : bool
        Whether the user is asked on a terminal: work that was done is done again, or ends.
    """
    for line in lines:
        say(line, err=not dry_run)
    if dry_run:
        if not lines:
            echo("There is nothing to do.")
        echo("Nothing was changed (--dry-run).")
        return False
    if not asks or yes or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return True
    if click.confirm("Continue?", err=True):
        return True
    echo("Nothing was changed.", err=True)
    return False
