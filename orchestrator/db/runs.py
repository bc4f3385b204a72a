"""Read runs for `wait` and `logs`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.db.connection import session
from orchestrator.db.liveness import cluster_of, live_jobs, liveness, stopped_by_of
from orchestrator.db.model_of_rows import COUNTS, plan_of
from orchestrator.db.relocation import relocation
from orchestrator.db.rows import Row, member
from orchestrator.db.run_rows import run_row
from orchestrator.db.views import Event, HolderView, RunView
from orchestrator.machine.kinds import EventKind, Mode, Wake
from orchestrator.machine.plan import Plan
from orchestrator.machine.stalled import Liveness, why_stalled
from orchestrator.machine.states import RunState, StepRunState
from orchestrator.workspace import LOG_DIR, Workspace

__all__ = [
    "RUN",
    "all_runs",
    "count_experiments",
    "find_run",
    "history",
    "log_dir",
    "project_dirs",
    "run_view",
    "settings_of",
    "step_names",
    "sum_so_far",
]

RUN = """
SELECT *, CASE WHEN state = 'active' THEN (SELECT max(at) FROM event WHERE run_id = run.id) END AS last_event_at
FROM run
"""
"""All runs, with when something last happened in an active one."""


def sum_so_far(column: str) -> str:
    """Return SQL that counts experiments; for an open step run, those of earlier epochs and of its ended jobs."""
    of_jobs = f"(SELECT coalesce(sum(job.{column}), 0) FROM job WHERE job.step_run_id = step_run.id)"
    return f"sum(CASE WHEN ended_at IS NULL THEN {column}_before + {of_jobs} ELSE {column} END)"


_EXPERIMENTS = f"""
SELECT run_id, {sum_so_far("n_finished")} AS n_finished, {sum_so_far("n_failed")} AS n_failed,
    max(state = '{StepRunState.FAILED}' AND n_failed > 0) AS has_too_many_failed,
    max(accepts_failed AND n_failed > 0) AS has_accepted_failed
FROM step_run WHERE {COUNTS}
"""


def find_run(path: Path, key: str | None, now: float | None = None) -> RunView:
    """Return a run.

    Parameters
    ----------
    path : Path
        The database.
    key : str or None
        None means the latest run.
    now : float, optional
        Epoch seconds.

    Raises
    ------
    NotFound
        If there is no such run.
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        row = run_row(connection, key, RUN)
        live = live_jobs(connection, [row]).get(row.id, ())
        return run_view(
            row, now, liveness(row, now, live), count_experiments(connection, row.id), Workspace(path).real_root
        )


def project_dirs(path: Path, key: str) -> list[str]:
    """Return the folders of the tables of a run, relative to its folder, in the order of its steps."""
    with session(path, write=False) as connection:
        plan = plan_of(run_row(connection, key))
    return list(dict.fromkeys(step.project_dir for step in plan.steps()))


def step_names(path: Path, key: str | None) -> tuple[str, list[str]]:
    """Return the key of a run, by default the latest, and the names of its steps."""
    with session(path, write=False) as connection:
        row = run_row(connection, key)
        return row.key, list(dict.fromkeys(step.name for step in plan_of(row).steps()))


class RunSettings(NamedTuple):
    """What a run was started with, as recorded.

    Attributes
    ----------
    key, name, mode, study : str, str, str, str or None
        As of `RunView`.
    plan : Plan
        Its steps and loops.
    cluster, provenance : mapping
        Its cluster, empty for a run on this machine, and where it comes from.
    bundle_digest : str or None
        Digest of its code.
    """

    key: str
    name: str
    mode: str
    study: str | None
    plan: Plan
    cluster: Mapping[str, Any]
    provenance: Mapping[str, Any]
    bundle_digest: str | None


def settings_of(path: Path, key: str | None) -> RunSettings:
    """Return what a run was started with; None means the latest run.

    Raises
    ------
    NotFound
        If there is no such run.
    """
    with session(path, write=False) as connection:
        row = run_row(connection, key)
    study = relocation(row, Workspace(path).real_root).get("study", row.study)
    plain = (row.key, row.name, row.mode, study, plan_of(row))
    return RunSettings(*plain, row.cluster or {}, row.provenance, row.bundle_digest)


# --- rows ----------------------------------------------------------------------------------------


def all_runs(connection: sqlite3.Connection, now: float, root: str) -> dict[int, tuple[RunView, Liveness]]:
    """Return all runs by the number of their row, the latest first, each with what decides whether it is stalled.

    Parameters
    ----------
    connection : sqlite3.Connection
        With a transaction begun.
    now : float
        Epoch seconds.
    root : str
        The workspace's root folder, without symbolic links.
    """
    rows = connection.execute(f"{RUN} ORDER BY id DESC").fetchall()
    counts = {row.run_id: row for row in connection.execute(f"{_EXPERIMENTS} GROUP BY run_id")}
    live = live_jobs(connection, rows)
    alive = {row.id: liveness(row, now, live.get(row.id, ())) for row in rows}
    return {row.id: (run_view(row, now, alive[row.id], counts.get(row.id), root), alive[row.id]) for row in rows}


def count_experiments(connection: sqlite3.Connection, run_id: int) -> Row:
    """Return how many experiments of a run finished and failed."""
    counts: Row = connection.execute(f"{_EXPERIMENTS} AND run_id = ?", (run_id,)).fetchone()
    return counts


def run_view(row: Row, now: float, alive: Liveness, experiments: Row | None, root: str) -> RunView:
    """Return a run as a value.

    Parameters
    ----------
    row : Row
        From `run_row`.
    now : float
        Epoch seconds.
    alive : Liveness
        What decides whether the run is stalled.
    experiments : Row or None
        Counts of its experiments; None if it has no step run.
    root : str
        The workspace's root folder, without symbolic links.
    """
    stalled = why_stalled(alive)
    last = row.last_event_at or row.ended_at or row.created_at
    # A process that has died has sent heartbeats after its last event.
    end = row.ended_at or (max(last, row.lease_beat_at or 0.0) if stalled else now)
    return RunView(
        key=row.key,
        name=row.name,
        uid=row.uid,
        mode=member(Mode, row.mode),
        state=member(RunState, row.state),
        reason=row.reason,
        study=relocation(row, root).get("study", row.study),
        study_attr=row.study_attr,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        last_event_at=last,
        seconds=max(0.0, end - (row.started_at or row.created_at) - row.idle_seconds),
        idle_seconds=row.idle_seconds,
        queue_seconds=row.queue_seconds,
        stalled=stalled,
        stopped_at=row.stopped_at if stalled else None,
        stopped_by=stopped_by_of(row) if stalled else None,
        cancel_requested_at=row.cancel_requested_at,
        held_at=row.held_at,
        forked_from=row.forked_from,
        forked_step=row.forked_step,
        failing=row.failing,
        login_only=row.login_only,
        n_failed_step_runs=row.n_failed_step_runs,
        holder=None if row.lease_host is None else HolderView(row.lease_host, row.lease_pid, row.lease_scheduler_id),
        wake=_wake(row),
        idle_wakeups=row.idle_wakeups,
        log_dir=log_dir(row),
        n_finished=0 if experiments is None else experiments.n_finished or 0,
        n_failed=0 if experiments is None else experiments.n_failed or 0,
        has_too_many_failed=experiments is not None and bool(experiments.has_too_many_failed),
        has_accepted_failed=experiments is not None and bool(experiments.has_accepted_failed),
    )


def _wake(row: Row) -> Wake | None:
    wake = cluster_of(row).get("wake")
    return Wake(wake) if wake in tuple(Wake) else None


def log_dir(row: Row) -> str:
    """Return the folder of a run's logs, relative to the workspace; `{project_job}` stands for the key."""
    folder = cluster_of(row).get("log_dir", LOG_DIR)
    return folder if isinstance(folder, str) else LOG_DIR


def history(connection: sqlite3.Connection, run_id: int) -> tuple[Event, ...]:
    """Return the events of the run itself, without those of its step runs."""
    query = "SELECT * FROM event WHERE run_id = ? AND step_run_id IS NULL ORDER BY id"
    rows = connection.execute(query, (run_id,))
    return tuple(Event(row.at, member(EventKind, row.what), row.old, row.new, row.why, row.detail) for row in rows)
