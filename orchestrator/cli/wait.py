"""`orchestrator wait`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.workspace import examples, key_of, options, place, workspace_of
from orchestrator.errors import SchedulerUnreachable

if TYPE_CHECKING:
    from orchestrator.db.views import RunView
from orchestrator.machine.kinds import Mode
from orchestrator.machine.states import RunState

__all__ = ["command"]

LOOK_EVERY = 1.0

ASK_EVERY = 60.0
"""Seconds between two questions to SLURM."""

FLAWED, CANCELLED, TIMED_OUT, STALLED = 3, 4, 124, 75


@click.command(epilog=examples("orchestrator wait", "orchestrator wait 1795531215 --timeout 3600 && python report.py"))
@click.argument("run", required=False)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this. [default: never]")
@options
def command(run: str | None, timeout: float | None, rootdir: Path | None, db: Path | None) -> None:
    """Wait until a run has ended; the exit code says how.

    0: it succeeded. 3: it failed, or finished with failed experiments or steps. 4: it was cancelled. 124: the time is
    up. 75: it is stalled, and will not end by itself; SLURM is asked for that once a minute. RUN is the latest run
    where it is left out.
    """
    from orchestrator.db.runs import find_run

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    end = None if timeout is None else time.monotonic() + timeout
    queue, looked_stalled = _Queue(workspace.database, key), False
    while True:
        found = find_run(workspace.database, key)
        # Between two processes that advance it, a run looks stalled for a moment.
        looked_stalled, is_stalled = bool(found.stalled), looked_stalled and bool(found.stalled)
        if found.state is RunState.ACTIVE and found.mode is Mode.SLURM and not looked_stalled:
            found = found._replace(stalled=queue.why_stalled())
            is_stalled = bool(found.stalled)
        if found.state is not RunState.ACTIVE or is_stalled:
            break
        if end is not None and time.monotonic() >= end:
            click.echo(f"Run {key} has not ended after {timeout:g} s.", err=True)
            raise click.exceptions.Exit(TIMED_OUT)
        time.sleep(LOOK_EVERY if end is None else min(LOOK_EVERY, max(0.0, end - time.monotonic())))
    text, code = _outcome(key, found)
    refresh = " --refresh" if code == STALLED and found.mode is Mode.SLURM else ""
    text += f"\nWhat happened in it: orchestrator status {key}{refresh}{place()}"
    if code == STALLED:
        text += f"\nTo go on: orchestrator resume {key}{place()}"
    click.echo(text, err=code != 0)
    raise click.exceptions.Exit(code)


class _Queue:
    """Asks SLURM now and then whether anybody is left to go on: jobs may die without a word in the records."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        # squeue lists one's own jobs.
        self._is_own = path.stat().st_uid == os.getuid()
        self._asked = time.monotonic()
        self._why: str | None = None

    def why_stalled(self) -> str | None:
        """Give the reason why nobody is, once two answers in a row say so."""
        if not self._is_own or time.monotonic() - self._asked < ASK_EVERY:
            return None
        before, self._why = self._why, self._answer()
        self._asked = time.monotonic()
        return before and self._why

    def _answer(self) -> str | None:
        from orchestrator.db.status import run_status
        from orchestrator.engine.cluster.queue_report import ask_slurm

        now = time.time()
        try:
            return ask_slurm(self._path, run_status(self._path, self._key, now), now).stalled
        except SchedulerUnreachable:
            return None


def _outcome(key: str, found: RunView) -> tuple[str, int]:
    state, why = found.state, f": {found.reason}" if found.reason else ""
    if state is RunState.ACTIVE:
        return f"Run {key} is stalled: {found.stalled}.", STALLED
    if state is RunState.CANCELLED:
        return f"Run {key} was cancelled.", CANCELLED
    if state is RunState.FAILED:
        return f"Run {key} has failed{why}.", FLAWED
    if found.n_failed:
        return f"Run {key} has finished; {found.n_failed} experiments failed.", FLAWED
    if found.n_failed_step_runs:
        return f"Run {key} has finished{why}.", FLAWED
    return f"Run {key} has succeeded.", 0
