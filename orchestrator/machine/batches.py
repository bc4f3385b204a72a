"""How many tasks the open experiments make, and how many of them go into one batch."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.machine.plan import PlannedStep
from orchestrator.machine.value import value

__all__ = ["Cut", "Limits", "batch_size", "cut", "tasks_of_batch"]


@value
class Limits(NamedTuple):
    """What a scheduler bears.

    Attributes
    ----------
    n_tasks : int or None
        Into how many tasks a parallel step is cut, whatever its resources say; None: they decide.
    max_batch_size : int or None
        Most tasks in one batch; None: no limit but the step's own `max_array_size`.
    """

    n_tasks: int | None = None
    max_batch_size: int | None = None


@value
class Cut(NamedTuple):
    """How open experiments are cut into tasks: so many in each, or else into at most so many tasks.

    Attributes
    ----------
    per_task : int or None
        Neighbours in the table go to one task.
    max_tasks : int or None
        Dealt out in turn, so that each task gets its share of every part of the table.
    """

    per_task: int | None = None
    max_tasks: int | None = None


def cut(step: PlannedStep, limits: Limits) -> Cut:
    """Say how a step's open experiments are cut.

    A step that is not parallel is one task. `max_jobs_per_task` experiments go to one task; None means one array.
    """
    if not step.parallel:
        return Cut(max_tasks=1)
    if limits.n_tasks is not None:
        return Cut(max_tasks=limits.n_tasks)
    per_task = step.resources.get("max_jobs_per_task", 1)
    return Cut(max_tasks=batch_size(step, limits)) if per_task is None else Cut(per_task=int(per_task))


def batch_size(step: PlannedStep, limits: Limits) -> int:
    """Count the tasks that may go into one batch."""
    if limits.n_tasks is not None:
        return limits.n_tasks
    wanted = int(step.resources.get("max_array_size", 900))
    return wanted if limits.max_batch_size is None else min(wanted, limits.max_batch_size)


def tasks_of_batch(batch: int, size: int, n_tasks: int) -> range:
    """Tasks that a batch runs; empty for a batch past the last."""
    return range(min(batch * size, n_tasks), min((batch + 1) * size, n_tasks))
