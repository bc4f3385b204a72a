"""Make the output of each experiment of a task known by its row: in its log lines, and in the parts of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.outputs import OutputWriter
from orchestrator.worker.capture import log_position
from orchestrator.worker.log_lines import log_lines, within_experiment
from orchestrator.workspace import RunFolder

__all__ = ["Output", "recorded_output"]

Output = Callable[[Sequence[int]], AbstractContextManager[None]]
"""Called with rows, it returns the context in which these experiments are evaluated."""


@contextmanager
def recorded_output(folder: RunFolder, job: JobFile, task: int) -> Iterator[Output]:
    """Show log lines during a task, and record which part of its log each experiment has printed."""
    path = folder.job(job.token).output(task)
    with log_lines(job.log_level), log_position() as position, closing(OutputWriter(path, position)) as writer:
        yield partial(_output_of, writer)


@contextmanager
def _output_of(writer: OutputWriter, rows: Sequence[int]) -> Iterator[None]:
    with writer.part(rows), within_experiment(rows[0] if len(rows) == 1 else None):
        yield
