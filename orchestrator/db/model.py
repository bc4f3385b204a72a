"""What the state machine needs from the rows of the database, as its own values."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from orchestrator.db.rows import Row, scalar
from orchestrator.machine.kinds import Doubt, Role
from orchestrator.machine.model import Job, StepRun
from orchestrator.machine.states import JobState, StepRunState

__all__ = ["first_failed", "job_of", "step_run_of"]

_CONVERTED = ("role", "state", "doubt", "rivals")
_PLAIN = tuple(name for name in Job._fields if name not in _CONVERTED)


def job_of(row: Row) -> Job:
    """Return a row of `job` as a `Job`."""
    return Job(
        role=Role(row.role),
        state=JobState(row.state),
        doubt=None if row.doubt is None else Doubt(row.doubt),
        rivals=tuple(row.rivals.split(",")) if row.rivals else (),
        **{name: row[name] for name in _PLAIN},
    )


def step_run_of(row: Row, jobs: Sequence[Row]) -> StepRun:
    """Return a row of `step_run`, with the rows of its jobs, as a `StepRun`."""
    return StepRun(
        position=row.position,
        epoch=row.epoch,
        first_attempt=row.first_attempt,
        state=StepRunState(row.state),
        reason=row.reason,
        n_experiments=row.n_experiments,
        n_tasks=row.n_tasks,
        batch_size=row.batch_size,
        until=row.until,
        jobs=tuple(job_of(job) for job in jobs),
    )


def first_failed(connection: sqlite3.Connection, run_id: int) -> int | None:
    """Return the position of the first step run that failed or was cancelled and is not withdrawn."""
    failed = f"withdrawn_at IS NULL AND state IN ('{StepRunState.FAILED}', '{StepRunState.CANCELLED}')"
    position: int | None = scalar(
        connection, f"SELECT min(position) FROM step_run WHERE run_id = ? AND {failed}", (run_id,)
    )
    return position
