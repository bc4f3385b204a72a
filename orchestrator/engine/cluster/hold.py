"""Hold the jobs of a run on a cluster in the queue.

What a held run still does is decided in `orchestrator.machine.decide` (`_hold`, `_begins_work`).
"""

from __future__ import annotations

import time

from orchestrator.db.store import Store
from orchestrator.engine.cluster.cancel import CANCEL_WAIT, advance_until
from orchestrator.engine.cluster.moved import check_not_copied
from orchestrator.engine.cluster.session import scheduler_of
from orchestrator.errors import SchedulerUnreachable
from orchestrator.machine.steering import holds_its_jobs

__all__ = ["hold_jobs"]


def hold_jobs(store: Store, key: str) -> None:
    """Ask SLURM not to start what of the jobs of a held run waits in the queue.

    Raises
    ------
    Busy
        If another process advances the run for four minutes.
    SchedulerUnreachable
        If SLURM does not answer. The run is held nevertheless.
    """
    check_not_copied(store, key)
    scheduler, end = scheduler_of(store, store.record(key)), time.monotonic() + CANCEL_WAIT
    try:
        advance_until(holds_its_jobs, store, key, scheduler, end, "hold")
    except SchedulerUnreachable as error:
        hint = f"Run {key} is held. To hold its jobs in the queue, too, when SLURM answers: orchestrator hold {key}"
        raise SchedulerUnreachable(error.message, hint) from error
