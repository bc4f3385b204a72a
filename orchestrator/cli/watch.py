"""`orchestrator status --watch`: the status until the run has ended, drawn again in a terminal, else as lines."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Protocol

import click

from orchestrator.cli.render import duration, echo, say, shorten
from orchestrator.cli.status import ask_briefly, is_queued, read_status, render, with_answer
from orchestrator.cli.wait import Waiting
from orchestrator.cli.workspace import typed_options
from orchestrator.host import is_screen
from orchestrator.visible import visible_values

if TYPE_CHECKING:
    from rich.live import Live

    from orchestrator.db.views import RunStatus, RunView
    from orchestrator.engine.cluster.queue_report import QueueReport
    from orchestrator.workspace import Workspace

__all__ = ["progress_line", "watch"]

POLL_SECONDS = 1.0
"""Seconds between two polls; ten times as long as a poll takes, if that is longer."""

SLURM_POLL_SECONDS = 15.0
"""Seconds between two queries to SLURM."""

LINE_SECONDS = 5.0
"""Seconds between two lines about the same step, without a terminal."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as that of a shell."""


class _View(Protocol):
    """Where a status is shown."""

    def show(self, status: RunStatus, report: QueueReport | None, now: float) -> None:
        """Show a status."""


def watch(workspace: Workspace, key: str) -> NoReturn:
    """Show the status of a run until it has ended, or will not continue; then end the command as `wait` does."""
    waiting = Waiting(workspace, key)
    try:
        with _view(key) as view:
            ended = _show_until_end(workspace, key, waiting, view)
    except KeyboardInterrupt:
        say(f"The run continues. Watch it again: orchestrator status {key} --watch", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    waiting.end(ended)


def _show_until_end(workspace: Workspace, key: str, waiting: Waiting, view: _View) -> RunView:
    report: QueueReport | None = None
    asked_at = -SLURM_POLL_SECONDS
    while True:
        ended = waiting.poll()
        began, now = time.monotonic(), time.time()
        status = read_status(workspace, key, now)
        if began - asked_at >= SLURM_POLL_SECONDS:
            report = ask_briefly(workspace.database, status, now)
            asked_at = time.monotonic()
        status, shown = visible_values((with_answer(status, report, now), report))
        view.show(status, shown, now)
        if ended is not None:
            return ended
        time.sleep(max(POLL_SECONDS, 10 * (time.monotonic() - began)))


@contextmanager
def _view(key: str) -> Iterator[_View]:
    if not is_screen(sys.stdout):
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a program in the background of a shell script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    screen = _Screen(Live(console=Console(), auto_refresh=False, transient=True, vertical_overflow="ellipsis"), key)
    try:
        with screen.live:
            yield screen
    finally:
        screen.leave()


class _Screen:
    """Draws the status again at the same place of a terminal; the last one stays."""

    def __init__(self, live: Live, key: str) -> None:
        self.live = live
        self._key = key
        self._last = ""

    def show(self, status: RunStatus, report: QueueReport | None, now: float) -> None:
        """Draw a status in place of the one before."""
        from rich.text import Text

        self._last = render(status, now, typed_options(), report)
        at = time.strftime("%H:%M:%S", time.localtime(now))
        self.live.update(Text.from_ansi(f"{self._last}\n\nat {at}; Ctrl-C leaves, the run continues"), refresh=True)

    def leave(self) -> None:
        """Print the last status."""
        if self._last:
            click.echo(self._last + "\n")


class _Lines:
    """Prints a line when something has changed: at once for another step, else every few seconds."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()
        self._printed_at = 0.0

    def show(self, status: RunStatus, report: QueueReport | None, now: float) -> None:
        """Print a line about a status, if it is another one than before."""
        step_run = status.now
        what: tuple[object, ...] = (status.run.state, None if step_run is None else step_run.address)
        counts = (status.run.n_finished, status.run.n_failed, status.run.n_running)
        is_due = what != self._last[:2] or time.monotonic() - self._printed_at >= LINE_SECONDS
        if is_due and (*what, counts) != self._last:
            self._last, self._printed_at = (*what, counts), time.monotonic()
            echo(progress_line(status, now))
            sys.stdout.flush()


def progress_line(status: RunStatus, now: float) -> str:
    """Return one line about a run: its time, what it does, and how far that is."""
    run, step_run = status.run, status.now
    begin = f"{time.strftime('%H:%M:%S', time.localtime(now))} {run.key}"
    if step_run is None:
        return f"{begin}: {run.state}"
    state = "in the queue" if is_queued(step_run, run.mode) else step_run.state
    line = f"{begin}: {shorten(step_run.address, 40)} {state}"
    if step_run.n_all is not None:
        n_done = step_run.n_finished + step_run.n_failed
        failed = f" ({step_run.n_failed} failed)" if step_run.n_failed else ""
        line += f", {n_done} of {step_run.n_all} experiments done{failed}, {step_run.n_running} running"
    if step_run.seconds_left is not None:
        line += f", about {duration(step_run.seconds_left)} left"
    return line
