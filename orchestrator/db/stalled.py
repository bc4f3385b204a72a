"""What decides whether runs are stalled, from the records alone. `status --refresh` asks SLURM, too."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.db.lease import Holder, is_gone, silent_for
from orchestrator.db.model import job_of
from orchestrator.db.rows import Row
from orchestrator.machine.kinds import Mode, Role, Wake
from orchestrator.machine.stalled import LeaseHolder, Liveness
from orchestrator.machine.states import RunState

__all__ = ["cluster_of", "live_jobs", "liveness"]


def cluster_of(row: Row) -> dict[str, Any]:
    """Give the fields of the run's `SlurmCluster`; none, for a run of this machine."""
    fields: dict[str, Any] = (row.cluster or {}).get("cluster", {})
    return fields


def liveness(row: Row, now: float, live_ones: Sequence[Row]) -> Liveness:
    """Give what the records say of whether a run is stalled.

    Parameters
    ----------
    row : Row
        Of `run`.
    now : float
        Epoch seconds.
    live_ones : sequence of Row
        Its own of what `live_jobs` found.
    """
    return Liveness(
        RunState(row.state),
        row.mode == Mode.SLURM,
        _holder(row, now),
        tuple(job_of(found) for found in live_ones if found.role != Role.ORCHESTRATOR),
        tuple(job_of(found) for found in live_ones if found.role == Role.ORCHESTRATOR),
        row.idle_wakeups,
        cluster_of(row).get("wake") == Wake.BOTH,
        _ending_for(row, now),
    )


def _holder(row: Row, now: float) -> LeaseHolder | None:
    if row.lease_host is None:
        return None
    holder = Holder(row.lease_host, row.lease_boot, row.lease_pid, row.lease_pid_start, row.lease_scheduler_id)
    return LeaseHolder(
        f"process {holder.pid} on {holder.host}",
        is_gone(holder, row.lease_beat_seen_at, now),
        silent_for(holder, row.lease_beat_at, now),
        holder.scheduler_id,
    )


def _ending_for(row: Row, now: float) -> float | None:
    if row.failing is None and row.cancel_requested_at is None:
        return None
    last: float = max(row.last_event_at or 0.0, row.cancel_requested_at or 0.0)
    return now - last


def live_jobs(connection: sqlite3.Connection, runs: Iterable[Row]) -> dict[int, list[Row]]:
    """Find what a cluster may have of each active run: the jobs of its open step run, then its orchestrator jobs."""
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
