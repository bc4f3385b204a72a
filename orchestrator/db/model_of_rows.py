"""Make the values of `orchestrator.machine.model` from the rows of the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from orchestrator.db.rows import DamagedJson, Row, member, one_of, scalar
from orchestrator.errors import DamagedRecords
from orchestrator.machine.kinds import Doubt, Role, Stopping
from orchestrator.machine.model import Job, StepRun
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import STEP_RUN_FLAWED, JobState, StepRunState

__all__ = ["COUNTS", "check_json", "first_failed", "job_of", "plan_of", "step_run_of"]

COUNTS = "(step_run.withdrawn_at IS NULL OR step_run.suspended_after IS NOT NULL)"
"""Condition of the step runs that count: they are not withdrawn, or only until a retry has ended."""

_CONVERTED = ("role", "state", "doubt", "rivals", "stopping")
_PLAIN = tuple(name for name in Job._fields if name not in _CONVERTED)


def job_of(row: Row) -> Job:
    """Return a row of `job` as a `Job`."""
    return Job(
        role=member(Role, row.role),
        state=member(JobState, row.state),
        doubt=None if row.doubt is None else member(Doubt, row.doubt),
        stopping=None if row.stopping is None else member(Stopping, row.stopping),
        rivals=tuple(row.rivals.split(",")) if row.rivals else (),
        **{name: row[name] for name in _PLAIN},
    )


def plan_of(row: Row) -> Plan:
    """Return the plan in a row of `run`.

    Raises
    ------
    DatabaseError
        If it is damaged. That concerns this run only.
    """
    try:
        return _plan(row.plan)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _damaged(row, "plan") from error


@lru_cache(maxsize=8)
def _plan(text: str) -> Plan:
    return Plan.from_json(json.loads(text))


def check_json(row: Row) -> None:
    """Raise `DatabaseError` if a column of a row of `run` that the engine needs is damaged."""
    for column in ("cluster", "provenance", "puts_back"):
        if isinstance(row[column], DamagedJson):
            raise _damaged(row, column)


def _damaged(row: Row, column: str) -> DamagedRecords:
    return DamagedRecords(
        f"The records of run {row.key} are damaged: its {column} can't be read. Its tables and logs are kept.",
        "Restore orchestrator.db from a backup, or run the study again with a new key. Show the other runs: "
        "orchestrator list",
    )


def step_run_of(row: Row, jobs: Sequence[Row]) -> StepRun:
    """Return a row of `step_run`, with the rows of its jobs, as a `StepRun`."""
    return StepRun(
        position=row.position,
        epoch=row.epoch,
        first_attempt=row.first_attempt,
        accepts_failed=row.accepts_failed,
        state=member(StepRunState, row.state),
        reason=row.reason,
        n_experiments=row.n_experiments,
        n_tasks=row.n_tasks,
        batch_size=row.batch_size,
        manifest=row.manifest,
        n_finished_before=row.n_finished_before,
        n_failed_before=row.n_failed_before,
        until=row.until,
        jobs=tuple(job_of(job) for job in jobs),
    )


def first_failed(connection: sqlite3.Connection, run_id: int) -> int | None:
    """Return the position of the first step run that failed or was cancelled and is not withdrawn."""
    failed = f"withdrawn_at IS NULL AND {one_of('state', STEP_RUN_FLAWED)}"
    position: int | None = scalar(
        connection, f"SELECT min(position) FROM step_run WHERE run_id = ? AND {failed}", (run_id,)
    )
    return position
