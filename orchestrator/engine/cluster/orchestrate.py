"""Advance a run on a cluster: once, from anywhere, or repeatedly, as its orchestrator job does.

How long an orchestrator job polls is an argument in its script: `_patience` in `orchestrator.engine.cluster.scripts`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, repeat

from orchestrator.db.store import Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.session import with_lease_on
from orchestrator.engine.context import Context
from orchestrator.errors import Busy
from orchestrator.machine.headlines import describe, headline
from orchestrator.machine.wakeup import end_of_orchestrator, why_orchestrator_polls, why_poll_again

__all__ = ["advance_now", "poll", "orchestrate"]

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between two advances of an orchestrator job; the last one is repeated."""


def advance_now(store: Store, key: str, *, is_tail: bool = False) -> str:
    """Advance a run once, from anywhere.

    Parameters
    ----------
    store : Store
        Where it is recorded.
    key : str
        The run's key.
    is_tail : bool, default False
        Whether this process is the tail of a step's job.

    Returns
    -------
    str
        One sentence: the result.
    """
    with with_lease_on(store, key) as context:
        return describe(advance(context._replace(is_tail=is_tail)))


def orchestrate(store: Store, key: str, token: str, job_id: str, patience: float, say: Callable[[str], None]) -> None:
    """Do the work of an orchestrator job: advance the run until the end of another job will wake it.

    Parameters
    ----------
    store : Store
        Where the run is recorded.
    key : str
        The run's key.
    token, job_id : str
        Token and SLURM id of the orchestrator job.
    patience : float
        Seconds for which it polls, if that is needed; after that its successor continues.
    say : callable
        Called with each line to print.
    """
    for pause in poll(partial(with_lease_on, store, key, token, job_id), patience, say, time.monotonic):
        time.sleep(pause)


def poll(
    lease: Callable[[], AbstractContextManager[Context]],
    patience: float,
    say: Callable[[str], None],
    clock: Callable[[], float],
) -> Iterator[float]:
    """Advance repeatedly, and yield after each time the seconds to wait; end when no other advance is needed.

    Parameters
    ----------
    lease : callable
        Returns the block in which this process holds the run's lease.
    patience, say
        See `orchestrate`.
    clock : callable
        Returns seconds.
    """
    end = clock() + patience
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        why = _advance_once(lease, say)
        if why is None:
            return
        if clock() + pause > end:
            say(f"{why}; the time for polling is over")
            return
        say(f"{why}; polls again in {pause:.0f} s")
        yield pause


def _advance_once(lease: Callable[[], AbstractContextManager[Context]], say: Callable[[str], None]) -> str | None:
    """Advance once, and return why another advance is needed; None if none is."""
    try:
        with lease() as context:
            run = advance(context)
            is_orchestrator = context.own_token is not None
            why = why_orchestrator_polls(run) if is_orchestrator else why_poll_again(run)
            if why is None and context.own_token is not None:
                own_end = end_of_orchestrator(run, context.own_token)
                if own_end:
                    context.store.write(context.key, context.fence, own_end, context.clock())
                say(headline(run))
            return why
    except Busy as error:
        return error.message
