"""How large tasks and batches are: into how many tasks open experiments are divided, and how many a batch has.

Which experiments are open is decided in `orchestrator.worker.table_work`, and which of them get into the same task by
`tasks_for` in `orchestrator.handoff.manifest`: it deals them in turn.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.machine.plan import PlannedStep
from orchestrator.machine.value import value

__all__ = ["Division", "Limits", "batch_size", "divide", "tasks_of_batch"]

# The defaults of `SlurmResources` in `orchestrator.definition.resources`, with which a plan is recorded.
_MAX_ARRAY_SIZE, _MAX_JOBS_PER_TASK = 900, 1


@value
class Limits(NamedTuple):
    """The limits of a scheduler.

    Attributes
    ----------
    n_tasks : int or None
        Number of tasks of a parallel step, whatever its resources say: on this machine `TASKS_PER_WORKER` for each
        worker (`orchestrator.engine.local.local_scheduler`). None: the resources decide.
    max_batch_size : int or None
        Largest number of tasks in one batch: on a cluster its `MaxArraySize`, since indexes begin at 0; None: only the
        step's own `max_array_size` is a limit.
    """

    n_tasks: int | None = None
    max_batch_size: int | None = None


@value
class Division(NamedTuple):
    """How open experiments are divided into tasks: by their number in each task, or by the number of tasks.

    Attributes
    ----------
    per_task : int or None
        Largest number of experiments in each task.
    max_tasks : int or None
        Largest number of tasks.

    In both cases experiments are dealt in turn (`orchestrator.handoff.manifest.tasks_for`), so that each task gets some
    of every part of the table.
    """

    per_task: int | None = None
    max_tasks: int | None = None


def divide(step: PlannedStep, limits: Limits) -> Division:
    """Return how a step's open experiments are divided into tasks.

    A step that is not parallel is one task. At most `max_jobs_per_task` experiments go to one task; if it is None,
    all tasks go into one array.
    """
    if not step.parallel:
        return Division(max_tasks=1)
    if limits.n_tasks is not None:
        return Division(max_tasks=limits.n_tasks)
    per_task = step.resources.get("max_jobs_per_task", _MAX_JOBS_PER_TASK)
    return Division(max_tasks=batch_size(step, limits)) if per_task is None else Division(per_task=int(per_task))


def batch_size(step: PlannedStep, limits: Limits) -> int:
    """Return the number of tasks that may go into one batch."""
    if limits.n_tasks is not None:
        return limits.n_tasks
    size = int(step.resources.get("max_array_size", _MAX_ARRAY_SIZE))
    return size if limits.max_batch_size is None else min(size, limits.max_batch_size)


def tasks_of_batch(batch: int, size: int, n_tasks: int) -> range:
    """Return the tasks that a batch runs; empty for a batch after the last."""
    return range(min(batch * size, n_tasks), min((batch + 1) * size, n_tasks))
