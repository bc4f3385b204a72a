"""Cancel a run on a cluster, and wait until none of its jobs is left in the queue."""

from __future__ import annotations

import time

from orchestrator.db.store import Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.session import hold_lease_on_cluster, make_context, scheduler_of
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.errors import Busy, LeaseHeld, SchedulerUnreachable
from orchestrator.machine.model import Run
from orchestrator.machine.stalled import ENDING_TIMEOUT

__all__ = ["cancel_run"]

CANCEL_WAIT = ENDING_TIMEOUT
"""Seconds that `cancel` waits for the queue to be empty."""

LOOK_EVERY = 0.5


def cancel_run(store: Store, key: str) -> Run:
    """Cancel a run that was asked to stop, and wait until none of its jobs is left in the queue.

    Returns
    -------
    Run
        As it ended.

    Raises
    ------
    Busy
        If jobs are left after four minutes.
    SchedulerUnreachable
        If SLURM does not answer; that the run was asked to stop is recorded.
    Interrupted
        By Ctrl-C.
    """
    unseen = interrupted_as(
        f"Run {key} was asked to stop, but its end was not seen.", f"To see it end: orchestrator cancel {key}"
    )
    try:
        with unseen:
            return _cancel_jobs(store, key)
    except SchedulerUnreachable as error:
        hint = f"Run {key} was asked to stop, and ends when SLURM answers. To see it end: orchestrator cancel {key}"
        raise SchedulerUnreachable(error.message, hint) from error


def _cancel_jobs(store: Store, key: str) -> Run:
    scheduler = scheduler_of(store, store.record(key))
    end = time.monotonic() + CANCEL_WAIT
    run = store.load(key)
    while not run.has_ended:
        why = "Its jobs have not ended yet."
        try:
            with hold_lease_on_cluster(store, key, scheduler) as fence:
                run = advance(make_context(store, key, fence, scheduler))
        except LeaseHeld as held:
            # Whoever has it reads the request with its next write.
            run, why = store.load(key), held.message
        if not run.has_ended:
            _pause(end, key, why)
    tokens = store.tokens(key)
    while ids := scheduler.live_ids(tokens):
        # An orchestrator job that ran, or one that nobody had recorded.
        scheduler.cancel_ids(ids)
        _pause(end, key, f"SLURM still ends job {', '.join(ids)}.")
    return run


def _pause(end: float, key: str, why: str) -> None:
    if time.monotonic() > end:
        raise Busy(
            f"Run {key} was asked to stop {CANCEL_WAIT:.0f} s ago. {why}",
            f"It is asked again by: orchestrator cancel {key}",
        )
    time.sleep(LOOK_EVERY)
