"""`orchestrator release`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.console import console_options, jobs_option
from orchestrator.cli.outcome import exit_if_ended
from orchestrator.cli.render import say
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator release", "orchestrator release 1795531215"))
@click.argument("run", required=False)
@jobs_option
@console_options
@change_options
@workspace_options
def command(run: str | None, jobs: int | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Release a run that was held: it continues.

    A run on this machine continues in this process. RUN defaults to the latest run.
    """
    from orchestrator.engine import steer

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    lines = steer.about_release(workspace, key)
    shown = lines if lines or not dry_run else [f"Nothing to do: run {key} is not held."]
    if not goes_ahead(shown, dry_run=dry_run, yes=yes, asks=False):
        return
    result = steer.release(workspace, key, jobs=jobs)
    if result is not None:
        say(result)
    if lines:
        exit_if_ended(workspace, key)
