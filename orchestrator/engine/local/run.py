"""Drive a run on this machine, in this process, to its end."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.db.store import Store
from orchestrator.engine.advance import advance, observe_and_record
from orchestrator.engine.code import CheckedPipeline, take_code
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import interrupts
from orchestrator.engine.lease import hold_lease
from orchestrator.engine.local.scheduler import LocalScheduler
from orchestrator.engine.progress import Progress, Silent, progress_for
from orchestrator.engine.resume import reopen, with_resume_hint
from orchestrator.errors import Busy, DataError, Interrupted, LeaseHeld, RunFailed
from orchestrator.machine.model import Run
from orchestrator.machine.states import FailureKind
from orchestrator.machine.summary import outcome

if TYPE_CHECKING:
    from orchestrator.definition.bundle import LoadedStep

__all__ = ["cancel_local_run", "run_to_end"]

CANCEL_WAIT = 60.0
"""Seconds that `cancel` waits for a step to stop."""

Load = Callable[[str], "LoadedStep"]


def run_to_end(
    store: Store,
    key: str,
    load: Load,
    jobs: int | None,
    *,
    position: int | None = None,
    checked: CheckedPipeline | None = None,
) -> None:
    """Hold a run until it has ended.

    Parameters
    ----------
    store : Store
    key : str
    load : callable
        Gives the step of a path.
    jobs : int or None
        Worker processes; None: the CPUs that this process may use.
    position : int, optional
        From where it goes on; by default where it stands.
    checked : CheckedPipeline, optional
        New code for it.

    Raises
    ------
    RunFailed, Interrupted, LeaseHeld
    """
    progress = progress_for()
    folder = store.workspace.run(key)
    n_workers = jobs or len(os.sched_getaffinity(0))
    here = threading.current_thread()

    def on_cancel() -> None:
        scheduler.stop(FailureKind.CANCELLED)
        # To the thread that runs the step, or a step that waits would not notice.
        if here is threading.main_thread() and here.ident is not None:
            signal.pthread_kill(here.ident, signal.SIGINT)

    try:
        with interrupts() as ctrl_c, hold_lease(store, key, on_cancel) as fence:
            scheduler = LocalScheduler(folder, load, n_workers, progress.evaluated, interruptible=ctrl_c.allowed)
            context = _context(store, key, fence, scheduler, progress)
            if checked is not None:
                context = take_code(context, checked)
            reopen(context, position)
            run = _to_the_end(context, scheduler)
    finally:
        progress.close()
    _report(run, scheduler, progress)


def cancel_local_run(store: Store, key: str) -> Run:
    """Cancel a run of this machine that was asked to stop: wait for whoever advances it, or, where nobody does, do it.

    Returns
    -------
    Run
        As it ended.

    Raises
    ------
    Busy
        If its step does not stop.
    """
    end = time.monotonic() + CANCEL_WAIT
    while True:
        try:
            with hold_lease(store, key) as fence:
                scheduler = LocalScheduler(store.workspace.run(key), _no_code, 1, _ignore)
                return advance(_context(store, key, fence, scheduler, Silent()))
        except LeaseHeld:
            # The holder listens once a second; it stops its step, then records.
            run = store.load(key)
            if run.has_ended:
                return run
            if time.monotonic() > end:
                raise Busy(
                    f"Run {key} was asked to stop {CANCEL_WAIT:.0f} s ago, but its step has not stopped yet.",
                    "It ends with the step. To end it now, kill the process that `orchestrator status` names, then "
                    f"type: orchestrator cancel {key}",
                ) from None
            time.sleep(0.1)


def _context(store: Store, key: str, fence: int, scheduler: LocalScheduler, progress: Progress) -> Context:
    return Context(store, store.record(key), fence, store.workspace.run(key), scheduler, progress)


def _to_the_end(context: Context, scheduler: LocalScheduler) -> Run:
    while True:
        try:
            with with_resume_hint(context.key):
                run = advance(context)
            if run.has_ended:
                return run
            scheduler.wait()
        except KeyboardInterrupt:
            if context.store.record(context.key).cancel_requested_at is not None:
                continue
            observe_and_record(context)
            raise Interrupted(
                f"Run {context.key} was stopped; everything that was evaluated is kept.",
                f"To go on: orchestrator resume {context.key}",
            ) from None


def _report(run: Run, scheduler: LocalScheduler, progress: Progress) -> None:
    if run.was_cancelled:
        raise Interrupted(f"Run {run.key} was cancelled.", f"To go on after all: orchestrator resume {run.key}")
    if run.has_failed:
        see, exception = _traceback(run), scheduler.exception
        raise RunFailed(
            f"Run {run.key} failed: {run.reason}.", f"{see}Then go on: orchestrator resume {run.key}"
        ) from (exception if see else None)
    progress.say(f"Run {run.key} {outcome(run)}.")


def _traceback(run: Run) -> str:
    # What failed without a job has none, and neither has the end of a run.
    if run.step_run is None or not run.step_run.has_failed or not run.step_run.jobs:
        return ""
    address = shlex.quote(run.plan.slot(run.step_run.position).address)
    return f"See the traceback: orchestrator logs {run.key} {address}\n"


def _no_code(path: str) -> LoadedStep:
    raise DataError(f"the code of {path} was asked for where nothing should run")


def _ignore(n: int) -> None:
    """Nobody watches."""
