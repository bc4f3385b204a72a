"""`orchestrator cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.workspace import examples, key_of, options, workspace_of

__all__ = ["command"]


@click.command(epilog=examples("orchestrator cancel", "orchestrator cancel 1795531215"))
@click.argument("run", required=False)
@options
def command(run: str | None, rootdir: Path | None, db: Path | None) -> None:
    """Stop a run, wherever it is advanced. What was evaluated is kept; resume goes on after all.

    RUN is the latest run where it is left out.
    """
    from orchestrator.engine.commands import cancel

    workspace = workspace_of(rootdir, db)
    click.echo(cancel(workspace, key_of(workspace, run)))
