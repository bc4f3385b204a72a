"""`orchestrator cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import echo
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator cancel", "orchestrator cancel 1795531215"))
@click.argument("run", required=False)
@change_options
@workspace_options
def command(run: str | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Cancel a run, wherever it runs. Results are kept; `resume` continues it.

    RUN defaults to the latest run.
    """
    from orchestrator.engine.commands import about_cancel, cancel

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    lines = about_cancel(workspace, key)
    shown = lines if lines or not dry_run else [f"Nothing to do: run {key} has ended."]
    if goes_ahead(shown, dry_run=dry_run, yes=yes, asks=bool(lines)):
        echo(cancel(workspace, key))
