"""Which of several submissions of one job counts.

A submission whose answer was lost may have arrived. If it is then submitted again under the same token, the scheduler
has the job twice. Only the one that claims the job runs it (`orchestrator.handoff.claim`). Whether a submission arrived
at all is decided in `orchestrator.machine.reconcile`.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.machine.facts import Seen

__all__ = ["choose"]


def choose(seen: Mapping[str, Seen], *, claimed_by: str | None, recorded: str | None) -> str:
    """Return which of the scheduler's ids of one job counts.

    Parameters
    ----------
    seen : mapping of str to Seen
        How the scheduler lists each id; at least one.
    claimed_by : str or None
        The submission that has claimed the job. It runs the job; the others end by themselves.
    recorded : str or None
        The recorded id.

    Returns
    -------
    str
        The one that has claimed the job, if it is listed. Else one that runs, before one that waits, before one that
        has ended; among equals the recorded id, else the first that was submitted.
    """
    if claimed_by is not None and claimed_by in seen:
        return claimed_by
    return min(seen, key=lambda each: (_PRECEDENCE.index(seen[each]), each != recorded, len(each), each))


_PRECEDENCE = (Seen.RUNNING, Seen.QUEUED, Seen.OVER, Seen.UNANSWERED, Seen.ABSENT)
