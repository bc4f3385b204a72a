"""How long a step run only waited in the queue of the cluster. Pure.

The time in which no process has driven a run on this machine is counted in `orchestrator.db.leases`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["queue_seconds"]


class _Job(Protocol):
    """The times of a job, in epoch seconds; None if it has not come to that."""

    @property
    def queued_at(self) -> float | None: ...

    @property
    def started_at(self) -> float | None: ...

    @property
    def ended_at(self) -> float | None: ...


def queue_seconds(jobs: Iterable[_Job], until: float) -> float:
    """Return the time in which at least one job of a step run was in the queue and none ran.

    A job is in the queue from `queued_at` to `started_at`, and runs from then to `ended_at`. A job that has not started
    is in the queue to its end. The times in the queue are united, and so are the times in which a job ran; what is
    counted is the first union without the second. The order of the jobs does not matter.

    Parameters
    ----------
    jobs : iterable
        The jobs of the step run.
    until : float
        End of the time that is counted for jobs that have not ended, in epoch seconds.
    """
    changes = list[tuple[float, int, int]]()  # when, how many more jobs wait, how many more run
    for job in jobs:
        ended = until if job.ended_at is None else job.ended_at
        begun = ended if job.started_at is None else job.started_at
        queued = begun if job.queued_at is None else job.queued_at
        # The clock of a node may be behind: then an interval is empty.
        if queued < begun:
            changes += [(queued, 1, 0), (begun, -1, 0)]
        if begun < ended:
            changes += [(begun, 0, 1), (ended, 0, -1)]
    waited, since, n_waiting, n_running = 0.0, 0.0, 0, 0
    for at, more_wait, more_run in sorted(changes):
        if n_waiting and not n_running:
            waited += at - since
        since, n_waiting, n_running = at, n_waiting + more_wait, n_running + more_run
    return waited
