"""The records that decide whether a run is stalled. The rule is in `orchestrator.machine.stalled`.

`status --refresh` also asks SLURM.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.db.lease_holder import holder_of, is_dead, silent_for
from orchestrator.db.model_of_rows import job_of
from orchestrator.db.rows import Row, member
from orchestrator.machine.kinds import Mode, Role, StopSignal, Wake
from orchestrator.machine.stalled import LeaseHolder, Liveness
from orchestrator.machine.states import RunState

__all__ = ["cluster_of", "live_jobs", "liveness", "stopped_by_of"]


def cluster_of(row: Row) -> dict[str, Any]:
    """Return the fields of the run's `SlurmCluster`; empty for a run on this machine."""
    fields = (row.cluster or {}).get("cluster")
    return fields if isinstance(fields, dict) else {}


def stopped_by_of(row: Row) -> StopSignal | None:
    """Return the signal that has stopped the process of a run, if it was not continued since."""
    return None if row.stopped_by is None else member(StopSignal, row.stopped_by)


def liveness(row: Row, now: float, jobs: Sequence[Row]) -> Liveness:
    """Return what decides whether a run is stalled.

    Parameters
    ----------
    row : Row
        The run's row.
    now : float
        Epoch seconds.
    jobs : sequence of Row
        The run's jobs from `live_jobs`.
    """
    return Liveness(
        member(RunState, row.state),
        row.mode == Mode.SLURM,
        _holder(row, now),
        tuple(job_of(job) for job in jobs if job.role != Role.ORCHESTRATOR),
        tuple(job_of(job) for job in jobs if job.role == Role.ORCHESTRATOR),
        row.idle_wakeups,
        cluster_of(row).get("wake") == Wake.BOTH,
        _ending_for(row, now),
        row.login_only,
        row.held_at is not None,
        stopped_by_of(row),
    )


def _holder(row: Row, now: float) -> LeaseHolder | None:
    holder = holder_of(row)
    if holder is None:
        return None
    return LeaseHolder(
        f"process {holder.pid} on {holder.host}",
        is_dead(holder, row.lease_beat_seen_at, now),
        silent_for(holder, row.lease_beat_at, now),
        holder.scheduler_id,
    )


def _ending_for(row: Row, now: float) -> float | None:
    if row.failing is None and row.cancel_requested_at is None:
        return None
    last: float = max(row.last_event_at or 0.0, row.cancel_requested_at or 0.0)
    return now - last


def live_jobs(connection: sqlite3.Connection, runs: Iterable[Row]) -> dict[int, list[Row]]:
    """Return the jobs that have not ended, by run: those of the open step run, then the orchestrator jobs."""
    ids = [row.id for row in runs if row.mode == Mode.SLURM and row.state == RunState.ACTIVE]
    if not ids:
        return {}
    mine = f"({', '.join('?' * len(ids))})"
    of_steps = (
        "SELECT job.* FROM job JOIN step_run ON job.step_run_id = step_run.id "
        f"WHERE step_run.run_id IN {mine} AND withdrawn_at IS NULL AND step_run.ended_at IS NULL "
        "AND job.ended_at IS NULL ORDER BY job.id"
    )
    orchestrators = f"SELECT * FROM job WHERE run_id IN {mine} AND step_run_id IS NULL AND ended_at IS NULL ORDER BY id"
    found: dict[int, list[Row]] = {}
    for query in (of_steps, orchestrators):
        for row in connection.execute(query, ids):
            found.setdefault(row.run_id, []).append(row)
    return found
