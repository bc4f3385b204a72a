"""The claim: a job that was submitted twice by mistake runs once."""

from __future__ import annotations

from orchestrator.atomic import create_atomically
from orchestrator.workspace import JobFolder

__all__ = ["claim", "owner_of"]


def claim(folder: JobFolder, owner: str) -> bool:
    """Take a job, unless it is taken.

    Parameters
    ----------
    folder : JobFolder
    owner : str
        The scheduler's id of the submission; all its tasks, and its restarts, share the claim.

    Returns
    -------
    bool
        Whether the job is this owner's.
    """
    if (taken := owner_of(folder)) is not None:
        return taken == owner
    create_atomically(folder.claim, owner.encode())
    return folder.claim.read_text() == owner


def owner_of(folder: JobFolder) -> str | None:
    """Tell which submission took a job; None where it has not started, as far as this machine can see."""
    try:
        return folder.claim.read_text()
    except FileNotFoundError:
        return None
