"""The claim: a job that was submitted twice by mistake runs only once."""

from __future__ import annotations

from orchestrator.atomic import PRIVATE, create_atomically
from orchestrator.workspace import JobFolder

__all__ = ["claim", "claimed_by"]


def claim(folder: JobFolder, owner: str) -> bool:
    """Claim a job for a submission, unless another submission has claimed it.

    Parameters
    ----------
    folder : JobFolder
        The job's folder.
    owner : str
        The scheduler's id of the submission. All its tasks and restarts share the claim.

    Returns
    -------
    bool
        Whether the job is claimed by this submission.
    """
    if (claimed := claimed_by(folder)) is not None:
        return claimed == owner
    create_atomically(folder.claim, owner.encode(), PRIVATE)
    return folder.claim.read_text() == owner


def claimed_by(folder: JobFolder) -> str | None:
    """Return the scheduler's id of the submission that claimed a job; None if this machine sees no claim."""
    try:
        return folder.claim.read_text()
    except FileNotFoundError:
        return None
