"""`orchestrator hold`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import say
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator hold", "orchestrator hold 1795531215"))
@click.argument("run", required=False)
@change_options
@workspace_options
def command(run: str | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Hold a run: no step and no job is started until `release`.

    What runs continues to its end, and its results are recorded. On a cluster, jobs and tasks that wait in the queue
    are held there. RUN defaults to the latest run.
    """
    from orchestrator.engine import steer

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    nothing = steer.nothing_to_hold(workspace, key)
    lines = steer.about_hold(workspace, key)
    if goes_ahead([nothing] if nothing and dry_run else lines, dry_run=dry_run, yes=yes, asks=False):
        say(steer.hold(workspace, key))
