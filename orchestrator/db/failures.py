"""What failed in a run, by place and cause, and what else its user should see. Reading only."""

from __future__ import annotations

import sqlite3
from typing import Any

from orchestrator.addresses import format_address
from orchestrator.db.rows import Row, scalar
from orchestrator.failures import ROWS_KEPT

__all__ = ["address_of", "failures", "first_flawed", "notes"]


_TRIED_AGAIN = """EXISTS (
    SELECT 1 FROM job later
    WHERE later.step_run_id = job.step_run_id AND later.batch = job.batch AND later.attempt > job.attempt
) AS tried_again"""

_EVENTS = f"""
SELECT position, name, iteration, path, what, why, task, event.detail, {_TRIED_AGAIN}
FROM event JOIN step_run ON event.step_run_id = step_run.id LEFT JOIN job ON event.job_id = job.id
WHERE event.run_id = :run_id AND what IN ('experiments failed', 'task failed')
"""

# Files are looked at again in each iteration, and folding is tried again when a run is resumed.
_NOTES = """
SELECT name, iteration, what, why, event.detail
FROM event JOIN step_run ON event.step_run_id = step_run.id
WHERE event.run_id = :run_id AND (
    what = 'results quarantined'
    OR what = 'files left' AND NOT EXISTS (
        SELECT 1 FROM step_run later
        WHERE later.run_id = event.run_id AND later.path = step_run.path AND later.state = 'succeeded'
          AND later.position > step_run.position AND later.withdrawn_at IS NULL
    )
    OR what = 'results not folded' AND NOT EXISTS (
        SELECT 1 FROM event resumed
        WHERE resumed.run_id = event.run_id AND resumed.what = 'run' AND resumed.new = 'active'
          AND resumed.id > event.id
    )
)
"""

# The failed tasks of a batch have events of their own, unless it was refused as a whole.
_JOBS = f"""
SELECT position, name, iteration, path, job.reason, job.kind, detail, {_TRIED_AGAIN}
FROM job JOIN step_run ON job.step_run_id = step_run.id
WHERE job.run_id = :run_id AND job.state IN ('failed', 'lost') AND (role = 'step' OR job.kind = 'refused')
"""

_STEPS = """
SELECT position, name, iteration, path, reason FROM step_run WHERE run_id = :run_id AND state = 'failed'
"""


def failures(connection: sqlite3.Connection, run_id: int, step_run_id: int | None = None) -> list[dict[str, Any]]:
    """Gather what went wrong, by place and cause: experiments, tasks, jobs, and steps that say no more than why.

    Parameters
    ----------
    connection : sqlite3.Connection
    run_id : int
    step_run_id : int, optional
        Only of this step run; else of all that count.
    """
    which = "step_run.withdrawn_at IS NULL" if step_run_id is None else "step_run.id = :step_run_id"
    of = {"run_id": run_id, "step_run_id": step_run_id}
    groups: dict[tuple[int, str, str | None], dict[str, Any]] = {}

    def group(row: Row, what: str, why: str | None, detail: dict[str, Any]) -> dict[str, Any]:
        return groups.setdefault((row.position, what, why), _failure(row, what, why, detail))

    for row in connection.execute(f"{_EVENTS} AND {which} ORDER BY event.id", of):
        failure = group(row, row.what, row.why, row.detail)
        failure["n"] += row.detail.get("n", 1)
        failure["rows"] = [*failure["rows"], *row.detail.get("rows", [])][:ROWS_KEPT]
        if row.task is not None:
            failure["tasks"].append(row.task)
            failure["tried_again"] &= bool(row.tried_again)
    for row in connection.execute(f"{_JOBS} AND {which} ORDER BY job.id", of):
        failure = group(row, "step failed", row.reason, {**row.detail.get("error", {}), "kind": row.kind})
        failure["n"] += 1
        failure["tried_again"] &= bool(row.tried_again)
    for failure in groups.values():
        failure["tried_again"] &= failure["what"] in ("task failed", "step failed")
    explained = {position for position, what, _ in groups if what in ("task failed", "step failed")}
    for row in connection.execute(f"{_STEPS} AND {which} ORDER BY position", of):
        if row.position not in explained:
            failure = group(row, "step failed", row.reason, {"kind": None})
            failure.update(n=1, tried_again=False)
    return list(groups.values())


def notes(connection: sqlite3.Connection, run_id: int, step_run_id: int | None = None) -> list[dict[str, Any]]:
    """Gather what became of results that are not in the table, in the order in which it was seen.

    Parameters
    ----------
    connection, run_id, step_run_id
        As of `failures`.
    """
    which = "step_run.withdrawn_at IS NULL" if step_run_id is None else "step_run.id = :step_run_id"
    found = connection.execute(
        f"{_NOTES} AND {which} ORDER BY event.id", {"run_id": run_id, "step_run_id": step_run_id}
    )
    return [
        {
            "address": address_of(row),
            "what": row.what,
            "why": row.why,
            "n": row.detail.get("n"),
            "rows": row.detail.get("rows", []),
        }
        for row in found
    ]


def _failure(row: Row, what: str, why: str | None, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "address": address_of(row),
        "name": row.name,
        "path": row.path,
        "what": what,
        "why": why,
        "kind": detail.get("kind", "exception"),
        "n": 0,
        "rows": [],
        "tasks": [],
        "tried_again": True,
        "traceback": detail.get("traceback"),
    }


def first_flawed(connection: sqlite3.Connection, run_id: int) -> int | None:
    """Name the position of the first step run of a run that failed or was cancelled, of those that count."""
    flawed = "withdrawn_at IS NULL AND state IN ('failed', 'cancelled')"
    position: int | None = scalar(
        connection, f"SELECT min(position) FROM step_run WHERE run_id = ? AND {flawed}", (run_id,)
    )
    return position


def address_of(row: Row) -> str:
    """Write the address of a row that has a step's name and iteration: `run@4`, outside loops `run`."""
    return format_address(row.name, row.iteration)
