"""The claim: a job that was submitted twice by mistake runs only once, and one that was given up does not run.

The answer to a submission may be lost, and the job may arrive long after that. So the process that cancels a job claims
it first: a submission that starts later finds the claim, and does nothing.
Which submission then counts in the records is decided in `orchestrator.machine.submissions`.
"""

from __future__ import annotations

from orchestrator.atomic import PRIVATE, create_atomically
from orchestrator.damage import Damaged, refuse
from orchestrator.errors import DataError
from orchestrator.sha256 import sha256_of
from orchestrator.trust import read_private
from orchestrator.workspace import JobFolder

__all__ = ["claim", "claimed_by", "has_begun", "is_given_up", "give_up", "allow_again"]

_GIVEN_UP = "given_up"
"""Claims a job that was given up: not an id of a scheduler."""

LONGEST = 1000
"""Size in bytes that no claim has."""


def claim(folder: JobFolder, submission: str) -> bool:
    """Claim a job for a submission, unless another submission has claimed it.

    Parameters
    ----------
    folder : JobFolder
        The job's folder.
    submission : str
        The scheduler's id of the submission. All its tasks and restarts share the claim.

    Returns
    -------
    bool
        Whether the job is claimed by this submission.

    Raises
    ------
    DataError
        If there is a claim that can't be read: another submission may have started.
    """
    if (claimed := claimed_by(folder)) is not None:
        return claimed == submission
    create_atomically(folder.claim, f"{submission} {_checksum(submission)}".encode(), PRIVATE)
    return claimed_by(folder) == submission


def claimed_by(folder: JobFolder) -> str | None:
    """Return the scheduler's id of the submission that claimed a job; None if this machine sees no claim.

    Raises
    ------
    DataError
        If the file is not a claim.
    """
    try:
        content = read_private(folder.claim, LONGEST).decode("ascii", "backslashreplace")
        claimant, _, checksum = content.partition(" ")
        return claimant if claimant and checksum == _checksum(claimant) else refuse(f"it contains {content[:40]!r}")
    except FileNotFoundError:
        return None
    except (Damaged, OSError) as error:
        raise DataError(f"the claim {folder.claim} can't be used: {error}") from error


def _checksum(submission: str) -> str:
    return sha256_of(submission.encode())[:16]


def give_up(folder: JobFolder) -> None:
    """Let no submission of a job start that has not started yet.

    Raises
    ------
    DataError
        If there is a claim that can't be read: no submission that has not started yet can read it either.
    OSError
        If the claim can't be written.
    """
    claim(folder, _GIVEN_UP)


def is_given_up(folder: JobFolder) -> bool:
    """Whether a job was given up before a submission of it has started.

    Raises
    ------
    DataError
        If the file is not a claim.
    """
    return claimed_by(folder) == _GIVEN_UP


def has_begun(folder: JobFolder) -> bool:
    """Whether a submission of a job has started, as far as this machine sees.

    Raises
    ------
    DataError
        If the file is not a claim.
    """
    return claimed_by(folder) not in (None, _GIVEN_UP)


def allow_again(folder: JobFolder) -> None:
    """Let a submission of a job start that was given up. Of several, still only one runs it.

    Raises
    ------
    DataError
        If the file is not a claim.
    """
    if is_given_up(folder):
        folder.claim.unlink(missing_ok=True)
