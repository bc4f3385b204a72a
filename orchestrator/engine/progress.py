"""What a user sees while a run goes on: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from orchestrator.machine.changes import Change
from orchestrator.machine.model import Run
from orchestrator.machine.summary import ends_a_step, progress_line, starts_a_batch

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Bars", "Lines", "Progress", "Silent", "progress_for"]


class Progress(Protocol):
    """Is told what happens."""

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Hear which changes were recorded."""

    def evaluated(self, n: int) -> None:
        """So many more experiments have a result."""

    def say(self, text: str) -> None:
        """Tell the user one line."""

    def close(self) -> None:
        """No more will come."""


class Silent:
    """Says nothing."""

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Ignore it."""

    def evaluated(self, n: int) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Plain lines: one when a step ends, none in between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Say what ended."""
        for change in changes:
            line = progress_line(run, change)
            if line:
                self.say(line)

    def evaluated(self, n: int) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


class Bars(Lines):
    """A bar for the batch that runs, above it the lines of what ended."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._bars: RichProgress | None = None
        self._task: TaskID | None = None

    def changed(self, run: Run, changes: Sequence[Change]) -> None:
        """Start a bar where a batch starts, end it where a step ends."""
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
        self._task = self._bars.add_task(name, total=total)
        self._bars.start()

    def evaluated(self, n: int) -> None:
        """Move the bar."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, n)

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            super().say(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def progress_for(stream: TextIO | None = None) -> Progress:
    """Choose bars for a terminal, lines for anything else."""
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Bars(stream) if is_terminal else Lines(stream)
