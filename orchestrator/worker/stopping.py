"""Whether a batch stops, because too many of its experiments have failed, or the first ones in the same way.

`orchestrator.machine.too_many` has computed the numbers, which are in the job file. The tasks of a job array know of
each other by the files of `orchestrator.handoff.counts`; there is nothing to list while all goes well.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.errors import Busy
from orchestrator.handoff.counts import TaskCounts, read_counts, write_counts
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.receipt import receipts_of
from orchestrator.sha256 import sha256_of
from orchestrator.workspace import JobFolder

__all__ = ["Others", "Tally", "counts_of", "must_stop", "stop_if_needed", "together"]

LOOK_EVERY = 2.0
"""Seconds between two looks whether another task has stopped the batch."""


class Tally(NamedTuple):
    """Numbers of experiments that finished and failed, and the different causes of the failures."""

    n_finished: int = 0
    n_failed: int = 0
    causes: frozenset[str] = frozenset()


def together(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    found = list(tallies)
    causes = frozenset[str]().union(*(tally.causes for tally in found))
    return Tally(sum(tally.n_finished for tally in found), sum(tally.n_failed for tally in found), causes)


def must_stop(job: JobFile, tally: Tally) -> bool:
    """Whether the batch of a job stops after these experiments."""
    if job.stop_after is not None and tally.n_failed >= job.stop_after:
        return True
    n_first = job.stop_if_first_fail
    if n_first is None or tally.n_finished or tally.n_failed < n_first:
        return False
    return len(tally.causes) == 1 and "" not in tally.causes


def stop_if_needed(job: JobFile, own: Tally, others: "Others | None") -> bool:
    """Whether the batch of a job stops after the experiments of this task; then make its other tasks stop, too."""
    if not must_stop(job, own if others is None else others.with_others(own)):
        return False
    if others is not None:
        others.stop()
    return True


class Others:
    """The other tasks of a job array, as far as they have failed experiments.

    Parameters
    ----------
    folder : JobFolder
        The job's folder.
    task, restart : int
        Which task this process evaluates.

    Attributes
    ----------
    is_first_to_stop : bool
        Whether this task has stopped the others.
    """

    def __init__(self, folder: JobFolder, task: int, restart: int) -> None:
        self._folder = folder
        self._task, self._restart = task, restart
        self._written: Tally | None = None
        self._look_at = time.monotonic()
        self.is_first_to_stop = False

    def with_others(self, own: Tally) -> Tally:
        """Tell the others the tally of this task, and return that of all tasks of the array."""
        if own.n_failed and own != self._written:
            write_counts(self._folder, self._task, self._restart, counts_of(own))
            self._written = own
        counts: dict[int, TaskCounts] = {}
        n_well = 0
        with suppress(Busy):
            counts = read_counts(self._folder)
            # A task that has ended, and has no such file, has only finished experiments.
            n_well = len(receipts_of(self._folder).keys() - counts.keys() - {self._task})
        others = [_tally_of(of_task) for task, of_task in counts.items() if task != self._task]
        return together([Tally(n_finished=n_well), _tally_of(counts_of(own)), *others])

    def stop(self) -> None:
        """Make the other tasks stop."""
        self.is_first_to_stop = True
        write_atomically(self._folder.stop, b"", PRIVATE)

    def have_stopped(self, *, now: bool = False) -> bool:
        """Whether another task has stopped the batch; looked up every two seconds, or now."""
        if not now and time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_EVERY
        return self._folder.stop.exists()


def counts_of(tally: Tally) -> TaskCounts:
    """Return a tally as a file of counts has it."""
    # Several causes in one task are as good as an unknown one: the batch continues.
    cause = next(iter(tally.causes)) if len(tally.causes) == 1 else ""
    return TaskCounts(tally.n_finished, tally.n_failed, sha256_of(cause.encode())[:12] if cause else "")


def _tally_of(counts: TaskCounts) -> Tally:
    return Tally(counts.n_finished, counts.n_failed, frozenset([counts.cause] if counts.n_failed else []))
