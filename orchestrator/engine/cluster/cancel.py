"""Cancel a run on a cluster, and wait until none of its jobs is left in the queue."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.db.store import Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.moved import check_not_copied
from orchestrator.engine.cluster.session import hold_lease_on_cluster, make_context, scheduler_of
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.errors import Busy, LeaseHeld, SchedulerUnreachable
from orchestrator.machine.model import Run
from orchestrator.machine.stalled import ENDING_TIMEOUT
from orchestrator.machine.steering import has_stopped_at

__all__ = ["CANCEL_WAIT", "advance_until", "cancel_run", "cancel_step"]

CANCEL_WAIT = ENDING_TIMEOUT
"""Seconds for which `cancel` waits until no job is left."""

POLL_EVERY = 0.5
"""Seconds between two checks."""


def cancel_run(store: Store, key: str) -> Run:
    """Carry out a requested cancel, and wait until no job of the run is left in the queue.

    Returns
    -------
    Run
        The run after its end.

    Raises
    ------
    Busy
        If jobs are left after four minutes.
    SchedulerUnreachable
        If SLURM does not answer. The request is recorded.
    Interrupted
        On Ctrl-C. The request is recorded.
    """
    interruptible = interrupted_as(
        f"Cancelling run {key} is requested, but not complete.", f"To complete it: orchestrator cancel {key}"
    )
    try:
        with interruptible:
            return _cancel_jobs(store, key)
    except SchedulerUnreachable as error:
        hint = f"Cancelling run {key} is requested. To complete it when SLURM answers: orchestrator cancel {key}"
        raise SchedulerUnreachable(error.message, hint) from error


def cancel_step(store: Store, key: str, position: int) -> Run:
    """Carry out the requested cancel of the open step run, and wait until it has ended.

    Returns
    -------
    Run
        The run after that; it may continue.

    Raises
    ------
    Busy
        If jobs are left after four minutes.
    SchedulerUnreachable
        If SLURM does not answer. The request is recorded.
    """
    check_not_copied(store, key)
    scheduler = scheduler_of(store, store.record(key))
    return advance_until(
        lambda run: has_stopped_at(run, position), store, key, scheduler, time.monotonic() + CANCEL_WAIT
    )


def advance_until(
    has_ended: Callable[[Run], bool],
    store: Store,
    key: str,
    scheduler: SlurmScheduler,
    end: float,
    command: str = "cancel",
) -> Run:
    """Advance a run until it is as a user has requested.

    Parameters
    ----------
    has_ended : callable
        Whether it is.
    store : Store
        Where the run is recorded.
    key : str
        The run's key.
    scheduler : SlurmScheduler
        Its scheduler.
    end : float
        Until when, by the monotonic clock.
    command : str, default "cancel"
        What the user typed.

    Raises
    ------
    Busy
        If it is not so at the end.
    """
    run = store.load(key)
    while not has_ended(run):
        why = "Its jobs have not ended yet."
        try:
            with hold_lease_on_cluster(store, key, scheduler) as fence:
                run = advance(make_context(store, key, fence, scheduler))
        except LeaseHeld as held:
            # The holder reads the request with its next write.
            run, why = store.load(key), held.message
        if not has_ended(run):
            _pause(end, key, why, command)
    return run


def _cancel_jobs(store: Store, key: str) -> Run:
    check_not_copied(store, key)
    scheduler = scheduler_of(store, store.record(key))
    end = time.monotonic() + CANCEL_WAIT
    run = advance_until(lambda run: run.has_ended, store, key, scheduler, end)
    tokens = store.history.tokens(key)
    while ids := scheduler.live_ids(tokens):
        # A running orchestrator job, or a job that is not recorded.
        scheduler.cancel_ids(ids)
        _pause(end, key, f"SLURM has not ended job {', '.join(ids)} yet.")
    return run


def _pause(end: float, key: str, why: str, command: str = "cancel") -> None:
    if time.monotonic() > end:
        raise Busy(
            f"To {command} run {key} was requested {CANCEL_WAIT:.0f} s ago. {why}",
            f"To continue to wait: orchestrator {command} {key}",
        )
    time.sleep(POLL_EVERY)
