"""`orchestrator cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.workspace import database, examples, key_of, options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator cancel", "orchestrator cancel 1795531215"))
@click.argument("run", required=False)
@options
def command(run: str | None, rootdir: Path | None, db: Path | None) -> None:
    """Stop a run, wherever it is advanced. What was evaluated is kept; resume goes on after all.

    RUN is the latest run where it is left out.
    """
    from orchestrator.engine.commands import cancel

    path = database(rootdir, db)
    click.echo(cancel(path, key_of(path, run)))
