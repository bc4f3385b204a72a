"""`orchestrator wait`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.outcome import ExitCode, commands_after_failures, next_command, text_and_code
from orchestrator.cli.render import is_foreign_run, say
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options
from orchestrator.errors import SchedulerUnreachable
from orchestrator.machine.kinds import Mode
from orchestrator.machine.states import RunState
from orchestrator.trust import name_of_user

if TYPE_CHECKING:
    from orchestrator.db.views import RunView
    from orchestrator.workspace import Workspace

__all__ = ["Waiting", "command"]

POLL_SECONDS = 1.0
"""Seconds between two reads of the records."""

SLURM_POLL_SECONDS = 60.0
"""Seconds between two queries to SLURM."""


class _Seconds(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a number of seconds, 0 or more. An hour is --timeout 3600", param, ctx)


@click.command(
    epilog=examples(
        "orchestrator wait",
        "orchestrator wait 1795531215 --timeout 3600 && python report.py",
        "orchestrator wait 1795531215 --drive",
    )
)
@click.argument("run", required=False)
@click.option(
    "--timeout", type=_Seconds(min=0), metavar="SECONDS", help="Stop waiting after this time. [default: never]"
)
@click.option(
    "--drive", is_flag=True, help="Also advance the run, from this login node: for clusters whose nodes may not submit."
)
@change_options
@workspace_options
def command(
    run: str | None,
    timeout: float | None,
    drive: bool,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Wait until a run has ended; the exit code tells how.

    RUN defaults to the latest run. On a cluster, SLURM is asked once a minute whether the run is stalled. With --drive,
    this process submits the jobs of the run; Ctrl-C ends only this process.

    \b
    Exit codes:
      0    the run succeeded
      1    it failed
      3    it ended with failed experiments or steps, within the limits or
           accepted
      4    it was cancelled
      75   it is stalled or held: it will not continue by itself
      124  the timeout is over
    """
    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    end = None if timeout is None else time.monotonic() + timeout
    if drive:
        from orchestrator.engine import commands
        from orchestrator.engine.preview import about_drive

        if not goes_ahead(about_drive(workspace, key), dry_run=dry_run, yes=yes, asks=False):
            return
        commands.drive(workspace, key, timeout)
    elif dry_run:
        goes_ahead([f"Waits until run {key} has ended, and changes nothing."], dry_run=True, yes=yes, asks=False)
        return
    waiting = Waiting(workspace, key)
    while (view := waiting.poll()) is None:
        if end is not None and time.monotonic() >= end:
            say(f"Run {key} has not ended after {timeout:g} s.", err=True)
            raise click.exceptions.Exit(ExitCode.TIMED_OUT)
        time.sleep(POLL_SECONDS if end is None else min(POLL_SECONDS, max(0.0, end - time.monotonic())))
    waiting.end(view)


class Waiting:
    """Asks repeatedly whether a run has ended, or will not continue by itself.

    Parameters
    ----------
    workspace : Workspace
        Where the run is.
    key : str
        The run's key.
    """

    def __init__(self, workspace: Workspace, key: str) -> None:
        self._path, self._key = workspace.database, key
        self._queue = _Queue(self._path, key)
        self._looked_stalled = False

    def poll(self) -> RunView | None:
        """Return the run if it has ended, or is stalled; None while it continues."""
        from orchestrator.db.runs import find_run

        view = find_run(self._path, self._key)
        looked_stalled_before, self._looked_stalled = self._looked_stalled, bool(view.stalled)
        if view.state is not RunState.ACTIVE:
            return view
        if view.stalled:
            # Between two processes that advance it, a run looks stalled for a moment.
            return view if looked_stalled_before else None
        if view.mode is Mode.SLURM and not is_foreign_run(view):
            view = view._replace(stalled=self._queue.why_stalled())
        return view if view.stalled else None

    def end(self, view: RunView) -> NoReturn:
        """Say how the run ended and what to type, and end the command with its exit code."""
        key = self._key
        text, code = text_and_code(view)
        is_stalled, is_own = code is ExitCode.STALLED, not is_foreign_run(view)
        refresh = " --refresh" if is_stalled and view.mode is Mode.SLURM and is_own else ""
        text += f"\nShow its status: orchestrator status {key}{refresh}"
        if is_own:
            text += "".join(f"\n{about}{command}" for about, command in commands_after_failures(view))
        if is_stalled:
            if not is_own:
                text += f"\nIt belongs to {name_of_user(view.uid)}."
            elif self._queue.never_began:
                text += "\nIts jobs ended before they began their work."
            about, command_to_type = next_command(view, never_began=self._queue.never_began)
            text += f"\n{about}{command_to_type}"
        say(text, err=code != 0)
        raise click.exceptions.Exit(code)


class _Queue:
    """Asks SLURM from time to time whether a run is stalled: the records do not show a job that died."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._asked_at = time.monotonic()
        self._reason: str | None = None
        self.never_began = False

    def why_stalled(self) -> str | None:
        """Return why the run is stalled, if two answers in a row say that it is."""
        if time.monotonic() - self._asked_at < SLURM_POLL_SECONDS:
            return None
        before, self._reason = self._reason, self._ask()
        self._asked_at = time.monotonic()
        return before and self._reason

    def _ask(self) -> str | None:
        from orchestrator.db.status import run_status
        from orchestrator.engine.cluster.queue_report import ask_slurm

        now = time.time()
        try:
            report = ask_slurm(self._path, run_status(self._path, self._key, now), now)
        except SchedulerUnreachable:
            return None
        self.never_began = any(job.never_began for job in report.jobs)
        return report.stalled
