"""Hold the lease of a run, send its heartbeat, and watch for a request to cancel.

It does not wait for another process: while that holds the lease, `LeaseHeld` is raised at once. An orchestrator job
tries again for a while (`orchestrator.engine.cluster.orchestrate`). When a process may take the lease of another one is
decided in `orchestrator.db.lease_holder`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from orchestrator.db.lease_holder import Holder
from orchestrator.db.store import Store
from orchestrator.errors import DatabaseBusy, DatabaseError, NotFound

__all__ = ["hold_lease"]

BEAT = 15.0
"""Seconds between two heartbeats; a process of another host may take the lease after 180 s without one."""

CANCEL_POLL = 1.0
"""Seconds between two checks for a request to cancel."""


@contextmanager
def hold_lease(
    store: Store,
    key: str,
    on_cancel: Callable[[], None] | None = None,
    *,
    beats: bool = False,
    dead_holder: Holder | None = None,
) -> Iterator[int]:
    """Take the lease of a run, and release it at the end of the block.

    Parameters
    ----------
    store : Store
        Where the run is recorded.
    key : str
        The run's key.
    on_cancel : callable, optional
        Called in another thread when a user requests to cancel the run, or a step of it.
    beats : bool, default False
        Whether to send a heartbeat without `on_cancel`, too: for work that may take longer than a moment.
    dead_holder : Holder, optional
        A holder whose job has ended, according to the scheduler; its lease is taken at once.

    Yields
    ------
    int
        The fence of the lease.

    Raises
    ------
    LeaseHeld
        If another process holds it.
    """
    fence = store.leases.take(key, Holder.this_process(), time.time(), dead_holder)
    stop = threading.Event()
    heart = None
    if on_cancel is not None or beats:
        heart = threading.Thread(target=_beat, args=(store, key, fence, on_cancel, stop), daemon=True)
        heart.start()
    try:
        yield fence
    finally:
        stop.set()
        if heart is not None:
            heart.join()
        # A process that has ended holds no lease either. A lock of another process must not fail a run that has ended.
        with suppress(DatabaseBusy):
            store.leases.release(key, fence)


def _beat(store: Store, key: str, fence: int, on_cancel: Callable[[], None] | None, stop: threading.Event) -> None:
    last_beat_at = time.monotonic()
    known: tuple[float | None, int | None] = (None, None)
    while not stop.wait(BEAT if on_cancel is None else CANCEL_POLL):
        try:
            if time.monotonic() - last_beat_at >= BEAT:
                store.leases.beat(key, fence, time.time())
                last_beat_at = time.monotonic()
            if on_cancel is not None:
                record = store.record(key)
                requested = (record.cancel_requested_at, record.cancel_step)
                if requested not in (known, (None, None)):
                    on_cancel()
                known = requested
        except (DatabaseBusy, DatabaseError, NotFound):
            # Retried at the next turn; the lease lasts for twelve heartbeats.
            continue
