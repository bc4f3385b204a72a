"""What failed in a run, by address and cause, and which results are not in the table. Read only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.addresses import format_address
from orchestrator.db.model_of_rows import COUNTS
from orchestrator.db.rows import Row, member
from orchestrator.db.views import Failure, ResultNote
from orchestrator.failure_groups import FailureGroup, without_numbers
from orchestrator.machine.kinds import EventKind, FailureLevel, Role
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState

__all__ = ["Cause", "address_of", "group_by_cause", "failures", "notes"]

# Experiments that an earlier epoch has evaluated and that are accepted are not evaluated again.
_EVALUATED = f"""(
    {COUNTS} OR EXISTS (
        SELECT 1 FROM step_run accepting
        WHERE accepting.run_id = step_run.run_id AND accepting.position = step_run.position
          AND accepting.epoch = step_run.epoch + 1 AND accepting.accepts_failed AND accepting.withdrawn_at IS NULL
    ) AND what = '{FailureLevel.EXPERIMENTS}'
)"""

_RETRIED = """EXISTS (
    SELECT 1 FROM job later
    WHERE later.step_run_id = job.step_run_id AND later.batch = job.batch AND later.attempt > job.attempt
) AS was_retried"""

_EVENTS = f"""
SELECT position, name, iteration, path, what, why, task, event.detail, {_RETRIED}
FROM event JOIN step_run ON event.step_run_id = step_run.id LEFT JOIN job ON event.job_id = job.id
WHERE event.run_id = :run_id AND what IN ('{FailureLevel.EXPERIMENTS}', '{FailureLevel.TASK}')
"""

# A later iteration reads remaining files again, and a resume folds again: then the earlier event is out of date.
_NOTES = f"""
SELECT name, iteration, what, why, event.detail
FROM event JOIN step_run ON event.step_run_id = step_run.id
WHERE event.run_id = :run_id AND (
    what = '{EventKind.RESULTS_QUARANTINED}'
    OR what = '{EventKind.FILES_LEFT}' AND NOT EXISTS (
        SELECT 1 FROM step_run later
        WHERE later.run_id = event.run_id AND later.path = step_run.path AND later.state = '{StepRunState.SUCCEEDED}'
          AND later.position > step_run.position AND later.withdrawn_at IS NULL
    )
    OR what = '{EventKind.RESULTS_NOT_FOLDED}' AND NOT EXISTS (
        SELECT 1 FROM event resumed
        WHERE resumed.run_id = event.run_id AND resumed.what = '{EventKind.RUN}' AND resumed.new = '{RunState.ACTIVE}'
          AND resumed.id > event.id
    )
)
"""

# The failed tasks of a batch have their own events, unless SLURM refused the whole batch.
_JOBS = f"""
SELECT position, name, iteration, path, job.reason, job.kind, detail, {_RETRIED}
FROM job JOIN step_run ON job.step_run_id = step_run.id
WHERE job.run_id = :run_id AND job.state IN ('{JobState.FAILED}', '{JobState.LOST}')
AND (role = '{Role.STEP}' OR job.kind = '{FailureKind.REFUSED}')
"""

_STEPS = f"""
SELECT position, name, iteration, path, reason FROM step_run
WHERE run_id = :run_id AND state = '{StepRunState.FAILED}'
"""


class _Group(FailureGroup):
    """Failures at one address with the same cause."""

    def __init__(self, row: Row, what: FailureLevel, why: str | None, detail: Mapping[str, Any]) -> None:
        super().__init__(detail)
        self._place = (address_of(row), row.name, row.path, what, why)
        self.tasks: list[int] = []
        self.was_retried = what is not FailureLevel.EXPERIMENTS

    def view(self) -> Failure:
        kind, traceback = self.first.get("kind", "exception"), self.first.get("traceback")
        shown = traceback if isinstance(traceback, str) else None
        kind = kind if isinstance(kind, str) else None
        return Failure(*self._place, kind, self.n, tuple(self.rows), tuple(self.tasks), self.was_retried, shown)


def failures(connection: sqlite3.Connection, run_id: int, step_run_id: int | None = None) -> tuple[Failure, ...]:
    """Return the failures of experiments, tasks, jobs and steps, grouped by address and cause.

    Parameters
    ----------
    connection : sqlite3.Connection
        With a transaction begun.
    run_id : int
        Number of the run's row.
    step_run_id : int, optional
        Only the failures of this step run; else of all step runs that are not withdrawn.
    """
    which = COUNTS if step_run_id is None else "step_run.id = :step_run_id"
    of = {"run_id": run_id, "step_run_id": step_run_id}
    groups: dict[tuple[int, FailureLevel, str | None], _Group] = {}

    def group(row: Row, what: FailureLevel, why: str | None, detail: Mapping[str, Any]) -> _Group:
        return groups.setdefault((row.position, what, why), _Group(row, what, why, detail))

    evaluated = _EVALUATED if step_run_id is None else which
    for row in connection.execute(f"{_EVENTS} AND {evaluated} ORDER BY event.id", of):
        failure = group(row, member(FailureLevel, row.what), row.why, row.detail)
        failure.add(_count(row.detail) or 1, _labels(row.detail))
        if row.task is not None:
            failure.tasks.append(row.task)
            failure.was_retried &= bool(row.was_retried)
    for row in connection.execute(f"{_JOBS} AND {which} ORDER BY job.id", of):
        error = row.detail.get("error")
        more = error if isinstance(error, dict) else {}
        failure = group(row, FailureLevel.STEP, row.reason, {**more, "kind": row.kind})
        failure.add(1, ())
        failure.was_retried &= bool(row.was_retried)
    explained = {position for position, what, _ in groups if what is not FailureLevel.EXPERIMENTS}
    for row in connection.execute(f"{_STEPS} AND {which} ORDER BY position", of):
        if row.position not in explained:
            failure = group(row, FailureLevel.STEP, row.reason, {"kind": None})
            failure.add(1, ())
            failure.was_retried = False
    return tuple(failure.view() for failure in groups.values())


def _count(detail: Mapping[str, Any]) -> int | None:
    """Return the number in the details of an event; None if there is none, or they are damaged."""
    n = detail.get("n")
    return n if type(n) is int and n >= 0 else None


def _labels(detail: Mapping[str, Any]) -> list[int]:
    rows = detail.get("rows")
    return [row for row in rows if type(row) is int] if isinstance(rows, list) else []


def notes(connection: sqlite3.Connection, run_id: int, step_run_id: int | None = None) -> tuple[ResultNote, ...]:
    """Return the notes on results that are not in the table, in the order of their events.

    Parameters
    ----------
    connection, run_id, step_run_id
        As for `failures`.
    """
    which = COUNTS if step_run_id is None else "step_run.id = :step_run_id"
    found = connection.execute(
        f"{_NOTES} AND {which} ORDER BY event.id", {"run_id": run_id, "step_run_id": step_run_id}
    )
    return tuple(
        ResultNote(
            address_of(row), member(EventKind, row.what), row.why, _count(row.detail), tuple(_labels(row.detail))
        )
        for row in found
    )


class Cause(FailureGroup):
    """Failures of one step with the same cause, in all its iterations. Numbers in the texts may differ.

    Attributes
    ----------
    failures : list of Failure
        In the order of their events.
    """

    def __init__(self) -> None:
        super().__init__({})
        self.failures: list[Failure] = []


def group_by_cause(found: Iterable[Failure]) -> list[Cause]:
    """Group failures by cause; those that were retried come last."""
    groups: dict[tuple[object, ...], Cause] = {}
    for failure in found:
        why = without_numbers(failure.why or "")
        key = (failure.was_retried, failure.path, failure.what, failure.kind or "", why)
        cause = groups.setdefault(key, Cause())
        cause.failures.append(failure)
        cause.add(failure.n, failure.rows)
    return sorted(groups.values(), key=lambda cause: cause.failures[0].was_retried)


def address_of(row: Row) -> str:
    """Return the address of a row with a step's name and iteration: `run@4`, outside loops `run`."""
    return format_address(row.name, row.iteration)
