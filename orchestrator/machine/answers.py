"""The answers of a scheduler to a submission, as values. `orchestrator.slurm.messages` makes them of SLURM's text."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.machine.value import value

__all__ = ["Accepted", "Answer", "Refused", "RefusedForNow", "RefusedHere", "Unanswered"]


@value
class Accepted(NamedTuple):
    """The scheduler has the job. `started_at` is given if the job runs already."""

    scheduler_id: str
    started_at: float | None = None


@value
class RefusedForNow(NamedTuple):
    """The scheduler does not accept the job now: a submit limit, a busy controller. It does not have the job."""

    reason: str


@value
class Refused(NamedTuple):
    """The scheduler will never accept the job; the reason is its message."""

    reason: str


@value
class RefusedHere(NamedTuple):
    """The scheduler does not accept jobs from this machine; from a login node it may.

    Attributes
    ----------
    reason : str
        The scheduler's message.
    is_final : bool
        Whether a login node with this answer need not retry.
    """

    reason: str
    is_final: bool = True


@value
class Unanswered(NamedTuple):
    """It is not known whether the scheduler has the job, which must be searched by its token."""

    reason: str


Answer = Accepted | RefusedForNow | Refused | RefusedHere | Unanswered
