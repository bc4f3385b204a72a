"""Hold a run's lease while something is done with it, and hear what others ask meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.db.store import Holder, Store
from orchestrator.errors import DatabaseBusy

__all__ = ["hold_lease"]

BEAT = 15.0
"""Seconds between two beats; another host takes over after 180 s without one."""

LISTEN = 1.0
"""Seconds between two looks for a request to cancel."""


@contextmanager
def hold_lease(
    store: Store,
    key: str,
    on_cancel: Callable[[], None] | None = None,
    *,
    beats: bool = False,
    gone: Holder | None = None,
) -> Iterator[int]:
    """Take the lease of a run, and give it back at the end.

    Parameters
    ----------
    store : Store
    key : str
    on_cancel : callable, optional
        Called once, in another thread, when somebody asks to cancel the run.
    beats : bool, default False
        Whether the lease has a beat though nobody listens: for what may take more than a moment.
    gone : Holder, optional
        Somebody of whom the scheduler has said that they are no more.

    Yields
    ------
    int
        The fence.

    Raises
    ------
    LeaseHeld
        If another process holds it.
    """
    fence = store.take_lease(key, Holder.this_process(), time.time(), gone)
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
        store.release_lease(key, fence)


def _beat(store: Store, key: str, fence: int, on_cancel: Callable[[], None] | None, stop: threading.Event) -> None:
    last, heard = time.monotonic(), on_cancel is None
    while not stop.wait(BEAT if on_cancel is None else LISTEN):
        try:
            if time.monotonic() - last >= BEAT:
                store.beat(key, fence, time.time())
                last = time.monotonic()
            if not heard and store.record(key).cancel_requested_at is not None:
                heard = True
                if on_cancel is not None:
                    on_cancel()
        except DatabaseBusy:
            # Whoever keeps the database busy lets go some time; the lease lives for twelve beats.
            continue
