"""What a user sees while a run is advanced: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TextIO

from orchestrator.host import drop_output, is_screen, is_terminal
from orchestrator.machine.changes import Change
from orchestrator.machine.headlines import ends_a_step, progress_line, starts_a_batch
from orchestrator.machine.model import Run
from orchestrator.visible import visible
from orchestrator.wrapping import screen_lines, wrapped

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = [
    "Bars",
    "Console",
    "Errors",
    "Lines",
    "Progress",
    "Silent",
    "console",
    "console_now",
    "progress_for",
    "standard_error",
]

LINE_SECONDS = 10.0
"""Seconds between two lines about the same step, without a terminal."""


class Console(StrEnum):
    """What the console of a run on this machine shows."""

    NOTHING = "nothing"
    """Errors, and why the run has to wait."""
    PROGRESS = "progress"
    """Also which step runs, and how far it is. What steps print goes only to their logs."""
    OUTPUT = "output"
    """Also what the steps print that run in this process."""


_console = ContextVar("console", default=Console.PROGRESS)


def console_now() -> Console:
    """Return what the console shows."""
    return _console.get()


@contextmanager
def console(shows: Console) -> Iterator[None]:
    """Let the console show this in the block."""
    token = _console.set(shows)
    try:
        yield
    finally:
        _console.reset(token)


@contextmanager
def standard_error() -> Iterator[TextIO]:
    """Yield a stream to where errors go now, also while descriptor 2 is that of a log."""
    stream = sys.stderr
    try:
        own = os.dup(2) if stream.fileno() == 2 else None
    except (AttributeError, OSError, ValueError):  # it was replaced, or is closed
        own = None
    if own is None:
        yield stream
        return
    with _Console(os.fdopen(own, "wb"), stream.encoding, "backslashreplace", line_buffering=True) as file:
        yield file


class _Console(io.TextIOWrapper):
    """A stream that drops what is printed after its terminal was closed, because the run may continue."""

    def write(self, text: str) -> int:
        """Write a text if that is possible."""
        try:
            return super().write(text)
        except OSError:
            drop_output(self)
            return len(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        try:
            super().flush()
        except OSError:
            drop_output(self)


class Progress(Protocol):
    """Shows the user what happens."""

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Show changes that were recorded."""

    def evaluated(self, n: int) -> None:
        """Show that `n` more experiments have a result."""

    def say(self, text: str) -> None:
        """Show one line."""

    def end(self, text: str) -> None:
        """Show how it ended."""

    def close(self) -> None:
        """Remove what is only shown during a run."""


class Silent:
    """Shows nothing."""

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Do nothing."""

    def evaluated(self, n: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def end(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Prints plain lines: one when a step ends, and sometimes one in between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._step, self._n_done, self._n_all = "", 0, 0
        self._printed_at = 0.0

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Print a line for each step that ended."""
        if any(map(starts_a_batch, changes)) and run.step_run is not None:
            self._step = run.plan.slot(run.step_run.position).address
            self._n_done, self._n_all = 0, run.step_run.n_experiments or 0
            self._printed_at = time.monotonic()
        for change in changes:
            line = progress_line(run, change)
            if line:
                self._show(line, has_command=False)

    def evaluated(self, n: int) -> None:
        """Print how many experiments have a result, if the last line was printed some time ago."""
        self._n_done += n
        if time.monotonic() - self._printed_at >= LINE_SECONDS:
            self._printed_at = time.monotonic()
            self.say(f"{self._step}: {self._n_done} of {self._n_all} experiments")

    def end(self, text: str) -> None:
        """Print how it ended."""
        self.say(text)

    def say(self, text: str) -> None:
        """Print sentences, if that is possible: the run continues also if its terminal is gone."""
        self._show(text)

    def _show(self, text: str, *, has_command: bool = True) -> None:
        # In a file, each sentence is one line, as in other logs, also if COLUMNS is set.
        self._print("\n".join(_lines(text, is_terminal(self._stream), has_command=has_command)))

    def _print(self, line: str) -> None:
        with suppress(OSError):
            try:
                print(line, file=self._stream, flush=True)
            except UnicodeEncodeError:
                print(line.encode("ascii", "backslashreplace").decode(), file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


class Errors(Lines):
    """Prints only why a run has to wait."""

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Do nothing."""

    def evaluated(self, n: int) -> None:
        """Do nothing."""

    def end(self, text: str) -> None:
        """Do nothing."""


class Bars(Lines):
    """Draws a bar for the running batch, below the lines of the steps that ended."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._bars: RichProgress | None = None
        self._task: TaskID | None = None

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Print a line for each step that ended, and show a bar while a batch runs."""
        if any(map(ends_a_step, changes)):
            self.close()
        super().changed(run, changes)
        if any(map(starts_a_batch, changes)) and run.step_run is not None and not run.step_run.has_ended:
            self._open(run.plan.slot(run.step_run.position).address, run.step_run.n_experiments or 0)

    def _open(self, name: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self.close()
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=self._stream),
            transient=True,
            # What a step prints goes to its log, and not above the bar.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bars.add_task(visible(name), total=total)
        self._bars.start()

    def evaluated(self, n: int) -> None:
        """Advance the bar."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, n)

    def _show(self, text: str, *, has_command: bool = True) -> None:
        """Print sentences, above the bar if there is one."""
        lines = "\n".join(_lines(text, wraps=True, hanging="  ", has_command=has_command))
        if self._bars is None:
            self._print(lines)
        else:
            self._bars.console.print(lines, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def progress_for(stream: TextIO | None = None) -> Progress:
    """Return bars for a terminal, plain lines for any other stream and beside the output of steps."""
    if console_now() is Console.NOTHING:
        return Errors(stream)
    stream = sys.stderr if stream is None else stream
    has_bars = is_screen(stream) and console_now() is Console.PROGRESS
    return Bars(stream) if has_bars else Lines(stream)


def _lines(text: str, wraps: bool, *, has_command: bool, hanging: str = "") -> list[str]:
    """Return the lines of sentences; without a command of ours, what looks like one is a message of the user's code."""
    if has_command:
        return screen_lines(visible(text), has_width=wraps, hanging=hanging)
    return wrapped("", visible(text), hanging) if wraps else visible(text).splitlines()
