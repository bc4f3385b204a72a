"""Resume a run: withdraw what is repeated, and begin at the position that the user names or where it stopped.

What is withdrawn, and when a resume is refused, is decided in `orchestrator.machine.rewind`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.advance import observe_and_record, with_epoch
from orchestrator.engine.context import Context
from orchestrator.engine.table_jobs import table_was_changed
from orchestrator.errors import Busy, DefinitionError, StudyChanged
from orchestrator.machine.announce import announce_new_plan
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import replan
from orchestrator.machine.rewind import WHERE_IT_STOPPED, Begin, reopening

if TYPE_CHECKING:
    from orchestrator.engine.code import CheckedPipeline

__all__ = ["with_resume_hint", "position_of", "reopen", "check_same_steps"]


@contextmanager
def with_resume_hint(key: str) -> Iterator[None]:
    """Replace the hint of a `Busy` in this block by `resume`: the command that was typed could create another run."""
    try:
        yield
    except Busy as error:
        if type(error) is not Busy:
            raise  # A subclass has a better hint.
        raise Busy(error.message, f"Continue after that: orchestrator resume {key}") from error


def reopen(context: Context, begin: Begin) -> None:
    """Withdraw the steps that must be repeated, and make an ended run active."""
    run = observe_and_record(context)
    # A run that has ended has no open step run.
    has_new_table = begin == WHERE_IT_STOPPED and not run.has_ended and table_was_changed(context, run)
    changes = reopening(run, context.store.history.valid_step_runs(context.key), begin, has_new_table=has_new_table)
    changes = [with_epoch(context, change) for change in changes]
    if run.cancel_requested:
        context.store.clear_cancel_request(context.key, context.fence)
    if changes:
        context.store.write(context.key, context.fence, changes, context.clock())


def check_same_steps(store: Store, record: RunRecord, checked: CheckedPipeline) -> None:
    """Raise `StudyChanged` if a run that has succeeded has other steps than a pipeline."""
    plan, study = checked.plan, checked.study
    shapes = [(p.size, [(step.path, step.name) for step in p.steps()]) for p in (record.plan, plan)]
    if shapes[0] != shapes[1]:
        run, steps = store.load(record.key), store.history.valid_step_runs(record.key)
        replanned = replan(run, steps, plan, asks_again=False, study=study)  # may raise it, too
        would = " ".join(announce_new_plan(steps, replanned, plan))
        raise StudyChanged(
            f"Run {record.key} has succeeded, but its steps are not those of this pipeline. Nothing runs."
            + (f"\nAn update does this: {would}" if would else ""),
            f"To continue the run with it: orchestrator resume {record.key} --update {study}\n"
            f"In Python: pipeline.resume({record.key!r}, update=True)",
        )


def position_of(key: str, plan: Plan, address: str) -> int:
    """Return the position of an address in a run's plan.

    Raises
    ------
    DefinitionError
        If the plan has no such step.
    """
    position = plan.find(address)
    if position is None:
        raise DefinitionError(f"Run {key} has no step {address!r}.", plan.existing(address))
    return position
