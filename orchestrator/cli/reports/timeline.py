"""When the steps of a run ran, waited in the queue, and when nothing happened; and the map of its tasks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.cli.reports.report_values import Span, TaskMap, Timeline
from orchestrator.indexes import parse_indexes
from orchestrator.machine.kinds import Role
from orchestrator.machine.states import FailureKind, StepRunState

if TYPE_CHECKING:
    from orchestrator.cli.reports.usage import TaskUsage
    from orchestrator.db.views import JobView, RunView, StepRunView

__all__ = ["task_maps_of", "timeline_of"]

RESOLUTION = 1500
"""Spans that are closer than this part of the whole time are drawn as one."""

LEAST_IDLE = 0.001
"""Idle times below this part of the whole time are not drawn."""

MOST_CELLS = 20_000
"""Number of tasks that a map shows."""

LEAST_TASKS = 2

NOT_TO_BLAME = frozenset({FailureKind.STOPPED, FailureKind.CANCELLED, FailureKind.INTERRUPTED})
"""Tasks that ended for one of these reasons have not failed themselves."""


class _Time(NamedTuple):
    begin: float
    end: float


def timeline_of(run: RunView, step_runs: Sequence[StepRunView], now: float) -> Timeline:
    """Return when the steps of a run ran.

    Parameters
    ----------
    run : RunView
        The run.
    step_runs : sequence of StepRunView
        All its step runs.
    now : float
        Epoch seconds: the end of what still runs.
    """
    start = run.started_at or run.created_at
    end = run.ended_at or (run.last_event_at if run.stalled else now)
    spans = sorted((span for step_run in step_runs for span in _spans(step_run, start, end)), key=lambda s: s.begin)
    running = _union(_Time(span.begin, span.end) for span in spans if span.kind == "run")
    queued = _without(_union(_Time(span.begin, span.end) for span in spans if span.kind == "queue"), running)
    whole = [_Time(0.0, max(0.0, end - start))]
    idle = _without(whole, _union([*running, *queued]))
    least = LEAST_IDLE * whole[0].end
    rows = list(dict.fromkeys(step_run.name for step_run in step_runs))
    drawn = [span for row in rows for kind in ("queue", "run") for span in _merged(spans, row, kind, whole[0].end)]
    drawn += [Span("", "idle", *time, "nothing ran", False) for time in idle if time.end - time.begin > least]
    seconds = {"run": _length(running), "queue": _length(queued), "idle": _length(idle)}
    return Timeline(rows, drawn, seconds)


def _spans(step_run: StepRunView, start: float, end: float) -> Iterator[Span]:
    failed = step_run.state is StepRunState.FAILED
    last = step_run.ended_at or end
    if not step_run.jobs and step_run.started_at is not None:
        yield Span(step_run.name, "run", step_run.started_at - start, last - start, step_run.address, failed)
    for job in step_run.jobs:
        ended = job.ended_at or last
        begun = job.started_at if job.started_at is not None else ended
        if job.queued_at is not None and begun > job.queued_at:
            yield Span(step_run.name, "queue", job.queued_at - start, begun - start, step_run.address, False)
        if ended > begun:
            yield Span(step_run.name, "run", begun - start, ended - start, step_run.address, failed)


def _merged(spans: Iterable[Span], row: str, kind: str, whole: float) -> Iterator[Span]:
    """Yield the spans of a row; those that can't be told apart in a chart as one."""
    last: Span | None = None
    n = 1
    for span in spans:
        if span.row != row or span.kind != kind:
            continue
        if last is not None and span.begin - last.end < whole / RESOLUTION and last.has_failed == span.has_failed:
            n += 1
            label = last.label if last.label == span.label else f"{last.label.partition(' to ')[0]} to {span.label}"
            last = Span(row, kind, last.begin, max(last.end, span.end), label, span.has_failed)
        else:
            if last is not None:
                yield last
            last, n = span, 1
    if last is not None:
        yield last


def _union(times: Iterable[_Time]) -> list[_Time]:
    found: list[_Time] = []
    for time in sorted(times):
        if found and time.begin <= found[-1].end:
            found[-1] = _Time(found[-1].begin, max(found[-1].end, time.end))
        else:
            found.append(time)
    return found


def _without(times: Sequence[_Time], others: Sequence[_Time]) -> list[_Time]:
    """Return the parts of disjoint sorted times that are not in others, which are disjoint and sorted, too."""
    found = []
    at = 0
    for begin, end in times:
        while at < len(others) and others[at].end <= begin:
            at += 1
        position, number = begin, at
        while number < len(others) and others[number].begin < end:
            if others[number].begin > position:
                found.append(_Time(position, others[number].begin))
            position = max(position, others[number].end)
            number += 1
        if position < end:
            found.append(_Time(position, end))
    return found


def _length(times: Iterable[_Time]) -> float:
    return sum(time.end - time.begin for time in times)


# --- tasks ---------------------------------------------------------------------------------------


def task_maps_of(tasks: Iterable[TaskUsage], step_runs: Iterable[StepRunView] = ()) -> list[TaskMap]:
    """Return a map for each step with several tasks. Of several attempts of a task, the last one counts.

    Parameters
    ----------
    tasks : iterable of TaskUsage
        The tasks that have said how long they ran.
    step_runs : iterable of StepRunView
        The step runs: their jobs name the tasks that were killed.
    """
    by_step: dict[str, dict[tuple[str, int], TaskUsage]] = {}
    for task in tasks:
        by_step.setdefault(task.step, {})[task.iteration, task.task] = task
    for killed in _killed(step_runs):
        known = by_step.setdefault(killed.step, {})
        at = killed.iteration, killed.task
        if at not in known or known[at].attempt < killed.attempt:
            known[at] = killed
    return [_map(step, list(found.values())) for step, found in by_step.items() if _has_arrays(found.values())]


def _killed(step_runs: Iterable[StepRunView]) -> Iterator[TaskUsage]:
    """Yield the tasks of arrays that have failed; how long they ran is that of their job."""
    for step_run in step_runs:
        for job in step_run.jobs:
            if job.role is Role.BATCH and job.kind not in NOT_TO_BLAME:
                for task in parse_indexes(job.failed_tasks):
                    yield _failed_task(step_run, job, task)


def _failed_task(step_run: StepRunView, job: JobView, task: int) -> TaskUsage:
    from orchestrator.cli.reports.usage import TaskUsage

    started_at = job.started_at or job.ended_at or 0.0
    return TaskUsage(
        address=step_run.address,
        step=step_run.name,
        iteration=step_run.iteration,
        task=task,
        attempt=job.attempt,
        started_at=started_at,
        seconds=max(0.0, (job.ended_at or started_at) - started_at),
        cpu_seconds=0.0,
        memory=0.0,
        first_memory=None,
        host="",
        n_experiments=0,
        n_failed=0,
        has_failed=True,
    )


def _has_arrays(tasks: Iterable[TaskUsage]) -> bool:
    return max(task.task for task in tasks) + 1 >= LEAST_TASKS


def _map(step: str, tasks: list[TaskUsage]) -> TaskMap:
    iterations = list(dict.fromkeys(task.iteration for task in tasks))
    if len(iterations) == 1:
        return _wrapped(step, tasks)
    n_columns = max(task.task for task in tasks) + 1
    shown = iterations[-max(1, MOST_CELLS // n_columns) :]
    rows = {iteration: number for number, iteration in enumerate(shown)}
    cells = [(task.task, rows[task.iteration], *_cell(task)) for task in tasks if task.iteration in rows]
    return TaskMap(step, shown, n_columns, cells, len(iterations) - len(shown))


def _wrapped(step: str, tasks: list[TaskUsage]) -> TaskMap:
    n = max(task.task for task in tasks) + 1
    n_columns = n if n <= 16 else min(100, 8 * math.ceil(math.sqrt(4 * n) / 8))
    cells = [(task.task % n_columns, task.task // n_columns, *_cell(task)) for task in tasks]
    return TaskMap(step, [str(first) for first in range(0, n, n_columns)], n_columns, cells[:MOST_CELLS], 0)


def _cell(task: TaskUsage) -> tuple[float, int, float]:
    queued = -1.0 if task.queue_seconds is None else round(task.queue_seconds, 1)
    return round(task.seconds, 3), -1 if task.has_failed else task.n_failed, queued
