"""`orchestrator list`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from orchestrator.cli.render import clock, duration, echo, shorten, state_of, table, to_json
from orchestrator.cli.workspace import examples, typed_options, workspace_of, workspace_options
from orchestrator.visible import visible_values

__all__ = ["command"]


@click.command(epilog=examples("orchestrator list", "orchestrator list --rootdir ~/studies --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@workspace_options
def command(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """List the runs of the workspace, latest first."""
    from orchestrator.db.status import list_runs
    from orchestrator.engine.live import live_run

    workspace, now = workspace_of(rootdir, db), time.time()
    runs = [live_run(workspace, run, step_run, now) for run, step_run in list_runs(workspace.database, now)]
    if as_json:
        echo(to_json(runs))
        return
    if not runs:
        echo(f"No runs yet. Start one: orchestrator run STUDY.py{typed_options()}")
        return
    rows = [
        [
            run.key,
            state_of(run),
            shorten(run.name, 40) + (f" (fork of {run.forked_from})" if run.forked_from else ""),
            clock(run.started_at or run.created_at, now),
            duration(run.seconds),
            str(run.n_finished),
            str(run.n_failed),
        ]
        for run in visible_values(runs)
    ]
    header = ["RUN", "STATE", "NAME", "STARTED", "TIME", "FINISHED", "FAILED"]
    click.echo("\n".join(table(header, rows, right=(4, 5, 6), flexible=2)))
