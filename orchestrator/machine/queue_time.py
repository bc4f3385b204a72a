"""How long a step run only waited in the queue of the cluster. Pure."""

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

    Parameters
    ----------
    jobs : iterable
        The jobs of the step run.
    until : float
        End of the time that is counted for jobs that have not ended, in epoch seconds.
    """
    times = []
    for job in jobs:
        if job.queued_at is not None:
            ended = until if job.ended_at is None else job.ended_at
            begun = ended if job.started_at is None else job.started_at
            times.append((begun, ended, job.queued_at))
    waited, busy_until = 0.0, float("-inf")
    for begun, ended, queued in sorted(times):
        waited += max(0.0, begun - max(queued, busy_until))
        busy_until = max(busy_until, ended)
    return waited
