"""What the engine asks of whatever runs jobs: this machine, a cluster, a fake.

One contract suite (`tests/contracts`) holds for every implementation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.handoff.jobfile import JobFile
from orchestrator.machine.answers import Answer
from orchestrator.machine.batches import Limits
from orchestrator.machine.facts import JobFact
from orchestrator.machine.model import Job

__all__ = ["Scheduler", "WakingScheduler"]


class Scheduler(Protocol):
    """Runs jobs, and says what became of them.

    Attributes
    ----------
    limits : Limits
    grace : float
        Seconds between two answers without a job before it counts as gone.
    is_local : bool
        Whether jobs run in this process, which has the libraries for the table loaded anyway.
    has_tail : bool
        Whether the last task of a job advances the run itself.
    """

    limits: Limits
    grace: float
    is_local: bool
    has_tail: bool

    def submit(self, job: JobFile) -> Answer:
        """Hand over a job whose file is written."""

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        """Say what is known of these jobs, by token, in one query.

        Raises
        ------
        SchedulerUnreachable
            If there was no answer. Nothing may be concluded from that.
        """

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End these jobs. Asking again for an ended one does nothing."""


class WakingScheduler(Scheduler, Protocol):
    """One on which orchestrator jobs wake a run that nobody waits for."""

    def submit_orchestrator(self, token: str, after: str) -> Answer:
        """Hand over an orchestrator job that starts after the end of a job."""

    def set_dependency(self, scheduler_id: str, after: str) -> bool:
        """Let a waiting orchestrator job start after the end of another job.

        Returns
        -------
        bool
            False: it waits no more.
        """

    def cancel_ids(self, ids: Sequence[str]) -> None:
        """End submissions that are known by the scheduler's ids only."""
