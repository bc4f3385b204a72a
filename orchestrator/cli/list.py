"""`orchestrator list`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from orchestrator.cli.render import clock, duration, shorten, table, to_json
from orchestrator.cli.workspace import database, options

__all__ = ["command"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options
def command(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """List the runs of the workspace, the latest first.

    \b
    Examples:
      orchestrator list
      orchestrator list --rootdir ~/studies --json
    """
    from orchestrator.db.queries import list_runs

    runs, now = list_runs(database(rootdir, db)), time.time()
    if as_json:
        click.echo(to_json(runs))
        return
    if not runs:
        click.echo("No runs yet. Start one: orchestrator run STUDY.py")
        return
    rows = [
        [
            run["key"],
            "stalled" if run["stalled"] else run["state"],
            shorten(run["name"], 20),
            clock(run["created_at"], now),
            duration((run["ended_at"] or now) - (run["started_at"] or run["created_at"])),
            str(run["n_finished"]),
            str(run["n_failed"]),
        ]
        for run in runs
    ]
    click.echo("\n".join(table(["RUN", "STATE", "NAME", "BEGAN", "TIME", "FINISHED", "FAILED"], rows, (4, 5, 6))))
