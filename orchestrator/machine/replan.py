"""A run whose pipeline has changed: which step runs still count, and where it continues.

Step runs are compared with the new plan in order. The first one that would not follow the one before it in the new plan
is withdrawn with all later ones: after a loop has become longer, the steps after it run again. Positions of step runs
that count never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.errors import StudyChanged
from orchestrator.machine.changes import Change, ForgetAnswer, MoveRun
from orchestrator.machine.kinds import StepKind
from orchestrator.machine.model import Run, StepRun
from orchestrator.machine.plan import Plan, Slot
from orchestrator.machine.rewind import ValidStepRun, rewind
from orchestrator.machine.states import RunState
from orchestrator.machine.value import value

__all__ = ["NewSteps", "Replanned", "replan", "where_new_steps_begin", "with_new_plan"]

WHY = "new pipeline"


@value
class Replanned(NamedTuple):
    """What a new plan means for a run.

    Attributes
    ----------
    changes : tuple of Change
        To be recorded together with the new plan.
    first_position : int
        `Run.first_position` in the new plan.
    removed : tuple of ValidStepRun
        Step runs that are no longer part of the pipeline. Their experiments stay in the table.
    n_valid : int
        Number of step runs that still count.
    """

    changes: tuple[Change, ...]
    first_position: int
    removed: tuple[ValidStepRun, ...] = ()
    n_valid: int = 0


def replan(
    run: Run, steps: Sequence[ValidStepRun], new: Plan, *, asks_again: bool, study: str = "STUDY.py"
) -> Replanned:
    """Return what a new plan means for a run.

    Parameters
    ----------
    run : Run
        The records, reconciled, with the old plan.
    steps : sequence of ValidStepRun
        Its step runs, in order.
    new : Plan
        The new plan.
    asks_again : bool
        Whether the `until` that has ended the last loop is called again, because its code may have changed: decided by
        `asks_again` in `orchestrator.engine.code`.
    study : str, default "STUDY.py"
        The study with the new plan, as an argument of a command.

    Raises
    ------
    StudyChanged
        If a step that has run is missing in the new plan, or is at another position.
    Busy
        If a step run must be withdrawn, and its job is live.
    """
    if run.suspended is not None and [*run.plan.walk()] != [*new.walk()]:
        raise StudyChanged(
            f"The retry of failed experiments of run {run.key} has not ended, so it can't get other steps now.",
            f"Complete it first: orchestrator resume {run.key}",
        )
    first = _first_position(run, new)
    n = _n_that_fit(run, steps, new, first, study)
    removed = tuple(step for step in steps[n:] if _new_position(new, run.plan.slot(step.position)) is None)
    answered_at = _last_answer(run, steps[:n], new) if asks_again else None
    if answered_at is not None:
        position = steps[answered_at].position
        if steps[answered_at].kind is StepKind.UNTIL:
            return Replanned(tuple(rewind(run, position, WHY, forgets=True)), first, removed, answered_at)
        # The last step of the loop has also called the `until`: only its answer is forgotten.
        changes = (*rewind(run, position + 1, WHY, forgets=True), ForgetAnswer(position))
        return Replanned(changes, first, removed, answered_at + 1)
    if n < len(steps):
        return Replanned(tuple(rewind(run, steps[n].position, WHY, forgets=True)), first, removed, n)
    if run.state is RunState.SUCCEEDED and steps and (begin := _next(new, steps[-1])) < new.size:
        return Replanned(tuple(rewind(run, begin, WHY)), first, removed, n)
    return Replanned((), first, removed, n)


@value
class NewSteps(NamedTuple):
    """Where a fork begins.

    Attributes
    ----------
    plan : Plan
        The plan of the new run.
    position : int
        Where it begins there.
    at_tables : int
        The position in the plan of the old run whose tables it begins with.
    """

    plan: Plan
    position: int
    at_tables: int


def where_new_steps_begin(
    run: Run,
    steps: Sequence[ValidStepRun],
    new: Plan,
    from_step: str | None,
    *,
    asks_again: bool,
    study: str = "STUDY.py",
) -> NewSteps | None:
    """Return where a longer plan continues a run that has succeeded; None if a fork begins in the old plan.

    Parameters
    ----------
    run, steps, new, asks_again, study
        As for `replan`.
    from_step : str or None
        Address of the step with which the fork is to begin.
    """
    is_known = from_step is not None and run.plan.find(from_step) is not None
    if is_known or run.state is not RunState.SUCCEEDED:
        return None
    replanned = replan(run, steps, new, asks_again=asks_again, study=study)
    n = replanned.n_valid
    if not replanned.changes or not n:
        return None
    is_asked_again = any(isinstance(change, ForgetAnswer) for change in replanned.changes)
    position = steps[n - 1].position + 1 if is_asked_again else _next(new, steps[n - 1])
    if from_step is not None and new.find(from_step) != position:
        return None
    return NewSteps(new, position, steps[n].position if n < len(steps) else run.plan.size)


def with_new_plan(run: Run, steps: Sequence[ValidStepRun], replanned: Replanned, new: Plan) -> Run:
    """Return the run as it is after its new plan is recorded, as far as a resume needs it."""
    state = run.state
    for change in replanned.changes:
        state = change.to if isinstance(change, MoveRun) else state
    last = None
    if replanned.n_valid:
        step = steps[replanned.n_valid - 1]
        is_same = run.step_run is not None and run.step_run.position == step.position
        last = run.step_run if is_same else StepRun(step.position, state=step.state, until=step.until)
    return run._replace(plan=new, first_position=replanned.first_position, state=state, step_run=last)


def _first_position(run: Run, new: Plan) -> int:
    old = run.plan
    if run.first_position >= old.size:
        return new.size
    slot = old.slot(run.first_position)
    position = _new_position(new, slot)
    return new.start_of(slot.element) if position is None else position


def _n_that_fit(run: Run, steps: Sequence[ValidStepRun], new: Plan, first: int, study: str) -> int:
    """Return how many step runs still count: each is at its position, and may follow the one before (`_next_ones`).

    Raises
    ------
    StudyChanged
        If the first one that does not count has no step in the new plan.
    """
    before: ValidStepRun | None = None
    for n, step in enumerate(steps):
        old = run.plan.slot(step.position)
        position = _new_position(new, old)
        if position == step.position and not new.slot(position).is_used:
            continue  # an `until` that the loop no longer has
        follows = before is None or before.position < first or step.position in _next_ones(new, before)
        if position != step.position or not follows:
            _check_change(run, old, new, study)
            return n
        before = step
    return len(steps)


def _next(new: Plan, step: ValidStepRun) -> int:
    return new.after(step.position, step.until)


def _next_ones(new: Plan, step: ValidStepRun) -> tuple[int, ...]:
    """Return which positions may follow a step run in the new plan.

    If a loop has got an `until` since, the step runs of its next iteration still count: it was not called before them.
    """
    position = _next(new, step)
    if position < new.size and new.slot(position).step.kind == StepKind.UNTIL:
        return position, new.after(position, False)
    return (position,)


def _new_position(new: Plan, old: Slot) -> int | None:
    """Return the position of a step in the same iteration of the new plan; None if it has none."""
    position = new.position_of(old.step.path, old.iteration)
    return position if position is not None and new.slot(position).step.name == old.step.name else None


def _check_change(run: Run, old: Slot, new: Plan, study: str) -> None:
    """Raise `StudyChanged` if a step run does not fit. A loop of another length is accepted as the reason."""
    known = {step.path: step for step, *_ in new.walk()}
    if old.step.kind is StepKind.UNTIL:
        return
    step, verb = known.get(old.step.path), "submit" if run.needs_wakeup else "run"
    if step is None or step.name != old.step.name:
        raise StudyChanged(
            f"Run {run.key} can't continue with the new pipeline: it has no {old.address} at the recorded position.",
            f"Keep the steps that have run, or start a new run: orchestrator {verb} {study}",
        )


def _last_answer(run: Run, steps: Sequence[ValidStepRun], new: Plan) -> int | None:
    """Return the index of the step run whose answer ended the last loop; None if the last loop ended otherwise.

    Also None if the loop no longer has an `until`.
    """
    for n in range(len(steps) - 1, -1, -1):
        if steps[n].until:
            slot = new.slot(steps[n].position)
            is_asked = slot.is_used if slot.step.kind is StepKind.UNTIL else slot.until is not None
            return n if is_asked else None
        if run.plan.slot(steps[n].position).iteration:
            return None
    return None
