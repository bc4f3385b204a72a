"""`orchestrator list`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.render import clock, duration, echo, plural, say, shorten, state_of, table, to_json
from orchestrator.cli.status import SECONDS_TO_ASK_BRIEFLY, is_silent
from orchestrator.cli.workspace import examples, typed_options, workspace_of, workspace_options
from orchestrator.errors import SchedulerUnreachable
from orchestrator.visible import visible_values

if TYPE_CHECKING:
    from orchestrator.db.status import ListedRun
    from orchestrator.db.views import RunView

__all__ = ["command"]


@click.command(epilog=examples("orchestrator list", "orchestrator list --rootdir ~/studies --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@workspace_options
def command(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """List the runs of the workspace, latest first.

    The list is read from the records and from the files of the tasks that run; nothing is written. If the records of
    active runs on SLURM have not changed for some seconds, SLURM is asked once whether their jobs are left.
    """
    from orchestrator.db.status import list_runs
    from orchestrator.engine.live import live_run

    workspace, now = workspace_of(rootdir, db), time.time()
    found, unanswered = _with_answer(list_runs(workspace.database, now), now)
    runs = [live_run(workspace, listed.run, listed.step_run, now) for listed in found]
    if unanswered:
        _say_unanswered(unanswered, now)
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


def _with_answer(found: Sequence[ListedRun], now: float) -> tuple[list[ListedRun], list[RunView]]:
    """Return the runs with what SLURM says about the silent ones, and those about which it does not answer."""
    silent = [listed for listed in found if is_silent(listed.run, now)]
    if not silent:
        return list(found), []
    from orchestrator.engine.cluster.queue_report import why_stalled_now

    try:
        stalled = why_stalled_now([listed.liveness for listed in silent], seconds=SECONDS_TO_ASK_BRIEFLY)
    except SchedulerUnreachable:
        return list(found), [listed.run for listed in silent]
    why = {listed.run.key: reason for listed, reason in zip(silent, stalled, strict=True)}
    with_it = (listed.run._replace(stalled=why.get(listed.run.key, listed.run.stalled)) for listed in found)
    return [listed._replace(run=run) for listed, run in zip(found, with_it, strict=True)], []


def _say_unanswered(runs: Sequence[RunView], now: float) -> None:
    first, n_more = runs[0], len(runs) - 1
    which = f"run {first.key}" + (f" and {plural(n_more, 'more run')}" if n_more else "")
    last = clock(min(run.last_event_at for run in runs), now)
    say(f"SLURM does not answer: the jobs of {which} may have ended since {last}.", err=True)
    say(f"To ask it again: orchestrator status {first.key} --refresh", err=True)
