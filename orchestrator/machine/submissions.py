"""Which of several submissions of one job counts.

A submission whose answer was lost may have arrived. If it is then submitted again under the same token, the scheduler
has the job twice.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["choose"]


def choose(ids: Collection[str], *, owner: str | None, recorded: str | None) -> str:
    """Return which of the scheduler's ids of one job counts.

    Parameters
    ----------
    ids : collection of str
        At least one.
    owner : str or None
        The submission that has claimed the job. It runs the job; the others end by themselves.
    recorded : str or None
        The recorded id.

    Returns
    -------
    str
        The owner if it is among them, else the recorded id, else the first that was submitted.
    """
    preferred = next((found for found in (owner, recorded) if found in ids), None)
    return preferred if preferred is not None else min(ids, key=_submission_order)


def _submission_order(scheduler_id: str) -> tuple[int, str]:
    return len(scheduler_id), scheduler_id
