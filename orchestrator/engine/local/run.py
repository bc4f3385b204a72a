"""Run all steps of a run on this machine, in this process, until the run has ended."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.db.lease_holder import Holder
from orchestrator.db.store import Store
from orchestrator.engine.advance import Decision, advance, observe_and_record
from orchestrator.engine.code import CheckedPipeline, replace_code
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import Interrupts, interrupts
from orchestrator.engine.lease import hold_lease
from orchestrator.engine.local.failed import run_failed
from orchestrator.engine.local.local_scheduler import LocalScheduler
from orchestrator.engine.progress import Console, Progress, Silent, console_now, progress_for, standard_error
from orchestrator.engine.resume import reopen, with_resume_hint
from orchestrator.errors import (
    Busy,
    Cancelled,
    DamagedRecords,
    DatabaseBusy,
    DatabaseError,
    DatabaseTooNew,
    DatabaseTooOld,
    DataError,
    Interrupted,
    LeaseHeld,
    NotADatabase,
    NotFound,
    TableBusy,
)
from orchestrator.host import usable_cpus
from orchestrator.machine.decide import cancel_open_step, decide
from orchestrator.machine.headlines import how_it_ended
from orchestrator.machine.intents import Finish, Intent
from orchestrator.machine.kinds import StopSignal
from orchestrator.machine.model import Run
from orchestrator.machine.rewind import WHERE_IT_STOPPED, Begin
from orchestrator.machine.states import FailureKind
from orchestrator.machine.steering import has_stopped_at
from orchestrator.machine.wording import STOPS

if TYPE_CHECKING:
    from orchestrator.definition.bundle import LoadedStep

__all__ = ["cancel_local_run", "cancel_local_step", "run_to_end"]

CANCEL_WAIT = 60.0
"""Seconds for which `cancel` waits for a step to stop."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two tries while the records can't be used; each pause is twice the one before."""

Load = Callable[[str], "LoadedStep"]


def run_to_end(
    store: Store,
    key: str,
    load: Load,
    jobs: int | None,
    *,
    begin: Begin = WHERE_IT_STOPPED,
    checked: CheckedPipeline | None = None,
) -> None:
    """Advance a run until it has ended.

    Parameters
    ----------
    store : Store
        Where it is recorded.
    key : str
        The run's key.
    load : callable
        Returns the step at a path of the plan.
    jobs : int or None
        Number of worker processes; None: one for each CPU that this process may use.
    begin : Begin, optional
        Where it continues; by default where it stopped.
    checked : CheckedPipeline, optional
        New code for it.

    Raises
    ------
    RunFailed
        If a step failed.
    Interrupted
        If it was stopped or cancelled.
    LeaseHeld
        If another process holds it.
    """
    with standard_error() as stream:
        progress = progress_for(stream)
        _run_and_report(store, key, load, jobs, begin, checked, progress)


def _run_and_report(
    store: Store,
    key: str,
    load: Load,
    jobs: int | None,
    begin: Begin,
    checked: CheckedPipeline | None,
    progress: Progress,
) -> None:
    """Advance a run to its end, and report that.

    At most `jobs` experiments are evaluated at the same time; by default as many as `usable_cpus` says.
    """
    prints_output = console_now() is Console.OUTPUT
    folder = store.workspace.run(key)
    n_workers = jobs or usable_cpus()
    step_thread = threading.current_thread()

    def on_cancel() -> None:
        scheduler.stop(FailureKind.CANCELLED)
        signals.cancel(step_thread)

    try:
        with interrupts() as signals, hold_lease(store, key, on_cancel) as fence:
            scheduler = LocalScheduler(
                folder,
                load,
                n_workers,
                progress.evaluated,
                interruptible=signals.allowed,
                prints_output=prints_output,
            )
            context = _context(store, key, fence, scheduler, progress)
            if checked is not None:
                context = replace_code(context, checked, begin)
            with closing(scheduler), signals.recorded_by(partial(_record_stop, context)):
                reopen(context, begin)
                run = _advance_to_end(context, scheduler, signals)
    finally:
        progress.close()
    _report_end(store, run, scheduler, progress, prints_output=prints_output)


def cancel_local_run(store: Store, key: str) -> Run:
    """Carry out a requested cancel: wait for the process that advances the run, or, if there is none, do it here.

    Returns
    -------
    Run
        The run after its end.

    Raises
    ------
    Busy
        If its step does not stop in time.
    """
    return _cancel(store, key, lambda run: run.has_ended, decide, f"orchestrator cancel {key}")


def cancel_local_step(store: Store, key: str, position: int) -> Run:
    """Carry out the requested cancel of the open step run, as `cancel_local_run` does; the run may continue."""
    address = shlex.quote(store.load(key).plan.slot(position).address)
    command = f"orchestrator cancel {key} --step {address}"
    return _cancel(store, key, lambda run: has_stopped_at(run, position), _decide_about_cancel, command)


def _decide_about_cancel(run: Run) -> Intent | None:
    """Decide only about the step: a step that follows needs a process that runs it."""
    cancel = cancel_open_step(run)
    if cancel is not None or run.has_ended:
        return cancel
    intent = decide(run)
    return intent if isinstance(intent, Finish) else None


def _cancel(store: Store, key: str, has_ended: Callable[[Run], bool], decide_next: Decision, command: str) -> Run:
    end = time.monotonic() + CANCEL_WAIT
    while True:
        try:
            with hold_lease(store, key) as fence:
                scheduler = LocalScheduler(store.workspace.run(key), _no_code, 1, _ignore)
                return advance(_context(store, key, fence, scheduler, Silent()), decide_next)
        except LeaseHeld as held:
            # The holder checks for the request once a second, stops its step and records that.
            run = store.load(key)
            if has_ended(run):
                return run
            if time.monotonic() > end:
                raise _not_stopped(key, held, command) from None
            time.sleep(0.1)


def _not_stopped(key: str, held: LeaseHeld, command: str) -> Busy:
    message = f"The step of run {key} has not stopped {CANCEL_WAIT:.0f} s after the request to cancel it."
    hint = f"The request is recorded: the step ends when it can. Then check the run: orchestrator status {key}"
    if isinstance(held.holder, Holder):
        hint += f"\nTo end it at once, type on {held.holder.host}: kill -9 {held.holder.pid}"
        hint += f"\nAfter that: {command}"
    return Busy(message, hint)


def _context(store: Store, key: str, fence: int, scheduler: LocalScheduler, progress: Progress) -> Context:
    return Context(store, store.record(key), fence, store.workspace.run(key), scheduler, progress)


def _advance_to_end(context: Context, scheduler: LocalScheduler, signals: Interrupts) -> Run:
    while True:
        try:
            run = _advance_patiently(context, signals)
            if run.has_ended:
                return run
            if run.is_held and not scheduler.has_job:
                raise Busy(
                    f"Run {context.key} is held; all results are kept.",
                    f"To continue it: orchestrator release {context.key}",
                )
            scheduler.wait()
        except KeyboardInterrupt:
            record = context.store.record(context.key)
            if record.cancel_requested_at is not None:
                continue
            if record.cancel_step is not None and signals.stopped_by is None:
                scheduler.stop_no_longer()
                signals.forget_cancel()
                continue
            observe_and_record(context)
            # The user's code may raise a KeyboardInterrupt, too.
            stopped_by = signals.stopped_by or StopSignal.INTERRUPT
            _record_stop(context, stopped_by)
            raise Interrupted(
                f"Run {context.key} was stopped ({STOPS[stopped_by]}); all results are kept.",
                f"To continue: orchestrator resume {context.key}",
                signals.exit_code,
            ) from None


def _record_stop(context: Context, stopped_by: StopSignal) -> None:
    context.store.record_stop(context.key, context.fence, stopped_by, context.clock())


def _advance_patiently(context: Context, signals: Interrupts) -> Run:
    """Advance; while the records or a table can't be used, say so and retry: a file system may not answer for long."""
    pause = FIRST_PAUSE
    while True:
        try:
            with with_resume_hint(context.key):
                return advance(context)
        except (DatabaseBusy, DatabaseError, NotFound, TableBusy) as error:
            if isinstance(error, NotADatabase | DatabaseTooNew | DatabaseTooOld | DamagedRecords):
                raise
            what = "its table" if isinstance(error, TableBusy) else "its records"
            words = f"{error.message.rstrip('.')}. The run continues when {what} can be used; Ctrl-C ends it."
            context.progress.say(words[:1].upper() + words[1:])
            with signals.allowed():
                time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _report_end(store: Store, run: Run, scheduler: LocalScheduler, progress: Progress, *, prints_output: bool) -> None:
    if run.was_cancelled:
        raise Cancelled(f"Run {run.key} was cancelled.", f"To continue it: orchestrator resume {run.key}")
    if run.has_failed:
        has_run = run.step_run is not None and run.step_run.has_failed and run.step_run.jobs
        raise run_failed(store, run) from (scheduler.exception if has_run else None)
    progress.end(f"Run {run.key} {how_it_ended(run)}.")
    if scheduler.has_printed and not prints_output:
        progress.end(f"Output of its steps: orchestrator logs {run.key} {shlex.quote(scheduler.has_printed)}")


def _no_code(path: str) -> LoadedStep:
    raise DataError(f"the code of {path} was requested by a process that runs no step")


def _ignore(n: int) -> None:
    """Show nothing."""
