"""Bring a run as far as it goes now: look, reconcile, then decide and perform until there is nothing to do.

Safe to call at any time, from anywhere, any number of times, by whoever holds the run's lease.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from orchestrator.engine.context import Context
from orchestrator.engine.observe import observe, own_facts
from orchestrator.engine.perform import perform
from orchestrator.machine.changes import AddStepRun, Change, apply, submitting
from orchestrator.machine.decide import decide
from orchestrator.machine.intents import Intent, Record, Submit
from orchestrator.machine.model import Run
from orchestrator.machine.outcomes import must_wait
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.wakeup import ensure_wakeup

__all__ = ["advance", "observe_and_record"]

WhatNext = Callable[[Run], Intent | None]


def advance(context: Context) -> Run:
    """Advance a run until it waits for the world, or has ended.

    What only moves records is gathered and written together; the intent is always written before its effect, and the
    effect's outcome before the next decision that has one.

    Returns
    -------
    Run
        As recorded.
    """
    run = context.store.load(context.key)
    if context.own_token is not None:
        # Before the scheduler is asked: it may not answer, and then somebody has to come again.
        run = _pursue(context, run, reconcile(run, own_facts(context)), ensure_wakeup)
    return _pursue(context, run, reconcile(run, observe(context, run)) if run.needs_observation else [], decide)


def observe_and_record(context: Context) -> Run:
    """Record what became of the jobs, and decide nothing: the last act of a process that was asked to stop."""
    run = context.store.load(context.key)
    return _write(context, run, reconcile(run, observe(context, run)))


def _pursue(context: Context, run: Run, changes: list[Change], what_next: WhatNext) -> Run:
    while True:
        run, changes, intent = _think(context, run, changes, what_next)
        run = _write(context, run, changes)
        if intent is None or isinstance(intent, Record):
            return run
        changes = perform(context, run, intent)
        if must_wait(intent, changes):
            return _write(context, run, changes)


def _think(
    context: Context, run: Run, changes: list[Change], what_next: WhatNext
) -> tuple[Run, list[Change], Intent | None]:
    """Apply changes in memory and decide, for as long as nothing outside has to happen.

    What is about to be submitted is among the changes.
    """
    thought = reduce(apply, changes, run)
    intent = what_next(thought)
    while isinstance(intent, Record):
        more = [_with_epoch(context, change) for change in intent.changes]
        changes = [*changes, *more]
        thought = reduce(apply, more, thought)
        intent = what_next(thought)
    if isinstance(intent, Submit):
        changes = [*changes, submitting(thought.job(intent.token))]
    # The records, not the thought, are what the next writes start from.
    return run, changes, intent


def _with_epoch(context: Context, change: Change) -> Change:
    if not isinstance(change, AddStepRun):
        return change
    epoch, first_attempt = context.store.next_epoch(context.key, change.position)
    return change._replace(epoch=epoch, first_attempt=first_attempt)


def _write(context: Context, run: Run, changes: list[Change]) -> Run:
    if not changes:
        return run
    written = context.store.write(context.key, context.fence, changes, context.clock())
    context.progress.changed(written, changes)
    return written
