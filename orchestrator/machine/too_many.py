"""How many failed experiments are too many for a step.

`_why_failed` in `orchestrator.machine.decide` applies `too_many_failed` when a step ends, without the failures that the
user has accepted. The tasks themselves apply `stop_after` and `stop_if_first_fail` while they evaluate:
`orchestrator.worker.stopping`.
"""

from __future__ import annotations

import math

from orchestrator.machine.model import StepRun
from orchestrator.machine.plan import PlannedStep

__all__ = ["n_experiments_of", "stop_after", "stop_if_first_fail", "too_many_failed"]


def n_experiments_of(step_run: StepRun) -> int:
    """Return the number of all experiments of a frozen step run, also of those that earlier epochs have evaluated."""
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


def stop_after(step_run: StepRun, step: PlannedStep) -> int | None:
    """Return the number of further failures at which a step run exceeds its `max_failed`; None if it can't."""
    limit, n = step.max_failed, n_experiments_of(step_run)
    if limit is None or step_run.accepts_failed:
        return None
    most = math.floor(limit * n) if isinstance(limit, float) else limit
    # The product of floats may be just below the number that is meant.
    while too_many_failed(limit, 0, most + 1, n) is None and most < n:
        most += 1
    return None if most >= n else max(1, most + 1 - step_run.n_failed)


def stop_if_first_fail(step_run: StepRun, step: PlannedStep) -> int | None:
    """Return the number of first experiments after which a step run stops, if all of them failed alike.

    None if it continues, whatever they did.
    """
    first, limit = step.abort_early, step.max_failed
    if first is None or step_run.accepts_failed or step_run.n_finished:
        return None
    is_allowed = limit == 1.0 if isinstance(limit, float) else limit is not None and limit >= first
    return None if is_allowed else first
