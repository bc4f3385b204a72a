"""Put step runs back, so that `decide` goes on from there."""

from __future__ import annotations

from collections.abc import Container

from orchestrator.errors import Busy, DefinitionError
from orchestrator.machine.changes import Change, MoveRun, MoveStepRun, Withdraw
from orchestrator.machine.decide import success_of
from orchestrator.machine.kinds import Dependency
from orchestrator.machine.model import Run, StepRun
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState

__all__ = ["died_before_resume", "is_done", "rewind", "where_to_resume"]

_TO_DO_AGAIN = (StepRunState.FAILED, StepRunState.CANCELLED)


def where_to_resume(run: Run, first_failed: int | None) -> int | None:
    """Find the position from which a plain resume goes on.

    Parameters
    ----------
    run : Run
    first_failed : int or None
        Position of the first live step run that failed or was cancelled.

    Returns
    -------
    int or None
        None: nothing has to be put back; the run has succeeded wholly, or is active and only needs `advance`.

    Notes
    -----
    A run that failed or was cancelled goes on where it stopped: a failure that an `afterany` step passed over long ago
    stays passed over. Only a run that has come to its end goes back to such a failure.

    A job that died behind the run's back has not failed it yet, and a step that was stopped on request has not ended it
    yet, where whoever stopped it was killed. Whoever resumes asks for it again, and not to be told so.
    """
    if run.state is RunState.ACTIVE:
        return None if run.step_run is None or not _ends_unseen(run.step_run) else run.step_run.position
    if run.state is RunState.SUCCEEDED:
        return first_failed
    last = run.step_run
    if last is None:
        return 0
    return last.position if last.state in _TO_DO_AGAIN else last.position + 1


def is_done(state: RunState, first_failed: int | None) -> bool:
    """Whether a run has ended so well that a plain resume has nothing to do."""
    return state is RunState.SUCCEEDED and first_failed is None


def _ends_unseen(step_run: StepRun) -> bool:
    return step_run.state is StepRunState.CANCELLED or (not step_run.has_ended and _died(step_run))


def _died(step_run: StepRun) -> bool:
    """Tell whether the last job of a step run ended badly, and by nothing that it would meet again."""
    if not step_run.jobs or not step_run.jobs[-1].has_ended:
        return False
    last = step_run.jobs[-1]
    # What the user's code raised it raises again; one that was only interrupted is tried again anyway.
    is_told = last.kind in (FailureKind.EXCEPTION, FailureKind.REFUSED, FailureKind.INTERRUPTED)
    return last.state is not JobState.SUCCEEDED and not is_told


def died_before_resume(run: Run) -> bool:
    """Whether a run has failed by a job that had died before a resume asked for it again."""
    return run.has_failed and run.step_run is not None and _died(run.step_run)


def rewind(
    run: Run, position: int, why: str, recorded: Container[int] | None = None, *, forgets: bool = False
) -> list[Change]:
    """Name what has to change so that the run goes on from a position.

    Parameters
    ----------
    run : Run
        Reconciled: a job that died is known to be dead.
    position : int
        Of the first step run to put back.
    why : str
        For the history.
    recorded : container of int, optional
        Positions of the step runs that count; by default every one up to the last.
    forgets : bool, default False
        Whether blocks from there on are called again though the table is their own result: the user named the place.

    Returns
    -------
    list of Change

    Raises
    ------
    Busy
        While a job there is live.
    DefinitionError
        If the run has not come that far, has skipped the place, or would fail again at once.
    """
    last = run.step_run
    _check_place(run, position, recorded)
    changes: list[Change] = []
    if last is not None and last.position >= position:
        if run.live_jobs:
            tokens = ", ".join(job.scheduler_id or job.token for job in run.live_jobs)
            raise Busy(
                f"Run {run.key} still has live jobs where it should be put back: {tokens}.",
                f"Wait for them, or type: orchestrator cancel {run.key}",
            )
        if not last.has_ended:
            changes.append(success_of(run) or MoveStepRun(last.position, StepRunState.CANCELLED, why))
    if forgets or (last is not None and last.position >= position):
        changes.append(Withdraw(position, why, forgets))
    if run.state is not RunState.ACTIVE:
        changes.append(MoveRun(RunState.ACTIVE, why))
    return changes


def _check_place(run: Run, position: int, recorded: Container[int] | None) -> None:
    last = run.step_run
    reached = -1 if last is None else last.position
    address = run.plan.slot(position).address if position < run.plan.size else "its end"
    go_on = f"To go on from where it stands: orchestrator resume {run.key}"
    if position > reached + 1:
        raise DefinitionError(f"Run {run.key} has not come as far as {address}, so it can't go on from there.", go_on)
    if position < run.first_position and position <= reached:
        begin = run.plan.slot(run.first_position).address if run.first_position < run.plan.size else "its end"
        raise DefinitionError(
            f"Run {run.key} was begun with from_step at {begin}; {address} is not part of it.",
            "To run the steps before, too, start a new run.",
        )
    if position <= reached and recorded is not None and position not in recorded:
        raise DefinitionError(f"Run {run.key} never ran {address}: its loop ended before it.", go_on)
    if last is None or last.state is not StepRunState.FAILED or not reached < position < run.plan.size:
        return
    step, failed = run.plan.slot(position).step, run.plan.slot(last.position).address
    if step.dependency != Dependency.AFTERANY:
        raise DefinitionError(
            f"Run {run.key} can't go on from {address}: {failed}, before it, failed.",
            f"Give {step.name!r} dependency='afterany' and resume with --update, or repeat {failed}: "
            f"orchestrator resume {run.key}",
        )
