"""What a scheduler may answer to a submission."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Accepted", "Answer", "Refused", "RefusedForNow", "Unanswered"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job is the scheduler's now. `started_at` where it is known to run already."""

    scheduler_id: str
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class RefusedForNow:
    """A refusal that passes: a submit limit, a busy controller. The scheduler does not have the job."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal that will not pass by waiting, in the scheduler's words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Nobody knows whether the job is the scheduler's: it has to be looked for by its token."""

    reason: str


Answer = Accepted | RefusedForNow | Refused | Unanswered
