"""Derive whether a run is stalled: active, and nobody will go on with it until somebody types something.

From the records alone. `status --refresh` asks SLURM, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from orchestrator.db.lease import Holder, is_gone, is_silent
from orchestrator.db.tables import job, step_run
from orchestrator.machine.model import Job
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.wakeup import why_stalled

__all__ = ["cluster_of", "live_jobs", "stalled"]


def cluster_of(row: Row[Any]) -> dict[str, Any]:
    """Give the fields of the run's `SlurmCluster`; none, for a run of this machine."""
    fields: dict[str, Any] = (row.cluster or {}).get("cluster", {})
    return fields


def stalled(row: Row[Any], now: float, live_ones: Sequence[Row[Any]]) -> str | None:
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
    why = why_stalled(live, orchestrators, row.n_fruitless, has_tail=cluster_of(row).get("wake") == "both")
    return why if why is None or gone is None else f"{gone}, and {why}"


def _why_gone(row: Row[Any], now: float) -> str | None:
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


def live_jobs(connection: Connection, runs: Iterable[Row[Any]]) -> dict[int, list[Row[Any]]]:
    """Find what a cluster may have of each active run: the jobs of its open step run, then its orchestrator jobs."""
    ids = [row.id for row in runs if row.mode == "slurm" and row.state == RunState.ACTIVE]
    if not ids:
        return {}
    is_open = step_run.c.run_id.in_(ids) & step_run.c.withdrawn_at.is_(None) & step_run.c.ended_at.is_(None)
    of_steps = select(job).join(step_run, job.c.step_run_id == step_run.c.id).where(is_open, job.c.ended_at.is_(None))
    orchestrators = job.c.run_id.in_(ids) & job.c.step_run_id.is_(None) & job.c.ended_at.is_(None)
    found: dict[int, list[Row[Any]]] = {}
    for query in (of_steps, select(job).where(orchestrators)):
        for row in connection.execute(query.order_by(job.c.id)):
            found.setdefault(row.run_id, []).append(row)
    return found


def _as_job(row: Row[Any]) -> Job:
    names = ("token", "role", "reason", "scheduler_id", "absent_since")
    return Job(state=JobState(row.state), **{name: row._mapping[name] for name in names})
