"""The claim: a job that was submitted twice by mistake runs once."""

from __future__ import annotations

import os
from contextlib import suppress

from orchestrator.handoff.folder import JobFolder, write_aside

__all__ = ["claim", "owner_of"]


def claim(folder: JobFolder, owner: str) -> bool:
    """Take a job, unless somebody else did.

    A hard link is the one operation that every shared file system refuses when the name is taken.

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
    mine = folder.path / f".claim.{os.urandom(8).hex()}"
    write_aside(mine, owner.encode())
    try:
        # Whether it worked is read below: over NFS, the answer to link() itself may be lost.
        with suppress(FileExistsError):
            os.link(mine, folder.claim)
    finally:
        mine.unlink()
    return folder.claim.read_text() == owner


def owner_of(folder: JobFolder) -> str | None:
    """Tell which submission took a job; None where it has not started, as far as this machine can see."""
    try:
        return folder.claim.read_text()
    except FileNotFoundError:
        return None
