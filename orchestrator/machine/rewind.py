"""Put step runs back, so that `decide` goes on from there."""

from __future__ import annotations

from orchestrator.errors import Busy, DefinitionError
from orchestrator.machine.changes import Change, MoveRun, MoveStepRun, Withdraw
from orchestrator.machine.model import Run
from orchestrator.machine.states import RunState, StepRunState

__all__ = ["rewind", "where_to_resume"]


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
    """
    if run.state is RunState.ACTIVE:
        return None
    if first_failed is not None:
        return first_failed
    if run.state is RunState.SUCCEEDED:
        return None
    return 0 if run.step_run is None else run.step_run.position + 1


def rewind(run: Run, position: int, why: str) -> list[Change]:
    """Name what has to change so that the run goes on from a position.

    Parameters
    ----------
    run : Run
        Reconciled: a job that died is known to be dead.
    position : int
        Of the first step run to put back.
    why : str
        For the history.

    Returns
    -------
    list of Change

    Raises
    ------
    Busy
        While a job there is live.
    DefinitionError
        If the run has not come that far.
    """
    last = run.step_run
    reached = -1 if last is None else last.position
    if position > reached + 1:
        slot = run.plan.slot(position)
        raise DefinitionError(
            f"Run {run.key} has not come as far as {slot.address}, so it can't go on from there.",
            f"To go on from where it stands: orchestrator resume {run.key}",
        )
    changes: list[Change] = []
    if last is not None and last.position >= position:
        if run.live_jobs:
            tokens = ", ".join(job.scheduler_id or job.token for job in run.live_jobs)
            raise Busy(
                f"Run {run.key} still has live jobs where it should be put back: {tokens}.",
                f"Wait for them, or type: orchestrator cancel {run.key}",
            )
        if not last.ended:
            changes.append(MoveStepRun(last.position, StepRunState.CANCELLED, why))
        changes.append(Withdraw(position, why))
    if run.state is not RunState.ACTIVE:
        changes.append(MoveRun(RunState.ACTIVE, why))
    return changes
