"""`orchestrator cancel`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import say
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(
    epilog=examples("orchestrator cancel", "orchestrator cancel 1795531215", "orchestrator cancel --step evaluate")
)
@click.argument("run", required=False)
@click.option("--step", metavar="STEP[@ITER]", help="Cancel only this step, which is open now.")
@change_options
@workspace_options
def command(run: str | None, step: str | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Cancel a run, wherever it runs, or a step of it. Results are kept; `resume` continues it.

    After its step was cancelled, the run continues if the next step has dependency="afterany". Otherwise it ends. RUN
    defaults to the latest run.
    """
    from orchestrator.engine.commands import cancel
    from orchestrator.engine.preview import about_cancel

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    if step is not None:
        from orchestrator.engine import steer

        if goes_ahead(steer.about_cancel_step(workspace, key, step), dry_run=dry_run, yes=yes, asks=True):
            say(steer.cancel_step(workspace, key, step))
        return
    lines = about_cancel(workspace, key)
    shown = lines if lines or not dry_run else [f"Nothing to do: run {key} has ended."]
    if goes_ahead(shown, dry_run=dry_run, yes=yes, asks=bool(lines)):
        say(cancel(workspace, key))
