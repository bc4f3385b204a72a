"""The records of runs that `clean` reads and deletes."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.db.connection import session
from orchestrator.db.model_of_rows import COUNTS
from orchestrator.db.ownership import check_own
from orchestrator.db.rows import member
from orchestrator.db.run_rows import fenced_row
from orchestrator.machine.cleanable import Cleanable
from orchestrator.machine.states import RunState

__all__ = ["cleanable_runs", "delete_run"]

_RUNS = f"""
SELECT key, state, uid, ended_at, n_failed_step_runs,
    EXISTS (SELECT * FROM job WHERE job.run_id = run.id AND job.ended_at IS NULL) AS has_jobs,
    (SELECT coalesce(sum(n_failed), 0) FROM step_run WHERE step_run.run_id = run.id AND {COUNTS}) AS n_failed
FROM run ORDER BY id
"""


def cleanable_runs(path: Path) -> list[Cleanable]:
    """Return all runs, as far as `clean` decides about them."""
    with session(path, write=False) as connection:
        return [
            Cleanable(
                row.key,
                member(RunState, row.state),
                row.uid == os.geteuid(),
                row.ended_at,
                bool(row.has_jobs),
                row.n_failed + row.n_failed_step_runs,
            )
            for row in connection.execute(_RUNS)
        ]


def delete_run(path: Path, key: str, fence: int) -> None:
    """Delete all rows of a run, in one transaction.

    Raises
    ------
    LeaseHeld
        If another process has taken the lease since.
    NotOwner
        If it belongs to another user.
    """
    with session(path) as connection:
        row = fenced_row(connection, key, fence)
        check_own(key, row.uid)
        for table in ("event", "job", "step_run"):
            connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (row.id,))
        connection.execute("DELETE FROM run WHERE id = ?", (row.id,))
