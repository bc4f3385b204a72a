"""The wake-up: who advances the run after the process that advances it now is gone.

At most one orchestrator job waits, for the end of the step's job that is live, or, before there is one, for the end of
the orchestrator job that runs. It is the second witness: the tail of the step's own job advances the run too, and then
it only has to be pointed at what comes next.
"""

from __future__ import annotations

from orchestrator.machine.changes import AddJob, MoveJob
from orchestrator.machine.intents import CancelJobs, Intent, Record, Repoint, Submit
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job, Run, token_for
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.wording import in_doubt, not_submitted

__all__ = ["MAX_IDLE_WAKEUPS", "cancel_orchestrators", "is_in_doubt", "own_end", "ensure_wakeup", "why_poll_again"]

MAX_IDLE_WAKEUPS = 5
"""Orchestrator jobs in a row that may come and go while the scheduler takes no job of a step."""


def ensure_wakeup(run: Run) -> Intent | None:
    """Make sure that something will wake the run.

    Returns
    -------
    Intent or None
        None: somebody will, or there is nothing yet that could.
    """
    if not run.needs_wakeup or run.state is not RunState.ACTIVE or run.cancel_requested or run.failing is not None:
        return None
    live = _still_to_end(run)
    anchor = live or _with_id(_running(run))
    if anchor is None:
        return None
    waiting = next((job for job in run.orchestrators if job.state is not JobState.RUNNING), None)
    if waiting is None:
        given_up = live is None and run.idle_wakeups >= MAX_IDLE_WAKEUPS
        return None if given_up else Record((_successor(run, anchor),))
    if waiting.state is JobState.PLANNED:
        return Submit(waiting.token)
    # An orchestrator that waits for another one is pointed anew only when there is a step's job to wait for.
    if waiting.state is JobState.QUEUED and live is not None and waiting.waits_for != live:
        return Repoint(waiting.token, live)
    return None


def cancel_orchestrators(run: Run) -> Intent | None:
    """After the end of a run, send home who still waits to wake it."""
    planned = tuple(
        MoveJob(job.token, JobState.CANCELLED, "the run has ended")
        for job in run.orchestrators
        if job.state is JobState.PLANNED
    )
    if planned:
        return Record(planned)
    queued = tuple(job.token for job in run.orchestrators if job.state is JobState.QUEUED)
    return CancelJobs(queued) if queued else None


def own_end(run: Run, token: str) -> list[MoveJob]:
    """Return the end of the orchestrator job with this token, which has no work left and is not observed again."""
    runs = any(job.token == token and job.state is JobState.RUNNING for job in run.orchestrators)
    return [MoveJob(token, JobState.SUCCEEDED)] if runs else []


def why_poll_again(run: Run) -> str | None:
    """Say why somebody has to look again soon, though no job's end would make them.

    Returns
    -------
    str or None
        None: the run has ended, or what it waits for wakes it.
    """
    if run.state is not RunState.ACTIVE:
        return None
    if run.failing is not None:
        return f"its jobs are being ended: {run.failing}"
    job = next(iter(run.live_jobs), None)
    if job is None:
        return "none of its jobs is in the queue"
    if job.is_missing:
        return in_doubt(job)
    if job.state in (JobState.PLANNED, JobState.SUBMITTING):
        return not_submitted(job, "its next job")
    orchestrators = [other for other in run.orchestrators if other.state is not JobState.RUNNING]
    if any(other.state is JobState.QUEUED and other.waits_for == job.scheduler_id for other in orchestrators):
        return None
    if _still_to_end(run) is None:
        return f"what waited for the end of job {job.scheduler_id} has started, but the scheduler lists it as live"
    return (
        not_submitted(orchestrators[-1], "its orchestrator job")
        if orchestrators
        else "no orchestrator job waits for it"
    )


def is_in_doubt(run: Run) -> bool:
    """Tell whether the scheduler has to answer once more before it is known whether it has a job."""
    jobs = (*run.live_jobs, *run.orchestrators)
    return any(job.state is JobState.SUBMITTING or job.is_missing for job in jobs)


def _still_to_end(run: Run) -> str | None:
    """Give the id of the live job whose end will wake somebody.

    An orchestrator job that runs has been woken by the end of the job that it waited for. Should the scheduler list
    that job as live nevertheless, in a state that we do not know, a successor that waits for it would start at once,
    and the next, and the next.
    """
    live = _with_id(run.live_jobs)
    return None if live in [job.waits_for for job in _running(run)] else live


def _running(run: Run) -> tuple[Job, ...]:
    return tuple(job for job in run.orchestrators if job.state is JobState.RUNNING)


def _with_id(jobs: tuple[Job, ...]) -> str | None:
    ids = (job.scheduler_id for job in jobs if job.state in (JobState.QUEUED, JobState.RUNNING))
    return next((found for found in ids if found is not None), None)


def _successor(run: Run, after: str) -> AddJob:
    number = run.n_orchestrators + 1
    token = token_for(run.salt, Role.ORCHESTRATOR, 0, 0, number)
    return AddJob(token, Role.ORCHESTRATOR, None, 0, number, waits_for=after)
