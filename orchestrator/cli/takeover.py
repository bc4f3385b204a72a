"""`orchestrator takeover`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import say
from orchestrator.cli.workspace import examples, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator takeover 1795531215", "orchestrator takeover 1795531215 --force"))
@click.argument("run")
@click.option("--force", is_flag=True, help="Count its jobs as ended, also those that have not ended as recorded.")
@change_options
@workspace_options
def command(run: str, force: bool, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Make a run of another user yours.

    Only the owner of a run can change it. This is for a run that its owner will not continue, in a workspace of a group
    or in a copy that you have made. You get copies of its table and logs. Its code and environment are those of the
    owner and stay private: continue the run with a study of your own.
    """
    from orchestrator.engine.takeover import about_takeover, take_over

    workspace = workspace_of(rootdir, db)
    lines = about_takeover(workspace, run, force=force)
    if goes_ahead(lines, dry_run=dry_run, yes=yes, asks=bool(lines)):
        say(take_over(workspace, run, force=force))
