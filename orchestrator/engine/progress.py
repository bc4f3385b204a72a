"""What a user sees while a run is advanced: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from orchestrator.machine.changes import Change
from orchestrator.machine.model import Run
from orchestrator.machine.summary import ends_a_step, progress_line, starts_a_batch
from orchestrator.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Bars", "Lines", "Progress", "Silent", "progress_for"]


class Progress(Protocol):
    """Shows the user what happens."""

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Show changes that were recorded."""

    def evaluated(self, n: int) -> None:
        """Show that `n` more experiments have a result."""

    def say(self, text: str) -> None:
        """Show one line."""

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

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Prints plain lines: one when a step ends, none in between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Print a line for each step that ended."""
        for change in changes:
            line = progress_line(run, change)
            if line:
                self.say(line)

    def evaluated(self, n: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Print a line, if that is possible: the run continues also if its terminal is gone."""
        line = visible(text)
        with suppress(OSError):
            try:
                print(line, file=self._stream, flush=True)
            except UnicodeEncodeError:
                print(line.encode("ascii", "backslashreplace").decode(), file=self._stream, flush=True)

    def close(self) -> None:
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
        )
        self._task = self._bars.add_task(visible(name), total=total)
        self._bars.start()

    def evaluated(self, n: int) -> None:
        """Advance the bar."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, n)

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bars is not None:
            self._bars.console.print(visible(text), markup=False, highlight=False)
        else:
            super().say(text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def progress_for(stream: TextIO | None = None) -> Progress:
    """Return bars for a terminal, plain lines for any other stream."""
    stream = sys.stderr if stream is None else stream
    # A program may have replaced sys.stderr by an object that can only be written to.
    is_terminal = hasattr(stream, "isatty") and stream.isatty() and os.environ.get("TERM") != "dumb"
    return Bars(stream) if is_terminal else Lines(stream)
