"""What was observed of a run's jobs: the input of `reconcile`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.machine.value import NOTHING, value

__all__ = ["Facts", "JobFact", "ReceiptFact", "Seen"]


class Seen(StrEnum):
    """What the scheduler says about a job."""

    ABSENT = "absent"
    """It answered and does not list the job."""
    QUEUED = "queued"
    """The job waits."""
    RUNNING = "running"
    """The job runs."""
    OVER = "over"
    """The job has ended."""
    UNANSWERED = "unanswered"
    """It gave no answer about the job."""

    @property
    def may_have_ended(self) -> bool:
        """Whether the job may have left receipts that say how it ended."""
        return self in (Seen.ABSENT, Seen.OVER)


@value
class ReceiptFact(NamedTuple):
    """The content of one receipt.

    Attributes
    ----------
    succeeded : bool
        Whether the task ended well.
    started_at, ended_at : float
        Epoch seconds.
    n_finished, n_failed : int
        Numbers of experiments.
    failures : tuple of mapping
        Failed experiments in groups: `type`, `message`, `traceback`, `rows`, `n`.
    kind, reason : str or None
        Why the task failed, if it did.
    n_quarantined : int
        Results that were quarantined when the table was folded.
    until : bool or None
        The answer of the loop's `until`, if the task called it.
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
    """What was observed of one job.

    Attributes
    ----------
    seen : Seen
        What the scheduler says about it.
    scheduler_id : str or None
        The scheduler's id.
    started_at, ended_at : float or None
        Epoch seconds, from the scheduler.
    kind, reason : str or None
        Why it ended, from the scheduler.
    receipts : mapping of int to ReceiptFact
        By task. May be empty while the job has neither ended nor all its receipts: a part of them decides nothing.
    failed_tasks : mapping of int to (kind, reason)
        Tasks that ended badly, from the scheduler.
    receipts_may_follow : bool
        Whether receipts of a job that is over may still appear, because other machines write them.
    unknown_state : str or None
        The scheduler's word for the job's state, if it is unknown here; the job counts as live.
    rivals : tuple of str
        The scheduler's ids of other submissions under the job's token that have not ended.
    has_stopped : bool
        Whether its tasks have stopped their step early: too many experiments failed, or the first ones in the same way.
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
    has_stopped: bool = False


@value
class Facts(NamedTuple):
    """All that was observed at one time.

    Attributes
    ----------
    now : float
        Epoch seconds.
    grace : float
        Seconds between two answers without a job after which it counts as gone; 0 if one answer is enough.
    jobs : mapping of str to JobFact
        By token.
    """

    now: float
    grace: float = 0.0
    jobs: Mapping[str, JobFact] = NOTHING
