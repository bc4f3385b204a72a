"""`orchestrator cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.render import echo
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator cancel", "orchestrator cancel 1795531215"))
@click.argument("run", required=False)
@workspace_options
def command(run: str | None, rootdir: Path | None, db: Path | None) -> None:
    """Cancel a run, wherever it runs. Results are kept; `resume` continues it.

    RUN defaults to the latest run.
    """
    from orchestrator.engine.commands import cancel

    workspace = workspace_of(rootdir, db)
    echo(cancel(workspace, key_of(workspace, run)))
