"""What a scheduler may answer to a submission."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.machine.value import value

__all__ = ["Accepted", "Answer", "Refused", "RefusedForNow", "Unanswered"]


@value
class Accepted(NamedTuple):
    """The job is the scheduler's now. `started_at` where it is known to run already."""

    scheduler_id: str
    started_at: float | None = None


@value
class RefusedForNow(NamedTuple):
    """A refusal that passes: a submit limit, a busy controller. The scheduler does not have the job."""

    reason: str


@value
class Refused(NamedTuple):
    """A refusal that will not pass by waiting, in the scheduler's words."""

    reason: str


@value
class Unanswered(NamedTuple):
    """Nobody knows whether the job is the scheduler's: it has to be looked for by its token."""

    reason: str


Answer = Accepted | RefusedForNow | Refused | Unanswered
