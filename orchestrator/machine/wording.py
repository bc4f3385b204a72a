"""Sentences about a job or a stop, made from its record."""

from __future__ import annotations

from orchestrator.machine.kinds import Doubt, StopSignal
from orchestrator.machine.model import Job
from orchestrator.machine.states import JobState

__all__ = ["STOPS", "in_doubt", "not_submitted", "reason_of"]

STOPS = {
    StopSignal.INTERRUPT: "Ctrl-C",
    StopSignal.HANGUP: "the terminal was closed",
    StopSignal.TERMINATE: "SIGTERM",
}
"""What has stopped the process of a run, as a user reads it."""


def reason_of(state: JobState, doubt: Doubt | None, reason: str | None) -> str | None:
    """Return why a job is in its state, or what is not known about it.

    Parameters
    ----------
    state : JobState
        Where it stands.
    doubt : Doubt or None
        What is not known about it.
    reason : str or None
        As recorded: the text of the scheduler or of an error.
    """
    match doubt:
        case Doubt.UNLISTED:
            return "the scheduler does not list it"
        case Doubt.RECEIPTS_MISSING:
            return "it has ended, but not all of its receipts are visible yet"
        case Doubt.UNKNOWN_STATE:
            return f"SLURM reports the unknown state {reason}; the job counts as live"
    if state is JobState.SUBMITTING and doubt is None and reason:
        return f"retried after: {reason}"
    return reason


def in_doubt(job: Job) -> str:
    """Return what is not known about a job."""
    return f"job {job.scheduler_id or job.token}: {reason_of(job.state, job.doubt, job.reason)}"


def not_submitted(job: Job, name: str) -> str:
    """Return why a job is not in the queue; `name` is what the sentence calls it."""
    if job.state is not JobState.SUBMITTING:
        return f"{name} is not in the queue: {job.reason or 'not submitted yet'}"
    why = reason_of(job.state, job.doubt, job.reason)
    if job.doubt is None:
        # The reason is that of an earlier attempt: the answer to this one was never recorded.
        died = "the process that submitted it died"
        why = f"{died}; {why}" if why else died
    return f"it is not known whether {name} was submitted: {why}"
