"""Sentences about a job, made of what is recorded about it."""

from __future__ import annotations

from orchestrator.machine.kinds import Doubt
from orchestrator.machine.model import Job
from orchestrator.machine.states import JobState

__all__ = ["in_doubt", "not_submitted", "reason_of"]


def reason_of(state: JobState, doubt: Doubt | None, reason: str | None) -> str | None:
    """Return why a job is where it is, or what is not known about it.

    Parameters
    ----------
    state : JobState
    doubt : Doubt or None
    reason : str or None
        As recorded: the words of the scheduler or of an error.
    """
    match doubt:
        case Doubt.UNLISTED:
            return "the scheduler answered without it"
        case Doubt.RECEIPTS_MISSING:
            return "it has ended, but not all of its receipts are visible yet"
        case Doubt.UNKNOWN_STATE:
            return f"SLURM calls its state {reason}, which is unknown here; it counts as live"
    if state is JobState.SUBMITTING and doubt is None and reason:
        return f"tried again after: {reason}"
    return reason


def in_doubt(job: Job) -> str:
    """Say what is not known about a job."""
    return f"job {job.scheduler_id or job.token}: {reason_of(job.state, job.doubt, job.reason)}"


def not_submitted(job: Job, name: str) -> str:
    """Say why a job, called by a name, is not in the queue."""
    if job.state is not JobState.SUBMITTING:
        return f"{name} is not in the queue: {job.reason or 'not submitted yet'}"
    why = reason_of(job.state, job.doubt, job.reason)
    if job.doubt is None:
        # The reason is that of an earlier try: the answer to this one was never recorded.
        died = "the process that submitted it died"
        why = f"{died}; {why}" if why else died
    return f"whether {name} was submitted is not known: {why}"
