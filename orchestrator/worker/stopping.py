"""Whether a batch stops, because too many of its experiments have failed, or the first ones in the same way.

`orchestrator.machine.too_many` has computed the numbers, which are in the job file. The tasks of a job array know of
each other by the files of `orchestrator.handoff.counts`; there is nothing to list while all goes well. Which failures
are the same is decided by `cause_of` in `orchestrator.failure_groups`.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import time
from contextlib import suppress

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.errors import Busy
from orchestrator.handoff.counts import Counts, read_counts, together, write_counts
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.receipt import receipts_of
from orchestrator.workspace import JobFolder

__all__ = ["Others", "must_stop", "stop_if_needed"]

POLL = 2.0
"""Seconds between two checks whether another task has stopped the batch."""


def must_stop(job: JobFile, counts: Counts) -> bool:
    """Whether the batch of a job stops after these experiments."""
    if job.stop_after is not None and counts.n_failed >= job.stop_after:
        return True
    n_first = job.stop_if_first_fail
    if n_first is None or counts.n_finished or counts.n_failed < n_first:
        return False
    return bool(counts.cause)


def stop_if_needed(job: JobFile, own: Counts, others: "Others | None") -> bool:
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
        self._written: Counts | None = None
        self._look_at = time.monotonic()
        self.is_first_to_stop = False

    def with_others(self, own: Counts) -> Counts:
        """Tell the others the counts of this task, and return those of all tasks of the array."""
        if own.n_failed and own != self._written:
            write_counts(self._folder, self._task, self._restart, own)
            self._written = own
        counts: dict[int, Counts] = {}
        n_well = 0
        with suppress(Busy):
            counts = read_counts(self._folder)
            # A task that has ended, and has no such file, has only finished experiments.
            n_well = len(receipts_of(self._folder).keys() - counts.keys() - {self._task})
        others = [of_task for task, of_task in counts.items() if task != self._task]
        return together([Counts(n_finished=n_well), own, *others])

    def stop(self) -> None:
        """Make the other tasks stop."""
        self.is_first_to_stop = True
        write_atomically(self._folder.stop, b"", PRIVATE)

    def have_stopped(self, *, now: bool = False) -> bool:
        """Whether another task has stopped the batch; looked up every two seconds, or now."""
        if not now and time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + POLL
        return self._folder.stop.exists()
