"""Withdraw step runs, so that `decide` continues from there; or refuse a resume: a held run, live jobs, a later step.

An address such as `run@4` is found by `Plan.find`. Where a resume without one begins is decided in
`orchestrator.machine.resume_point`. A resume whose table was deleted is refused by `orchestrator.engine.lost_table`.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Sequence
from functools import reduce
from typing import NamedTuple

from orchestrator.errors import Busy, DefinitionError
from orchestrator.machine.changes import (
    AddStepRun,
    Change,
    MoveJob,
    MoveRun,
    MoveStepRun,
    RequestTables,
    Retry,
    Withdraw,
    apply,
)
from orchestrator.machine.decide import next_position, unrecorded_success
from orchestrator.machine.kinds import Dependency, StepKind
from orchestrator.machine.model import Run, TableThen
from orchestrator.machine.resume_point import where_to_resume
from orchestrator.machine.states import STEP_RUN_FLAWED, FailureKind, JobState, RunState, StepRunState
from orchestrator.machine.value import value

__all__ = [
    "WHERE_IT_STOPPED",
    "Begin",
    "ValidStepRun",
    "after_takeover",
    "check_position",
    "ends_of_jobs",
    "reopening",
    "rewind",
    "where_to_fork",
]


@value
class Begin(NamedTuple):
    """Where a resume begins: by default where the run stopped.

    Attributes
    ----------
    position : int or None
        The position that the user named.
    retries_failed : bool
        Whether it evaluates all failed experiments of the run again, and keeps the other step runs.
    accepts_failed : bool
        Whether the failed experiments of the step that failed because of them are accepted.
    puts_back : tuple of TableThen or None
        The tables that are first put back as they were when the step at the position began. None: the tables are taken
        as they are.
    """

    position: int | None = None
    retries_failed: bool = False
    accepts_failed: bool = False
    puts_back: tuple[TableThen, ...] | None = None


WHERE_IT_STOPPED = Begin()


@value
class ValidStepRun(NamedTuple):
    """A step run that counts: it is not withdrawn. As far as a resume needs it."""

    position: int
    address: str
    kind: StepKind
    state: StepRunState
    n_failed: int = 0
    until: bool | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.state in (StepRunState.SUCCEEDED, StepRunState.SKIPPED)


def reopening(run: Run, steps: Sequence[ValidStepRun], begin: Begin, *, has_new_table: bool = False) -> list[Change]:
    """Return the changes after which the run continues, as `rewind` does.

    Parameters
    ----------
    run : Run
        The records, reconciled.
    steps : sequence of ValidStepRun
        Its step runs, in order.
    begin : Begin
        Where it begins.
    has_new_table : bool, default False
        Whether the user has changed the table of the open step run.
    """
    if run.is_held:
        raise Busy(f"Run {run.key} is held.", f"To release it: orchestrator release {run.key}")
    if begin.retries_failed:
        return _retry(run, steps)
    first_failed = next((step.position for step in steps if step.state in STEP_RUN_FLAWED), None)
    if begin.accepts_failed:
        return _accept(run, steps, where_to_resume(run, first_failed))
    position, why = begin.position, "resume"
    if position is not None:
        why = f"resume from {run.plan.slot(position).address}"
    else:
        position = where_to_resume(run, first_failed)
        if position is None and run.step_run is not None and has_new_table:
            position, why = run.step_run.position, "the table was changed"
    if position is None:
        return []
    changes = rewind(run, position, why, {step.position for step in steps}, forgets=begin.position is not None)
    if begin.puts_back is not None or (begin.position is not None and run.puts_back):
        changes.append(RequestTables(begin.puts_back or ()))
    return changes


def _retry(run: Run, steps: Sequence[ValidStepRun]) -> list[Change]:
    """Return the changes that repeat each step run with failed experiments.

    All step runs after the last parallel one are repeated, too: they have used all results. Of a run that failed or was
    cancelled, so are those from its last step on. The others are kept.
    """
    if not run.has_ended:
        raise Busy(
            f"Run {run.key} has not ended, so its failed experiments can't be evaluated again yet.",
            f"Wait for its end: orchestrator wait {run.key}\nIf it was stopped: orchestrator resume {run.key}",
        )
    failed = tuple(step.position for step in steps if step.n_failed)
    if not failed:
        raise DefinitionError(
            f"No experiment of run {run.key} has failed, so none is evaluated again.",
            f"Show what it has done: orchestrator status {run.key}",
        )
    # The steps after the last one that evaluates experiments used all results, so they run again.
    again_from = max(step.position for step in steps if step.kind is StepKind.BATCH) + 1
    last = steps[-1]
    if last.state in STEP_RUN_FLAWED:
        # The run failed, or was cancelled, at this step: it runs again, too, after those with failed experiments.
        again_from = min(again_from, max(last.position, failed[-1] + 1))
    why = "retry of failed experiments"
    return [Retry(failed, again_from, why), MoveRun(RunState.ACTIVE, why)]


def _accept(run: Run, steps: Sequence[ValidStepRun], position: int | None) -> list[Change]:
    """Return the changes that repeat the step at which the run failed, and accept all its failed experiments.

    Those of other steps are not accepted. The step must have failed, and have failed experiments.
    """
    step = next((step for step in steps if step.position == position), None)
    if step is None or step.state is not StepRunState.FAILED or not step.n_failed:
        raise DefinitionError(
            f"No step of run {run.key} has failed because of its experiments, so there is nothing to accept.",
            f"Show what it has done: orchestrator status {run.key}",
        )
    slot = run.plan.slot(step.position)
    accepting = AddStepRun(step.position, slot.iteration, slot.step.name, slot.step.kind, accepts_failed=True)
    return [*rewind(run, step.position, "failed experiments are accepted"), accepting]


def where_to_fork(run: Run, first_failed: int | None) -> int:
    """Return the position at which a fork of a run begins by default: where the run stands.

    Raises
    ------
    DefinitionError
        If it has succeeded, so that it stands nowhere.
    """
    position = where_to_resume(run, first_failed)
    if run.state is RunState.ACTIVE:
        position = _stands_at(run)
    if position is None or position >= run.plan.size:
        raise DefinitionError(
            f"Run {run.key} has succeeded, so a fork needs the step with which it begins, or a longer pipeline.",
            f"Name a step: orchestrator fork {run.key} --from {_last_address(run)}\n"
            f"With a longer loop, or more steps: orchestrator fork {run.key} --update STUDY.py",
        )
    return position


def _stands_at(run: Run) -> int:
    """Return the position of the open step run, or of the one that comes next."""
    last = run.step_run
    if last is None:
        return 0
    return next_position(run, last) if last.has_ended else last.position


def _last_address(run: Run) -> str:
    """Return the address of the last step; not that of an `until`, after which nothing may be left to do."""
    position = 0 if run.step_run is None else run.step_run.position
    while position and run.plan.slot(position).step.kind is StepKind.UNTIL:
        position -= 1
    return shlex.quote(run.plan.slot(position).address)


def rewind(
    run: Run, position: int, why: str, valid: Container[int] | None = None, *, forgets: bool = False
) -> list[Change]:
    """Return the changes after which the run continues from a position.

    Parameters
    ----------
    run : Run
        The records, reconciled: a job that died is known to have ended.
    position : int
        Position of the first step run to withdraw.
    why : str
        For the history.
    valid : container of int, optional
        Positions of the step runs that are not withdrawn; by default all up to the last.
    forgets : bool, default False
        Whether results of earlier calls are not believed: the blocks from the position on are called again, even on a
        table that is already their result.

    Raises
    ------
    Busy
        If a job there is live.
    DefinitionError
        If the run has not reached the position, has skipped it, or would fail again at once.
    """
    last = run.step_run
    check_position(run, position, valid)
    changes: list[Change] = []
    if last is not None and last.position >= position:
        if run.live_jobs:
            tokens = ", ".join(job.scheduler_id or job.token for job in run.live_jobs)
            raise Busy(
                f"Run {run.key} can't be resumed while it has live jobs: {tokens}.",
                f"Wait for them, or type: orchestrator cancel {run.key}",
            )
        if not last.has_ended:
            changes.append(unrecorded_success(run) or MoveStepRun(last.position, StepRunState.CANCELLED, why))
    if forgets or (last is not None and last.position >= position):
        changes.append(Withdraw(position, why, forgets))
    if run.state is not RunState.ACTIVE:
        changes.append(MoveRun(RunState.ACTIVE, why))
    return changes


def after_takeover(run: Run, why: str) -> list[Change]:
    """Return the changes after which no job and no file of the former owner is needed to continue a run.

    Its jobs count as ended, and its open step run is withdrawn: the manifest was private to the former owner. Results
    that are recorded are kept.
    """
    changes = ends_of_jobs(run, why)
    if run.step_run is None or run.step_run.has_ended:
        return changes
    return [*changes, *rewind(reduce(apply, changes, run), run.step_run.position, why)]


def ends_of_jobs(run: Run, why: str) -> list[Change]:
    """Return the changes by which all jobs of a run count as ended."""
    jobs = (*run.live_jobs, *run.orchestrators)
    return [MoveJob(job.token, JobState.CANCELLED, why, FailureKind.CANCELLED) for job in jobs]


def check_position(run: Run, position: int, valid: Container[int] | None) -> None:
    """Raise `DefinitionError` if a run can't continue from a position."""
    last = run.step_run
    reached = -1 if last is None else last.position
    address = run.plan.slot(position).address if position < run.plan.size else "its end"
    hint = f"To continue from where it stopped: orchestrator resume {run.key}"
    is_between = last is not None and last.has_ended
    if position > (max(reached + 1, _stands_at(run)) if is_between else _stands_at(run)):
        raise DefinitionError(f"Run {run.key} has not reached {address}, so it can't continue from there.", hint)
    if position < run.first_position and position <= reached:
        first = run.plan.slot(run.first_position).address if run.first_position < run.plan.size else "its end"
        raise DefinitionError(
            f"Run {run.key} was started with from_step at {first}; {address} is not part of it.",
            "To run the earlier steps as well, start a new run.",
        )
    if position <= reached and valid is not None and position not in valid:
        raise DefinitionError(f"Run {run.key} never ran {address}: its loop ended before it.", hint)
    how = None if last is None else STEP_RUN_FLAWED.get(last.state)
    if how is None or not reached < position < run.plan.size:
        return
    step, before = run.plan.slot(position).step, run.plan.slot(reached).address
    if step.dependency != Dependency.AFTERANY:
        raise DefinitionError(
            f"Run {run.key} can't continue from {address}: the step before it, {before}, {how}.",
            f"Give {step.name!r} dependency='afterany' and resume with --update, or repeat {before}: "
            f"orchestrator resume {run.key}",
        )
