"""Whether a run is stalled: it is active, and nothing will advance it until a user types a command.

The rule is here only. What it needs to know is a value: from the records for `status`, `list`, `wait` and `logs -f`;
with the jobs as SLURM lists them for `status --refresh`; from the model for a command that leaves the run to its jobs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.machine.model import Job, Run
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.value import value
from orchestrator.machine.wakeup import MAX_IDLE_WAKEUPS
from orchestrator.machine.wording import in_doubt, not_submitted

__all__ = ["ENDING_TIMEOUT", "LeaseHolder", "Liveness", "as_listed", "liveness_of", "why_stalled"]

ENDING_TIMEOUT = 240.0
"""Seconds for which a process that ends a run looks again: longer than one elsewhere takes to count as dead."""


@value
class LeaseHolder(NamedTuple):
    """The process that holds a run's lease.

    Attributes
    ----------
    name : str
        As a user reads it: `process 4242 on login1`.
    is_dead : bool
        Whether it is known to be gone.
    silent_for : float or None
        Seconds since its last beat; None while that beat is recent enough to be believed.
    scheduler_id : str or None
        The scheduler's id of the job that it is part of.
    """

    name: str
    is_dead: bool = False
    silent_for: float | None = None
    scheduler_id: str | None = None


@value
class Liveness(NamedTuple):
    """What decides whether a run is stalled.

    Attributes
    ----------
    state : RunState
    needs_wakeup : bool
        Whether a job of the scheduler has to wake the run; else a process of this machine drives it to its end.
    holder : LeaseHolder or None
        None where no process holds the lease.
    live, orchestrators : tuple of Job
        The jobs of its open step run, and its orchestrator jobs, that have not ended.
    idle_wakeups : int
        Orchestrator jobs since the scheduler last took a job of a step.
    has_tail : bool
        Whether a job's last task advances the run itself.
    ending_for : float or None
        Seconds since anything was heard of a run that has to fail, or was asked to stop; None for every other run.
    """

    state: RunState
    needs_wakeup: bool
    holder: LeaseHolder | None = None
    live: tuple[Job, ...] = ()
    orchestrators: tuple[Job, ...] = ()
    idle_wakeups: int = 0
    has_tail: bool = False
    ending_for: float | None = None


def liveness_of(run: Run, *, has_tail: bool) -> Liveness:
    """Give what decides whether a run is stalled once this process has let go of it, and does not look again.

    Parameters
    ----------
    run : Run
    has_tail : bool
        Whether a job's last task advances the run itself.
    """
    is_ending = run.failing is not None or run.cancel_requested
    return Liveness(
        run.state,
        run.needs_wakeup,
        live=run.live_jobs,
        orchestrators=run.orchestrators,
        idle_wakeups=run.idle_wakeups,
        has_tail=has_tail,
        ending_for=math.inf if is_ending else None,
    )


def as_listed(run: Liveness, listed: Mapping[str, str], *, holder_is_gone: bool) -> Liveness:
    """Take the scheduler's word for its jobs: the records say what they were when the run was last advanced.

    Parameters
    ----------
    run : Liveness
        As recorded.
    listed : mapping of str to str
        The scheduler's id, by token, of each job that has not ended.
    holder_is_gone : bool
        Whether the job that the holder of the lease is part of has ended.
    """
    return run._replace(
        holder=None if run.holder is None else run.holder._replace(is_dead=run.holder.is_dead or holder_is_gone),
        live=_as_listed(run.live, listed),
        orchestrators=_as_listed(run.orchestrators, listed),
    )


def _as_listed(jobs: tuple[Job, ...], listed: Mapping[str, str]) -> tuple[Job, ...]:
    seen = (_job_as_listed(job, listed.get(job.token)) for job in jobs)
    return tuple(job for job in seen if job is not None)


def _job_as_listed(job: Job, scheduler_id: str | None) -> Job | None:
    """Return a recorded job as the scheduler sees it; None where it has ended or is unknown."""
    if scheduler_id is None:
        return job if job.state in (JobState.PLANNED, JobState.SUBMITTING) else None
    state = JobState.QUEUED if job.state is JobState.SUBMITTING else job.state
    return job._replace(state=state, scheduler_id=scheduler_id, doubt=None)


def why_stalled(run: Liveness) -> str | None:
    """Say why nothing will advance a run.

    Returns
    -------
    str or None
        None: the run has ended, the process that holds it may live, or a job that the scheduler has will advance it.
    """
    if run.state is not RunState.ACTIVE:
        return None
    gone = None if run.holder is None else _why_gone(run.holder)
    if run.holder is not None and gone is None:
        return None
    if not run.needs_wakeup:
        return gone or "no process advances it"
    why = _why_not_woken(run)
    return why if why is None or gone is None else f"{gone}, and {why}"


def _why_gone(holder: LeaseHolder) -> str | None:
    if holder.is_dead:
        return f"{holder.name}, which advanced it, has died"
    if holder.silent_for is not None:
        return f"{holder.name}, which advanced it, has not been heard of for {round(holder.silent_for / 60)} min"
    return None


def _why_not_woken(run: Liveness) -> str | None:
    if any(_is_there(job) for job in run.orchestrators):
        return None
    job = next(iter(run.live), None)
    if job is None:
        return "none of its jobs is in the queue"
    if _is_there(job):
        return None if _has_tail(run) else f"nobody waits for the end of job {job.scheduler_id}"
    if job.is_missing:
        return in_doubt(job)
    has_given_up = run.idle_wakeups >= MAX_IDLE_WAKEUPS
    given_up = f", and {run.idle_wakeups} orchestrator jobs in a row have tried" if has_given_up else ""
    return not_submitted(job, "its next job") + given_up


def _has_tail(run: Liveness) -> bool:
    """Tell whether the end of the job advances the run.

    A job that was cancelled has no tail. The process that ends a run holds it only while it looks, and looks again for
    `ENDING_TIMEOUT` seconds.
    """
    return run.has_tail and (run.ending_for is None or run.ending_for <= ENDING_TIMEOUT)


def _is_there(job: Job) -> bool:
    return job.state in (JobState.QUEUED, JobState.RUNNING) and not job.is_missing
