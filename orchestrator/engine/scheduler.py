"""What the engine asks of whatever runs jobs: this machine, a cluster, a fake.

One contract suite (`tests/contracts`) holds for every implementation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.handoff.jobfile import JobFile
from orchestrator.machine.batches import Limits
from orchestrator.machine.facts import JobFact
from orchestrator.machine.model import Job

__all__ = ["Accepted", "Refused", "RefusedForNow", "Scheduler"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job is the scheduler's now. `started_at` where it is known to run already."""

    scheduler_id: str
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class RefusedForNow:
    """A refusal that passes: a submit limit, a busy controller."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal that will not pass, in the scheduler's words."""

    reason: str


class Scheduler(Protocol):
    """Runs jobs, and says what became of them.

    Attributes
    ----------
    limits : Limits
    grace : float
        Seconds between two answers without a job before it counts as gone.
    """

    limits: Limits
    grace: float

    def submit(self, job: JobFile) -> Accepted | RefusedForNow | Refused:
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
