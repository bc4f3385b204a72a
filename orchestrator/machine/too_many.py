"""How many failed experiments are too many for a step."""

from __future__ import annotations

from orchestrator.machine.model import StepRun

__all__ = ["n_experiments_of", "too_many_failed"]


def n_experiments_of(step_run: StepRun) -> int:
    """Return the number of all experiments of a step run that is frozen: open ones, and those of earlier epochs."""
    return (step_run.n_experiments or 0) + step_run.n_finished_before + step_run.n_failed_before


def too_many_failed(limit: int | float | None, n_finished: int, n_failed: int, n: int) -> str | None:
    """Return why a step fails because of its failed experiments; None if their number is within the limit.

    Parameters
    ----------
    limit : int, float or None
        `max_failed` of the step.
    n_finished, n_failed : int
        Numbers of experiments that have ended, of whatever attempt.
    n : int
        Number of all experiments of the step.
    """
    if limit is None:
        return f"every experiment failed ({n} of {n})" if n_failed and n_failed == n and not n_finished else None
    share = n_failed / n if isinstance(limit, float) and n else n_failed
    return f"{n_failed} of {n} experiments failed, more than max_failed={limit}" if share > limit else None
