"""Requested against used memory, time and CPUs of the steps of a run, and what to request next time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from orchestrator.cli.render import duration
from orchestrator.machine.states import FailureKind
from orchestrator.machine.value import value

__all__ = ["Efficiency", "Request", "StepUsage", "TaskUsage", "amount", "limit", "resources_text", "usage_of"]

MEMORY_MARGIN, TIME_MARGIN = 1.25, 1.5
"""What is requested, as a multiple of what was used most."""

TOO_MUCH, TOO_CLOSE = 0.6, 0.9
"""A request is larger than needed if the suggested one is below the first part of it; too close above the second."""

LEAST_MEMORY = 512
"""MB that are suggested at least: Python and NumPy need a part of them before an experiment begins."""

GROWTH, LEAST_GROWTH = 1.2, 20.0
"""Memory grows if its ratio, and its difference in MB, is at least this."""

KILLED = frozenset({FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT})
"""A task that was killed for one of these reasons has not said what it used."""

SHORT_TASK, MANY_TASKS = 30.0, 20
"""Tasks are short if their median is below these seconds; that matters for this many."""


class Request(NamedTuple):
    """What each job of a step requests.

    Attributes
    ----------
    memory : float or None
        MB of each task; None if the site's default counts.
    seconds : float or None
        Time limit of each task; None for no limit.
    cpus : int or None
        CPUs of each task; None if a run on this machine requests nothing.
    unset : frozenset of str
        Fields of `SlurmResources` that the study does not set, in a run on this machine: what they should be on a
        cluster is suggested, and not advised.
    """

    memory: float | None
    seconds: float | None
    cpus: int | None
    unset: frozenset[str] = frozenset()


class TaskUsage(NamedTuple):
    """What one task has used.

    Attributes
    ----------
    address : str
        Address of its step run.
    step : str
        Name of the step.
    iteration : str
        The iteration; empty outside loops.
    task : int
        Its number in the step run.
    attempt : int
        Number of the job among those for the same batch, from 1.
    started_at : float
        When it began, in epoch seconds.
    seconds : float
        How long it took.
    cpu_seconds : float
        CPU time.
    memory : float
        Peak memory in MB.
    first_memory : float or None
        Peak memory in MB of its process after the first of several experiments; None if not known.
    host : str
        The machine.
    n_experiments, n_failed : int
        Number of its experiments, and of those that failed.
    has_failed : bool
        Whether the task itself has failed.
    queue_seconds : float or None
        How long it waited in the queue of the cluster; None on this machine, or if not known.
    """

    address: str
    step: str
    iteration: str
    task: int
    attempt: int
    started_at: float
    seconds: float
    cpu_seconds: float
    memory: float
    first_memory: float | None
    host: str
    n_experiments: int
    n_failed: int
    has_failed: bool
    queue_seconds: float | None = None


@value
class StepUsage(NamedTuple):
    """What the tasks of a step requested and used.

    Attributes
    ----------
    step : str
        Name of the step.
    n_tasks : int
        Number of tasks that have ended and said what they used; without those that were killed.
    memory : float
        Peak memory in MB of the task that used most.
    memory_requested : float or None
        MB that each task requests on a cluster; null if the default of the cluster counts, or if a run on this machine
        requests nothing.
    longest_seconds : float
        Duration of the longest task.
    median_seconds : float
        Median of the durations.
    seconds_requested : float or None
        Time limit of each task on a cluster; null if there is none, or if a run on this machine requests nothing.
    cpus : float
        CPUs that were busy on average: CPU time divided by time.
    cpus_requested : int or None
        CPUs that each task requests; null if a run on this machine requests nothing.
    memory_growth : tuple of float
        MB of a process after its first and after its last experiment, if it has grown; else empty.
    queue_seconds : tuple of float
        Median and largest time that its tasks waited in the queue of the cluster; empty on this machine.
    resources : mapping
        Fields of `SlurmResources` that should change, or that a run on this machine does not request, with their new
        values.
    advice : tuple of str
        What to change and why, as sentences; empty if the requests fit.
    """

    step: str
    n_tasks: int
    memory: float
    memory_requested: float | None
    longest_seconds: float
    median_seconds: float
    seconds_requested: float | None
    cpus: float
    cpus_requested: int | None
    memory_growth: tuple[float, ...]
    queue_seconds: tuple[float, ...]
    resources: Mapping[str, str | int]
    advice: tuple[str, ...]


@value
class Efficiency(NamedTuple):
    """What the steps of a run requested and used.

    Attributes
    ----------
    key : str
        The run's key.
    source : str
        Where the memory is from: `tasks`, the tasks themselves; `sacct`, also SLURM's accounting.
    steps : tuple of StepUsage
        The steps whose tasks have said what they used, in the order of the pipeline.
    """

    key: str
    source: str
    steps: tuple[StepUsage, ...]


def usage_of(
    tasks: Iterable[TaskUsage],
    requests: Mapping[str, Request],
    failures: Mapping[str, Sequence[str]],
    memory: Mapping[str, float] | None = None,
) -> tuple[StepUsage, ...]:
    """Return the usage of each step that has ended tasks, also if they were killed at a limit.

    Parameters
    ----------
    tasks : iterable of TaskUsage
        The tasks of the run.
    requests : mapping
        What each step requests, by its name, in the order of the pipeline.
    failures : mapping
        The kinds of failures of a step's jobs, by its name.
    memory : mapping, optional
        Peak memory in MB that SLURM has measured, by step.
    """
    measured = memory or {}
    by_step: dict[str, list[TaskUsage]] = {step: [] for step in requests}
    for task in tasks:
        if task.step in by_step:  # the `until` of a loop requests nothing of its own
            by_step[task.step].append(task)
    return tuple(
        _of_step(step, found, requests[step], failures.get(step, ()), measured.get(step, 0.0))
        for step, found in by_step.items()
        if found or not KILLED.isdisjoint(failures.get(step, ()))
    )


def _of_step(
    step: str, tasks: list[TaskUsage], request: Request, failures: Sequence[str], measured: float
) -> StepUsage:
    elapsed = sum(task.seconds for task in tasks)
    usage = StepUsage(
        step=step,
        n_tasks=len(tasks),
        memory=max([measured, *(task.memory for task in tasks)]),
        memory_requested=request.memory,
        longest_seconds=max((task.seconds for task in tasks), default=0.0),
        median_seconds=median(task.seconds for task in tasks) if tasks else 0.0,
        seconds_requested=request.seconds,
        cpus=sum(task.cpu_seconds for task in tasks) / elapsed if elapsed > 0 else 0.0,
        cpus_requested=request.cpus,
        memory_growth=_largest_growth(tasks),
        queue_seconds=_queue_seconds(tasks),
        resources={},
        advice=(),
    )
    found = [*_memory(usage, failures), *_time(usage, failures), *_cpus(usage)]
    advised = [change for change in found if change[0] not in request.unset]
    resources = _of_unset(usage, request.unset) | {name: to for name, to, _ in advised}
    more = [*_growth(usage), *([] if request.unset else _short(usage))]
    return usage._replace(resources=resources, advice=(*(why for _, _, why in advised), *more))


def _of_unset(usage: StepUsage, names: frozenset[str]) -> dict[str, str | int]:
    """Return what to request on a cluster, for fields that the study does not set."""
    suggested: dict[str, str | int] = {}
    if usage.n_tasks:
        suggested["mem"] = limit(_rounded_memory(MEMORY_MARGIN * usage.memory))
        suggested["time"] = _clock(_rounded_seconds(TIME_MARGIN * usage.longest_seconds))
        suggested |= {name: to for name, to, _ in _cpus(usage)}
    return {name: to for name, to in suggested.items() if name in names}


def _queue_seconds(tasks: Iterable[TaskUsage]) -> tuple[float, ...]:
    waited = [task.queue_seconds for task in tasks if task.queue_seconds is not None]
    return (median(waited), max(waited)) if waited else ()


def _largest_growth(tasks: Iterable[TaskUsage]) -> tuple[float, ...]:
    grown = [
        (task.first_memory, task.memory)
        for task in tasks
        if task.first_memory
        and task.memory >= GROWTH * task.first_memory
        and task.memory - task.first_memory >= LEAST_GROWTH
    ]
    return max(grown, key=lambda found: found[1] - found[0], default=())


Change = tuple[str, str | int, str]
"""A field of `SlurmResources`, its new value, and why."""


def _memory(usage: StepUsage, failures: Sequence[str]) -> list[Change]:
    requested = usage.memory_requested
    if requested is None:
        return []
    if FailureKind.OUT_OF_MEMORY in failures:
        new = _rounded_memory(max(2 * requested, MEMORY_MARGIN * usage.memory))
        return [("mem", limit(new), f"A task ran out of the {amount(requested)} of memory that it requested.")]
    if not usage.memory:
        return []
    new = _rounded_memory(MEMORY_MARGIN * usage.memory)
    if usage.memory > requested:
        why = f"A task used {amount(usage.memory)} of memory, but requested {amount(requested)}"
        return [("mem", limit(new), f"{why}: a cluster that enforces the limit kills it.")]
    used = f"At most {amount(usage.memory)} of the requested {amount(requested)} of memory were used"
    if usage.memory > TOO_CLOSE * requested:
        return [("mem", limit(new), f"{used}: that is close to the limit.")]
    if new <= TOO_MUCH * requested:
        return [("mem", limit(new), f"{used}: jobs that request less often start earlier.")]
    return []


def _time(usage: StepUsage, failures: Sequence[str]) -> list[Change]:
    requested = usage.seconds_requested
    if requested is None:
        return []
    if FailureKind.TIMEOUT in failures:
        return [("time", _clock(2 * requested), f"A task was ended after its time limit of {duration(requested)}.")]
    new = _rounded_seconds(TIME_MARGIN * usage.longest_seconds)
    if not usage.longest_seconds:
        return []
    if usage.longest_seconds > requested:
        why = f"The longest task took {duration(usage.longest_seconds)}, but requested {duration(requested)}"
        return [("time", _clock(new), f"{why}: a cluster ends it then.")]
    longest = f"The longest task took {duration(usage.longest_seconds)} of the requested {duration(requested)}"
    if usage.longest_seconds > TOO_CLOSE * requested:
        return [("time", _clock(new), f"{longest}: that is close to the limit.")]
    if new <= TOO_MUCH * requested:
        return [("time", _clock(new), f"{longest}: a shorter limit often lets jobs start earlier.")]
    return []


def _cpus(usage: StepUsage) -> list[Change]:
    needed, requested = max(1, math.ceil(usage.cpus - 0.1)), usage.cpus_requested or 1
    if usage.longest_seconds < 1 or requested == needed:
        return []
    busy = f"On average {usage.cpus:.1f} of the {requested} requested CPUs were busy"
    if needed < requested and usage.cpus <= TOO_MUCH * requested:
        return [("cpus_per_task", needed, f"{busy}: the others waited.")]
    if usage.cpus > requested + 0.5:
        asked = "1 CPU was" if requested == 1 else f"{requested} CPUs were"
        return [("cpus_per_task", needed, f"On average {usage.cpus:.1f} CPUs were busy, but {asked} requested.")]
    return []


def _growth(usage: StepUsage) -> list[str]:
    if not usage.memory_growth:
        return []
    first, last = usage.memory_growth
    return [
        f"The memory of a task grew from {amount(first)} after its first experiment to {amount(last)}: "
        "the code may keep objects that it no longer needs."
    ]


def _short(usage: StepUsage) -> list[str]:
    if usage.n_tasks < MANY_TASKS or usage.median_seconds >= SHORT_TASK:
        return []
    return [
        f"Half of the {usage.n_tasks} tasks took less than {usage.median_seconds:.1f} s. On a cluster, give each task "
        "more experiments (max_jobs_per_task): each start of a task costs some seconds."
    ]


def resources_text(resources: Mapping[str, str | int]) -> str:
    """Return fields of `SlurmResources` as Python."""
    fields = ", ".join(f"{name}={json.dumps(to)}" for name, to in resources.items())
    return f"SlurmResources({fields})"


# --- amounts -------------------------------------------------------------------------------------


def amount(mb: float) -> str:
    """Return an amount of memory as text: `218 MB`, `3.5 GB`."""
    return f"{mb:.0f} MB" if mb < 1024 else f"{mb / 1024:.3g} GB"


def limit(mb: float) -> str:
    """Return an amount of memory as SLURM writes it: `512M`, `4G`."""
    return f"{mb / 1024:.0f}G" if mb % 1024 == 0 else f"{mb:.0f}M"


def _rounded_memory(mb: float) -> float:
    """Return the next amount that people write: whole quarters of a GB up to 4 GB, then whole GB."""
    unit = 256 if mb <= 4096 else 1024
    return max(LEAST_MEMORY, math.ceil(mb / unit) * unit)


def _rounded_seconds(seconds: float) -> int:
    """Return the next time that people write: whole 5 minutes up to 2 hours, then half hours."""
    unit = 300 if seconds <= 7200 else 1800
    return max(300, math.ceil(seconds / unit) * unit)


def _clock(seconds: float) -> str:
    """Return a duration as SLURM writes it: `00:05:00`, `1-02:00:00`."""
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    return (f"{days}-" if days else "") + f"{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
