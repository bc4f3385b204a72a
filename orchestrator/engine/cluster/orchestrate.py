"""Advance a run on a cluster: once, from anywhere, or again and again, as its orchestrator job does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, repeat

from orchestrator.db.store import Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.session import hold_run
from orchestrator.engine.context import Context
from orchestrator.errors import Busy
from orchestrator.machine.summary import describe, headline
from orchestrator.machine.wakeup import end_of_orchestrator, why_poll_again

__all__ = ["advance_now", "poll", "orchestrate"]

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between two advances of an orchestrator job; the last is repeated."""


def advance_now(store: Store, key: str, *, is_tail: bool = False) -> str:
    """Advance a run once, from anywhere.

    Parameters
    ----------
    store : Store
    key : str
    is_tail : bool, default False
        Whether this process is the tail of a step's job.

    Returns
    -------
    str
        One sentence: what came of it.
    """
    with hold_run(store, key) as context:
        return describe(advance(context._replace(is_tail=is_tail)))


def orchestrate(store: Store, key: str, token: str, job_id: str, patience: float, say: Callable[[str], None]) -> None:
    """Do what an orchestrator job is for: advance, until the end of some job makes somebody come after it.

    Parameters
    ----------
    store : Store
    key : str
    token, job_id : str
        Of the orchestrator job.
    patience : float
        Seconds for which it looks again, where that is needed; then its successor does.
    say : callable
        Told one line at a time.
    """
    for pause in poll(partial(hold_run, store, key, token, job_id), patience, say, time.monotonic):
        time.sleep(pause)


def poll(
    hold: Callable[[], AbstractContextManager[Context]],
    patience: float,
    say: Callable[[str], None],
    clock: Callable[[], float],
) -> Iterator[float]:
    """Advance once per item, and give the seconds until the next look; the end comes when none is needed any more.

    Parameters
    ----------
    hold : callable
        Gives the block in which the run is held.
    patience, say
        As of `orchestrate`.
    clock : callable
        Gives seconds.
    """
    end = clock() + patience
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        why = _advance_once(hold, say)
        if why is None:
            return
        if clock() + pause > end:
            say(f"{why}; the time for looking is up")
            return
        say(f"{why}; looks again in {pause:.0f} s")
        yield pause


def _advance_once(hold: Callable[[], AbstractContextManager[Context]], say: Callable[[str], None]) -> str | None:
    """Advance once, and tell why that was not enough."""
    try:
        with hold() as context:
            run = advance(context)
            why = why_poll_again(run)
            if why is None and context.own_token is not None:
                context.store.write(
                    context.key, context.fence, end_of_orchestrator(run, context.own_token), context.clock()
                )
                say(headline(run))
            return why
    except Busy as error:
        return error.message
