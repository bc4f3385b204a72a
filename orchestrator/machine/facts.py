"""What the world said when it was asked: the input of `reconcile`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.machine.value import NOTHING, value

__all__ = ["Facts", "JobFact", "ReceiptFact", "Seen"]


class Seen(StrEnum):
    """How the scheduler knows a job."""

    ABSENT = "absent"
    QUEUED = "queued"
    RUNNING = "running"
    OVER = "over"
    UNANSWERED = "unanswered"

    @property
    def may_have_ended(self) -> bool:
        """Whether the job may have left receipts that say how it ended."""
        return self in (Seen.ABSENT, Seen.OVER)


@value
class ReceiptFact(NamedTuple):
    """What one receipt says.

    Attributes
    ----------
    succeeded : bool
    started_at, ended_at : float
        Epoch seconds.
    n_finished, n_failed : int
        Experiments.
    failures : tuple of mapping
        Failed experiments in groups: `type`, `message`, `traceback`, `rows`, `n`.
    kind, reason : str or None
        Of a receipt that tells of a failure.
    n_quarantined : int
        Results that were set aside when the table was folded.
    until : bool or None
    detail : mapping
        Exit code, memory, CPU seconds, as JSON values.
    """

    succeeded: bool
    started_at: float
    ended_at: float
    n_finished: int = 0
    n_failed: int = 0
    failures: tuple[Mapping[str, Any], ...] = ()
    kind: str | None = None
    reason: str | None = None
    n_quarantined: int = 0
    until: bool | None = None
    detail: Mapping[str, Any] = NOTHING


@value
class JobFact(NamedTuple):
    """What is known of one job.

    Attributes
    ----------
    seen : Seen
    scheduler_id : str or None
    started_at, ended_at : float or None
        Epoch seconds, as the scheduler says.
    kind, reason : str or None
        Why it is over, as the scheduler says.
    receipts : mapping of int to ReceiptFact
        By task. May be left empty while the job is neither over nor complete: nothing follows from a part of them.
    failed_tasks : mapping of int to (kind, reason)
        Tasks that the scheduler knows to have ended badly.
    receipts_may_follow : bool
        Whether a job that is over may have left receipts that are not to be seen yet: other machines write them.
    unknown_state : str or None
        The scheduler's word for the state of a job that counts as live, where that word is unknown here.
    rivals : tuple of str
        The scheduler's ids of other submissions under the job's token that have not ended.
    """

    seen: Seen
    scheduler_id: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    kind: str | None = None
    reason: str | None = None
    receipts: Mapping[int, ReceiptFact] = NOTHING
    failed_tasks: Mapping[int, tuple[str, str]] = NOTHING
    receipts_may_follow: bool = False
    unknown_state: str | None = None
    rivals: tuple[str, ...] = ()


@value
class Facts(NamedTuple):
    """All that was seen in one look.

    Attributes
    ----------
    now : float
        Epoch seconds.
    grace : float
        Seconds between two answers without a job before it counts as gone. 0 for a scheduler that can't be wrong.
    jobs : mapping of str to JobFact
        By token.
    """

    now: float
    grace: float = 0.0
    jobs: Mapping[str, JobFact] = NOTHING
