"""The options of a run on this machine: how many processes evaluate, and what the console shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.render import echo
from orchestrator.cli.workspace import typed_options

if TYPE_CHECKING:
    from orchestrator.workspace import Workspace

__all__ = ["console_options", "echo_run", "jobs_option"]

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of experiments evaluated at the same time on this machine. [default: one per usable CPU]",
)


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--quiet` and `--verbose`, and let the console show what they say."""

    @wraps(function)
    def with_console(*arguments: Any, quiet: bool, verbose: bool, **more: Any) -> Any:
        from orchestrator.engine.progress import Console, console

        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose exclude each other.")
        with console(Console.NOTHING if quiet else Console.OUTPUT if verbose else Console.PROGRESS):
            return function(*arguments, **more)

    is_quiet = click.option("--quiet", "-q", is_flag=True, help="Show no progress, only errors.")
    is_verbose = click.option(
        "--verbose", "-v", is_flag=True, help="Also print what steps print that run in this process."
    )
    return is_quiet(is_verbose(with_console))


def echo_run(workspace: Workspace, key: str) -> None:
    """Print the folder of a run, and how to show its status."""
    from orchestrator.engine.progress import Console, console_now

    echo(str(workspace.root / key))
    if console_now() is not Console.NOTHING:
        echo(f"Show its status: orchestrator status {key}{typed_options()}")
