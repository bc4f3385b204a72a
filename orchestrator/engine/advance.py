"""Advance a run as far as it goes now: observe, reconcile, then decide and perform until there is nothing to do.

This is safe at any time, in any process that holds the run's lease, and any number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from orchestrator.engine.context import Context
from orchestrator.engine.observe import observe, own_facts
from orchestrator.engine.perform import perform
from orchestrator.machine.changes import AddStepRun, Change, MoveStepRun, apply, submitting
from orchestrator.machine.decide import decide
from orchestrator.machine.intents import Intent, Record, Submit
from orchestrator.machine.model import Run
from orchestrator.machine.outcomes import must_wait
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.wakeup import ensure_wakeup, is_for_login_node

__all__ = ["Decision", "advance", "observe_and_record", "with_epoch"]

Decision = Callable[[Run], Intent | None]


def advance(context: Context, decide_next: Decision = decide) -> Run:
    """Advance a run until it has ended, or must wait for something outside.

    Changes that only move records are written together. An intent is written before its effect, and the outcome of an
    effect before the next effect.

    Parameters
    ----------
    context : Context
        The run, its scheduler and the lease.
    decide_next : callable, optional
        Decides; by default about everything.

    Returns
    -------
    Run
        As recorded.
    """
    run = context.store.load(context.key)
    if context.own_token is not None:
        # Before the scheduler is queried: if it does not answer, another orchestrator job must advance the run.
        run = _act_until_idle(context, run, reconcile(run, own_facts(context)), ensure_wakeup)
    return _act_until_idle(
        context, run, reconcile(run, observe(context, run)) if run.needs_observation else [], decide_next
    )


def observe_and_record(context: Context) -> Run:
    """Record what became of the jobs, and decide nothing."""
    run = context.store.load(context.key)
    return _write(context, run, reconcile(run, observe(context, run)))


def _act_until_idle(context: Context, run: Run, changes: list[Change], decide_next: Decision) -> Run:
    while True:
        changes, intent = _decide_in_memory(context, run, changes, decide_next)
        run = _write(context, run, changes)
        if intent is None or isinstance(intent, Record):
            return run
        changes = perform(context, run, intent)
        if must_wait(intent, changes):
            return _write(context, run, changes)


def _decide_in_memory(
    context: Context, run: Run, changes: list[Change], decide_next: Decision
) -> tuple[list[Change], Intent | None]:
    """Apply changes in memory and decide, until the next intent has an effect outside the records.

    Returns
    -------
    changes : list of Change
        All that are to be written before the effect; if it is a submission, with the move to `submitting`.
    intent : Intent or None
        What is to be done next.
    """
    model = reduce(apply, changes, run)
    intent = decide_next(model)
    while isinstance(intent, Record):
        more = [_with_all_counts(context, model, with_epoch(context, change)) for change in intent.changes]
        changes = [*changes, *more]
        model = reduce(apply, more, model)
        intent = decide_next(model)
    if context.in_job and is_for_login_node(model, intent):
        intent = None
    if isinstance(intent, Submit):
        changes = [*changes, submitting(model.job(intent.token))]
    return changes, intent


def with_epoch(context: Context, change: Change) -> Change:
    """Return a change with the epoch of the step run that it adds, if it does."""
    if not isinstance(change, AddStepRun):
        return change
    epoch, first_attempt, accepts_failed = context.store.history.next_epoch(context.key, change.position)
    accepts_failed = accepts_failed or change.accepts_failed
    return change._replace(epoch=epoch, first_attempt=first_attempt, accepts_failed=accepts_failed)


def _with_all_counts(context: Context, run: Run, change: Change) -> Change:
    """Return a change with the experiments that tasks have evaluated before they died, if it ends their step."""
    if not isinstance(change, MoveStepRun) or not change.is_flawed:
        return change
    if run.step_run is None or change.n_finished is None:
        return change
    from orchestrator.engine.live import counts_without_receipts

    n_finished, n_failed = counts_without_receipts(context.folder, run.step_run)
    return change._replace(n_finished=change.n_finished + n_finished, n_failed=(change.n_failed or 0) + n_failed)


def _write(context: Context, run: Run, changes: list[Change]) -> Run:
    if not changes:
        return run
    written = context.store.write(context.key, context.fence, changes, context.clock())
    context.progress.changed(written, changes)
    return written
