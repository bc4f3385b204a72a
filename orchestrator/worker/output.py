"""Make the output of each experiment of a task known by its row: in its log lines, and in the parts of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.outputs import OutputWriter
from orchestrator.worker.capture import log_position
from orchestrator.worker.log_lines import log_lines, name_experiment
from orchestrator.workspace import RunFolder

__all__ = ["Output", "recorded_output"]

Output = Callable[[Sequence[int]], AbstractContextManager[None]]
"""Called with rows, it returns the context in which these experiments are evaluated."""


@contextmanager
def recorded_output(folder: RunFolder, job: JobFile, task: int) -> Iterator[Output]:
    """Show log lines during a task, and record which part of its log each experiment has printed."""
    path = folder.job(job.token).output(task)
    with log_lines(job.log_level), log_position() as position, closing(OutputWriter(path, position)) as writer:
        yield partial(_OutputOf, writer)


class _OutputOf(AbstractContextManager[None]):
    """The context of experiments. A class: a generator would take longer, and there is one for each experiment."""

    def __init__(self, writer: OutputWriter, rows: Sequence[int]) -> None:
        self._writer = writer
        self._rows = rows

    def __enter__(self) -> None:
        self._writer.begin(self._rows)
        name_experiment(self._rows[0] if len(self._rows) == 1 else None)

    def __exit__(self, *raised: object) -> None:
        name_experiment(None)
        self._writer.end()
