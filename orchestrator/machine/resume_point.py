"""Where a run stands, so that a resume continues there. What a resume withdraws is in `orchestrator.machine.rewind`."""

from __future__ import annotations

from orchestrator.machine.decide import next_position
from orchestrator.machine.model import Run, StepRun
from orchestrator.machine.states import STEP_RUN_FLAWED, FailureKind, JobState, RunState, StepRunState

__all__ = ["died_before_resume", "is_done", "where_to_resume"]

_NOT_AGAIN = (FailureKind.EXCEPTION, FailureKind.REFUSED, FailureKind.INTERRUPTED, FailureKind.STOPPED)


def where_to_resume(run: Run, first_failed: int | None) -> int | None:
    """Return the position from which a resume without `--from-step` continues.

    Parameters
    ----------
    run : Run
        The records, reconciled.
    first_failed : int or None
        Position of the first step run that failed or was cancelled, without those that a resume has withdrawn.

    Returns
    -------
    int or None
        None if nothing must be withdrawn: no step of the run failed, or the run is active and only needs `advance`.

    Notes
    -----
    A run that failed or was cancelled continues where it stopped. A failed step before an `afterany` step that ran is
    not repeated then; it is repeated only if the run has reached its end.

    In an active run, the last job may have died without the run having failed yet. Or its step may have been cancelled
    without the run having ended yet, because the process that cancelled it was killed. A resume repeats such a step
    instead of reporting its failure.
    """
    if run.state is RunState.ACTIVE:
        return None if run.step_run is None or not _must_be_repeated(run.step_run) else run.step_run.position
    if run.state is RunState.SUCCEEDED:
        return first_failed
    last = run.step_run
    if last is None:
        return 0
    return last.position if last.state in STEP_RUN_FLAWED else next_position(run, last)


def is_done(state: RunState, first_failed: int | None) -> bool:
    """Whether no step of an ended run failed, so that a resume without `--from-step` has nothing to do."""
    return state is RunState.SUCCEEDED and first_failed is None


def _must_be_repeated(step_run: StepRun) -> bool:
    return step_run.state is StepRunState.CANCELLED or (not step_run.has_ended and _died(step_run))


def _died(step_run: StepRun) -> bool:
    """Whether the last job of a step run ended badly, for a reason that need not occur again."""
    if not step_run.jobs or not step_run.jobs[-1].has_ended:
        return False
    last = step_run.jobs[-1]
    # An exception of the step would be raised again, and an interrupted job is retried in any case.
    is_excluded = last.kind in _NOT_AGAIN
    return last.state is not JobState.SUCCEEDED and not is_excluded


def died_before_resume(run: Run) -> bool:
    """Whether a run has failed because of a job that had died before a resume."""
    return run.has_failed and run.step_run is not None and _died(run.step_run)
