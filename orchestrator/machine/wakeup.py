"""The wake-up: what advances a run on a cluster after this process has ended.

At most one orchestrator job waits. It waits for the end of the step's live job or, before there is one, for the end of
the orchestrator job that runs. If the tail of the step's job advances the run first, the orchestrator job is only made
to wait for the next job.
"""

from __future__ import annotations

from orchestrator.machine.changes import AddJob, MoveJob
from orchestrator.machine.intents import CancelJobs, Intent, Record, SetDependency, Submit
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import MAX_IDLE_WAKEUPS, Job, Run, token_for
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.wording import in_doubt, not_submitted

__all__ = [
    "cancel_orchestrators",
    "is_in_doubt",
    "end_of_orchestrator",
    "ensure_wakeup",
    "is_for_login_node",
    "why_orchestrator_polls",
    "why_poll_again",
]


def ensure_wakeup(run: Run) -> Intent | None:
    """Return what must be done so that a job will wake the run.

    Returns
    -------
    Intent or None
        None if a job will wake it, or if there is no job yet whose end could. Also if no job should: the run has ended,
        is failing, being cancelled, held without a job, or driven from a login node; or this has been given up after
        `MAX_IDLE_WAKEUPS` without progress (`is_progress` in `orchestrator.machine.changes`).
    """
    if not run.needs_wakeup or run.state is not RunState.ACTIVE or run.cancel_requested or run.failing is not None:
        return None
    if run.login_only is not None:
        return None  # a job could not submit the next one
    if run.is_held and not _is_with_scheduler(run):
        return None  # the user releases it
    live = _live_job_to_wait_for(run)
    job_to_wait_for = live or _scheduler_id(_running(run))
    if job_to_wait_for is None:
        return None
    waiting = next((job for job in run.orchestrators if job.state is not JobState.RUNNING), None)
    if waiting is None:
        has_given_up = live is None and run.idle_wakeups >= MAX_IDLE_WAKEUPS
        return None if has_given_up else Record((_successor(run, job_to_wait_for),))
    if waiting.state is JobState.PLANNED:
        return Submit(waiting.token)
    # An orchestrator job that waits for another one is changed only if there is a step's job to wait for.
    if waiting.state is JobState.QUEUED and live is not None and waiting.waits_for != live:
        return SetDependency(waiting.token, live)
    return None


def is_for_login_node(run: Run, intent: Intent | None) -> bool:
    """Whether only a process on a login node can carry out an intent: nodes may not submit."""
    return run.login_only is not None and isinstance(intent, Submit)


def cancel_orchestrators(run: Run) -> Intent | None:
    """Return what must be done, after the end of a run, so that no orchestrator job waits for it."""
    planned = tuple(
        MoveJob(job.token, JobState.CANCELLED, "the run has ended")
        for job in run.orchestrators
        if job.state is JobState.PLANNED
    )
    if planned:
        return Record(planned)
    queued = tuple(job.token for job in run.orchestrators if job.state is JobState.QUEUED)
    return CancelJobs(queued) if queued else None


def end_of_orchestrator(run: Run, token: str) -> list[MoveJob]:
    """Return the end of the orchestrator job with this token, which has no work left and is not observed again."""
    is_running = any(job.token == token and job.state is JobState.RUNNING for job in run.orchestrators)
    return [MoveJob(token, JobState.SUCCEEDED)] if is_running else []


def why_poll_again(run: Run) -> str | None:
    """Return why the run must be advanced again soon, because the end of no job will wake it.

    Returns
    -------
    str or None
        None if the run has ended, or the job that it waits for will wake it.
    """
    if run.state is not RunState.ACTIVE:
        return None
    if run.failing is not None:
        return f"its jobs are being cancelled: {run.failing}"
    job = next(iter(run.live_jobs), None)
    if run.is_held and not _is_with_scheduler(run):
        return None
    if job is None:
        return "none of its jobs is in the queue"
    if job.is_missing:
        return in_doubt(job)
    if job.state in (JobState.PLANNED, JobState.SUBMITTING):
        return not_submitted(job, "its next job")
    if run.login_only is not None:
        return None
    orchestrators = [other for other in run.orchestrators if other.state is not JobState.RUNNING]
    if any(other.state is JobState.QUEUED and other.waits_for == job.scheduler_id for other in orchestrators):
        return None
    if _live_job_to_wait_for(run) is None:
        return f"job {job.scheduler_id} has woken its orchestrator job, but the scheduler still lists it as live"
    return (
        not_submitted(orchestrators[-1], "its orchestrator job")
        if orchestrators
        else f"no orchestrator job waits for job {job.scheduler_id}"
    )


def why_orchestrator_polls(run: Run) -> str | None:
    """Return why an orchestrator job must advance the run again soon; None if it need not, or only a login node can."""
    return why_poll_again(run) if run.login_only is None else None


def is_in_doubt(run: Run) -> bool:
    """Whether only another answer of the scheduler can show whether it has a job of the run."""
    jobs = (*run.live_jobs, *run.orchestrators)
    return any(job.state is JobState.SUBMITTING or job.is_missing for job in jobs)


def _live_job_to_wait_for(run: Run) -> str | None:
    """Return the id of the live job whose end an orchestrator job can wait for.

    A running orchestrator job was started by the end of the job that it waited for. The scheduler may still list that
    job as live, in a state that is unknown here. A successor that waited for it would start at once, and so would each
    one after it.
    """
    live = _scheduler_id(run.live_jobs)
    return None if live in [job.waits_for for job in _running(run)] else live


def _is_with_scheduler(run: Run) -> bool:
    return any(job.state is not JobState.PLANNED for job in run.live_jobs)


def _running(run: Run) -> tuple[Job, ...]:
    return tuple(job for job in run.orchestrators if job.state is JobState.RUNNING)


def _scheduler_id(jobs: tuple[Job, ...]) -> str | None:
    ids = (job.scheduler_id for job in jobs if job.state in (JobState.QUEUED, JobState.RUNNING))
    return next((found for found in ids if found is not None), None)


def _successor(run: Run, after: str) -> AddJob:
    number = run.n_orchestrators + 1
    token = token_for(run.salt, Role.ORCHESTRATOR, 0, 0, number)
    return AddJob(token, Role.ORCHESTRATOR, None, 0, number, waits_for=after)
