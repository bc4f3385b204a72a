"""Whether a run is stalled: it is active, and nothing will advance it until a user types a command.

This rule has no second copy. Its input is a `Liveness`. `status`, `list`, `wait` and `logs -f` make it from the records
(`orchestrator.db.liveness`). `status --refresh`, and `wait` once a minute, add what SLURM lists. A command that has
submitted a run and ends makes it from the values that it holds. Which command is named is decided in
`orchestrator.cli.outcome`. A run on this machine that a signal has stopped is stalled, too; `orchestrator.cli.render`
shows it as stopped (`state_of`), by what `orchestrator.engine.interrupts` has recorded. When a lease holder is dead or
silent is decided in `orchestrator.db.lease_holder`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.machine.kinds import StopSignal
from orchestrator.machine.model import MAX_IDLE_WAKEUPS, Job, Run
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.value import value
from orchestrator.machine.wording import STOPS, in_doubt, not_submitted

__all__ = ["ENDING_TIMEOUT", "NO_JOB_LEFT", "LeaseHolder", "Liveness", "as_listed", "liveness_of", "why_stalled"]

NO_JOB_LEFT = "none of its jobs is in the queue"
"""Why a run is stalled whose jobs are all gone."""

ENDING_TIMEOUT = 240.0
"""Seconds for which a process that ends a run polls; a lease holder on another host counts as dead before that."""


@value
class LeaseHolder(NamedTuple):
    """The process that holds a run's lease.

    Attributes
    ----------
    name : str
        As a user reads it: `process 4242 on login1`.
    is_dead : bool
        Whether it is known to have ended.
    silent_for : float or None
        Seconds since its last heartbeat; None while the heartbeat is recent.
    scheduler_id : str or None
        The scheduler's id of the job that it is part of; None outside a job.
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
        Where the run stands.
    needs_wakeup : bool
        Whether jobs of the scheduler must wake the run; otherwise one process drives it to its end.
    holder : LeaseHolder or None
        None if no process holds the lease.
    live, orchestrators : tuple of Job
        The jobs of its open step run, and its orchestrator jobs, as far as they have not ended.
    idle_wakeups : int
        Number of orchestrator jobs that were planned since the scheduler last accepted a job of a step.
    has_tail : bool
        Whether a job's last task advances the run itself.
    ending_for : float or None
        For a run that must fail or be cancelled, seconds since its last event; None for every other run.
    login_only : str or None
        As `Run.login_only`.
    is_held : bool
        As `Run.is_held`.
    stopped_by : StopSignal or None
        The signal that has stopped its process on this machine; None if it was not stopped, or continued since.
    """

    state: RunState
    needs_wakeup: bool
    holder: LeaseHolder | None = None
    live: tuple[Job, ...] = ()
    orchestrators: tuple[Job, ...] = ()
    idle_wakeups: int = 0
    has_tail: bool = False
    ending_for: float | None = None
    login_only: str | None = None
    is_held: bool = False
    stopped_by: StopSignal | None = None


def liveness_of(run: Run, *, has_tail: bool) -> Liveness:
    """Return what decides whether a run is stalled after this process has released the lease.

    Parameters
    ----------
    run : Run
        The records.
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
        login_only=run.login_only,
        is_held=run.is_held,
    )


def as_listed(run: Liveness, listed: Mapping[str, str], *, holder_has_ended: bool) -> Liveness:
    """Return a run with its jobs as the scheduler lists them now; the records show them as of the last advance.

    Parameters
    ----------
    run : Liveness
        The run as recorded.
    listed : mapping of str to str
        By token, the scheduler's id of each job that has not ended.
    holder_has_ended : bool
        Whether the job that the lease holder is part of has ended.
    """
    return run._replace(
        holder=None if run.holder is None else run.holder._replace(is_dead=run.holder.is_dead or holder_has_ended),
        live=_as_listed(run.live, listed),
        orchestrators=_as_listed(run.orchestrators, listed),
    )


def _as_listed(jobs: tuple[Job, ...], listed: Mapping[str, str]) -> tuple[Job, ...]:
    listed_jobs = (_job_as_listed(job, listed.get(job.token)) for job in jobs)
    return tuple(job for job in listed_jobs if job is not None)


def _job_as_listed(job: Job, scheduler_id: str | None) -> Job | None:
    """Return a recorded job as the scheduler lists it; None if it has ended or is unknown."""
    if scheduler_id is None:
        return job if job.state in (JobState.PLANNED, JobState.SUBMITTING) else None
    state = JobState.QUEUED if job.state is JobState.SUBMITTING else job.state
    return job._replace(state=state, scheduler_id=scheduler_id, doubt=None)


def why_stalled(run: Liveness) -> str | None:
    """Return why nothing will advance a run.

    Returns
    -------
    str or None
        None if the run has ended, its lease holder may be alive, or a job in the queue will advance it.
    """
    if run.state is not RunState.ACTIVE:
        return None
    dead = None if run.holder is None else _why_dead(run.holder)
    if run.holder is not None and dead is None:
        return None
    if run.is_held and all(job.state is JobState.PLANNED for job in run.live):
        return "a user holds it, and none of its jobs is left" if run.needs_wakeup else "a user holds it"
    if not run.needs_wakeup:
        if run.stopped_by is not None:
            return f"it was stopped ({STOPS[run.stopped_by]})"
        return dead or "no process advances it"
    why = _why_not_woken(run)
    return why if why is None or dead is None else f"{dead}, and {why}"


def _why_dead(holder: LeaseHolder) -> str | None:
    if holder.is_dead:
        return f"{holder.name}, which advanced it, has died"
    if holder.silent_for is not None:
        return f"{holder.name}, which advanced it, has sent no heartbeat for {round(holder.silent_for / 60)} min"
    return None


def _why_not_woken(run: Liveness) -> str | None:
    if any(_is_in_queue(job) for job in run.orchestrators):
        return None
    job = next(iter(run.live), None)
    if job is None:
        return NO_JOB_LEFT
    if _is_in_queue(job):
        return None if _will_have_tail(run) else f"no job waits for the end of job {job.scheduler_id}"
    if job.is_missing:
        return in_doubt(job)
    if run.login_only is not None:
        return f"nodes of this cluster may not submit jobs, and no process on a login node does: {run.login_only}"
    has_given_up = run.idle_wakeups >= MAX_IDLE_WAKEUPS
    tried = f"; {run.idle_wakeups} orchestrator jobs in a row have tried to submit it" if has_given_up else ""
    return not_submitted(job, "its next job") + tried


def _will_have_tail(run: Liveness) -> bool:
    """Whether the last task of the job advances the run.

    A cancelled job has no tail: the process that ends the run advances it instead. That process holds the lease only
    while it advances, and polls for `ENDING_TIMEOUT` seconds.
    """
    return run.has_tail and (run.ending_for is None or run.ending_for <= ENDING_TIMEOUT)


def _is_in_queue(job: Job) -> bool:
    return job.state in (JobState.QUEUED, JobState.RUNNING) and not job.is_missing
