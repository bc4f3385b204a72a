"""Derive whether a run is stalled: active, and nobody will go on with it until somebody types something.

From the records alone. `status --refresh` asks SLURM, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.db.lease import STALE, Holder, is_gone, is_silent
from orchestrator.db.rows import Row
from orchestrator.machine.model import Job
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.wakeup import why_stalled

__all__ = ["ENDS_WITHIN", "cluster_of", "live_jobs", "stalled"]

ENDS_WITHIN = STALE + 60.0
"""Seconds for which whoever ends a run looks again: longer than it takes somebody on another machine to be dead."""


def cluster_of(row: Row) -> dict[str, Any]:
    """Give the fields of the run's `SlurmCluster`; none, for a run of this machine."""
    fields: dict[str, Any] = (row.cluster or {}).get("cluster", {})
    return fields


def stalled(row: Row, now: float, live_ones: Sequence[Row]) -> str | None:
    """Say why an active run waits for somebody to type something; None where it does not.

    Parameters
    ----------
    row : Row
        Of `run`.
    now : float
        Epoch seconds.
    live_ones : sequence of Row
        Its own of what `live_jobs` found.
    """
    if row.state != RunState.ACTIVE:
        return None
    gone = _why_gone(row, now)
    if row.lease_host is not None and gone is None:
        return None
    if row.mode == "local":
        return gone or "no process advances it"
    live = [_as_job(found) for found in live_ones if found.role != "orchestrator"]
    orchestrators = [_as_job(found) for found in live_ones if found.role == "orchestrator"]
    # What was cancelled has no tail. Whoever ends a run holds it only while they look, and looks again and again.
    has_tail = cluster_of(row).get("wake") == "both" and not _was_to_end(row, now)
    why = why_stalled(live, orchestrators, row.n_fruitless, has_tail=has_tail)
    return why if why is None or gone is None else f"{gone}, and {why}"


def _was_to_end(row: Row, now: float) -> bool:
    """Tell whether the run should have failed, or stopped on request, and whoever saw to that has had the time."""
    if row.failing is None and row.cancel_requested_at is None:
        return False
    last = max(row.last_event_at or 0.0, row.cancel_requested_at or 0.0)
    return bool(now - last > ENDS_WITHIN)


def _why_gone(row: Row, now: float) -> str | None:
    """Say why whoever has the lease advances the run no more; None where they may, or nobody has it."""
    if row.lease_host is None:
        return None
    holder = Holder(row.lease_host, row.lease_boot, row.lease_pid, row.lease_pid_start, row.lease_scheduler_id)
    who = f"process {holder.pid} on {holder.host}, which advanced it,"
    if is_gone(holder, row.lease_beat_seen_at, now):
        return f"{who} has died"
    if is_silent(holder, row.lease_beat_at, now):
        return f"{who} has not been heard of for {round((now - row.lease_beat_at) / 60)} min"
    return None


def live_jobs(connection: sqlite3.Connection, runs: Iterable[Row]) -> dict[int, list[Row]]:
    """Find what a cluster may have of each active run: the jobs of its open step run, then its orchestrator jobs."""
    ids = [row.id for row in runs if row.mode == "slurm" and row.state == RunState.ACTIVE]
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


def _as_job(row: Row) -> Job:
    names = ("token", "role", "reason", "scheduler_id", "absent_since")
    return Job(state=JobState(row.state), **{name: row[name] for name in names})
