"""Advance a run on a cluster to its end, from a login node: for clusters whose nodes may not submit jobs.

Its pauses are those of an orchestrator job: `PAUSES` in `orchestrator.engine.cluster.orchestrate`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from itertools import chain, repeat

from orchestrator.db.store import Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.orchestrate import PAUSES
from orchestrator.engine.cluster.session import hold_lease_on_cluster, make_context, scheduler_of
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import Interrupts, interrupted_as, interrupts
from orchestrator.errors import Busy, DefinitionError
from orchestrator.machine.headlines import headline
from orchestrator.machine.model import Run

__all__ = ["drive"]


def drive(store: Store, key: str, *, timeout: float | None, say: Callable[[str], None]) -> None:
    """Advance a run until it has ended, or until the timeout is over. Any other process may do the same.

    Parameters
    ----------
    store : Store
        Where it is recorded.
    key : str
        The run's key.
    timeout : float or None
        Seconds; None for no limit.
    say : callable
        Called with each line to print.

    Raises
    ------
    Interrupted
        On Ctrl-C, SIGTERM or SIGHUP. The jobs of the run stay in the queue.
    DefinitionError
        If this process is part of a job, and nodes may not submit.
    """
    end = math.inf if timeout is None else time.monotonic() + timeout
    what = f"Run {key} is no longer driven. Its jobs stay in the queue, but its next steps are not submitted from here."
    hint = f"To continue: orchestrator wait {key} --drive"
    with interrupts() as signals, interrupted_as(what, hint, signals):
        driver = _Driver(store, key, end, say, signals)
        while not store.load(key).has_ended and time.monotonic() < end:
            try:
                driver.lease_and_advance()
                driver.wait_for_change()
            except Busy as error:
                # Another process advances the run now, or SLURM does not answer.
                driver.say_once(error.message)
                driver.wait(PAUSES[2])


def _check_place(context: Context) -> None:
    """Raise `DefinitionError` in a job of a cluster whose nodes may not submit."""
    if context.in_job and context.store.load(context.key).login_only is not None:
        raise DefinitionError(
            f"This process is part of job {context.enclosing_job}, and nodes of this cluster may not submit jobs.",
            f"Type it in a shell of a login node, outside of any job: orchestrator wait {context.key} --drive",
        )


class _Driver:
    def __init__(self, store: Store, key: str, end: float, say: Callable[[str], None], signals: Interrupts) -> None:
        self._store = store
        self._key = key
        self._end = end
        self._say = say
        self._signals = signals
        self._said = ""
        self._before: Run | None = None
        self._pauses = iter(PAUSES)
        self._is_cancel_requested = threading.Event()

    def lease_and_advance(self) -> None:
        """Advance once; where only login nodes submit, advance until the end of the run.

        Then no other process does, and the lease shows to others that this one is there. Otherwise the orchestrator
        jobs need the lease between two advances.

        Raises
        ------
        Busy
            If this can't be done now.
        DefinitionError
            If this process may not submit.
        """
        scheduler = scheduler_of(self._store, self._store.record(self._key))
        on_cancel = self._is_cancel_requested.set
        with hold_lease_on_cluster(self._store, self._key, scheduler, on_cancel) as fence:
            context = make_context(self._store, self._key, fence, scheduler)
            _check_place(context)
            while time.monotonic() < self._end:
                run = advance(context)
                if run != self._before:
                    self._before, self._pauses = run, chain(PAUSES, repeat(PAUSES[-1]))
                if run.has_ended:
                    return
                self.say_once(headline(run))
                if run.login_only is None:
                    return
                self.wait_for_change()

    def say_once(self, line: str) -> None:
        """Print a line, unless it is the last one that was printed."""
        if line != self._said:
            self._said = line
            self._say(line)

    def wait_for_change(self) -> None:
        """Pause before the next advance, unless the run has ended: longer, the longer nothing has changed."""
        if self._before is None or not self._before.has_ended:
            self.wait(next(self._pauses))

    def wait(self, seconds: float) -> None:
        """Pause, at most until a user requests to cancel. Only here a signal is raised: no transaction is open."""
        with self._signals.allowed():
            self._is_cancel_requested.wait(max(0.0, min(seconds, self._end - time.monotonic())))
        self._is_cancel_requested.clear()
