"""`orchestrator advance`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import say
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator advance 1795531215"))
@click.argument("run", required=False)
@click.option("--job", hidden=True, metavar="TOKEN", help="The orchestrator job that this process is.")
@click.option("--patience", hidden=True, type=float, default=0.0, help="Seconds for which it polls.")
@change_options
@workspace_options
def command(
    run: str | None,
    job: str | None,
    patience: float,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Advance a run as far as possible now. Safe to call at any time.

    RUN defaults to the latest run.
    """
    from orchestrator.engine.commands import advance, check_free
    from orchestrator.engine.preview import about_advance

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    # An orchestrator job does not read the records first: they may be locked.
    if job is None:
        check_free(workspace, key, dry_run=dry_run)
        if not goes_ahead(about_advance(workspace, key), dry_run=dry_run, yes=yes, asks=False):
            return
    say(advance(workspace, key, job=job, patience=patience))
