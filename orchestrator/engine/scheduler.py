"""The protocol of a scheduler, which runs jobs: this machine, a SLURM cluster, or a fake in tests.

One contract suite (`tests/contracts`) tests every implementation.
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
    """Runs jobs, and reports what became of them.

    Attributes
    ----------
    limits : Limits
        How many tasks it accepts.
    grace : float
        Seconds between two answers without a job after which it counts as gone.
    is_local : bool
        Whether jobs run in this process, which then has the libraries for tables loaded in any case.
    has_tail : bool
        Whether the last task of a job advances the run itself.
    """

    limits: Limits
    grace: float
    is_local: bool
    has_tail: bool

    def submit(self, job: JobFile) -> Answer:
        """Submit a job whose file is written."""

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        """Return by token what is known of these jobs, from one query.

        Raises
        ------
        SchedulerUnreachable
            If there was no answer. Nothing follows from that.
        """

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel these jobs; for a job that has ended this does nothing."""


class WakingScheduler(Scheduler, Protocol):
    """A scheduler whose orchestrator jobs wake a run, so that no process has to wait for it."""

    def environment(self) -> Mapping[str, str] | None:
        """Return the environment that the run was submitted in, if it is known."""

    def submit_orchestrator(self, token: str, after: str) -> Answer:
        """Submit an orchestrator job that starts after the end of the job with the id `after`."""

    def set_dependency(self, scheduler_id: str, after: str) -> bool:
        """Make a waiting orchestrator job start after the end of another job.

        Returns
        -------
        bool
            False if it no longer waits.
        """

    def cancel_waiting(self, job: Job) -> None:
        """Cancel the tasks of a job that still wait; those that run continue."""

    def hold(self, job: Job, *, is_held: bool) -> None:
        """Let what of a job still waits not start, or release it; what runs continues."""

    def cancel_ids(self, ids: Sequence[str]) -> None:
        """Cancel the jobs with these ids of the scheduler."""
