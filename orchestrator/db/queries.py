"""What `status`, `list` and `logs` ask. Reading only, a few queries whatever the length of the run.

The answers are dicts of JSON values; names that end in `_at` are times in epoch seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from orchestrator.db.connection import session
from orchestrator.db.lease import Holder, is_gone
from orchestrator.db.tables import event, job, run, step_run
from orchestrator.errors import NotFound
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep
from orchestrator.machine.states import StepRunState

__all__ = ["find_step_run", "latest_key", "list_runs", "run_status", "step_run_ended"]

MOST_STEP_RUNS = 1000
"""Step runs that a status lists one by one, the latest; the sums are of all."""


def list_runs(path: Path) -> list[dict[str, Any]]:
    """List all runs, the latest first."""
    counts = (
        select(step_run.c.run_id, func.sum(step_run.c.n_finished), func.sum(step_run.c.n_failed))
        .where(step_run.c.withdrawn_at.is_(None))
        .group_by(step_run.c.run_id)
    )
    with session(path, write=False) as connection:
        experiments = {row[0]: (row[1], row[2]) for row in connection.execute(counts)}
        rows = connection.execute(select(run).order_by(run.c.id.desc())).all()
    listed = []
    for row in rows:
        n_finished, n_failed = experiments.get(row.id, (0, 0))
        listed.append({**_run(row), **_stalled(row, time.time()), "n_finished": n_finished, "n_failed": n_failed})
    return listed


def latest_key(path: Path) -> str:
    """Name the run that was made last.

    Raises
    ------
    NotFound
    """
    with session(path, write=False) as connection:
        key: str | None = connection.scalar(select(run.c.key).order_by(run.c.id.desc()).limit(1))
    if key is None:
        raise NotFound(f"There is no run in {path.parent} yet.", "Start one: orchestrator run STUDY.py")
    return key


def run_status(path: Path, key: str, now: float | None = None) -> dict[str, Any]:
    """Tell all about one run.

    Returns
    -------
    dict
        `run`; `steps`: one sum per step of the pipeline, in its order; `step_runs`, with their `jobs`: the latest
        thousand; `failures`: causes, with how many and which experiments; `now`: the step run that is open, or None;
        `next`: address of the step after it, or None.

    Raises
    ------
    NotFound
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        row = _run_row(connection, key)
        plan = Plan.from_json(json.loads(row.plan))
        live = (step_run.c.run_id == row.id) & step_run.c.withdrawn_at.is_(None)
        last = select(step_run).where(live).order_by(step_run.c.position.desc()).limit(MOST_STEP_RUNS)
        step_runs = connection.execute(last).all()[::-1]
        ids = [found.id for found in step_runs]
        jobs = connection.execute(select(job).where(job.c.step_run_id.in_(ids)).order_by(job.c.id)).all()
        sums = _sums(connection, live, now)
        failures = _failures(connection, live)
    described = [_described(found, jobs) for found in step_runs]
    current = described[-1] if described and described[-1]["ended_at"] is None else None
    return {
        "run": {**_run(row), **_stalled(row, now)},
        "steps": [_step(step, depth, loops, sums.get(step.path)) for step, depth, loops in _in_order(plan.elements)],
        "step_runs": described,
        "failures": failures,
        "now": current,
        "next": _next(plan, row, current),
    }


def find_step_run(path: Path, key: str, address: str) -> dict[str, Any]:
    """Find the latest epoch of the step run at an address; a bare name in a loop means its latest iteration.

    Returns
    -------
    dict
        The step run with its `jobs`, its `label`, whether it is `parallel`, and its `failures`.

    Raises
    ------
    NotFound
        If there is no such step, or it has not run.
    """
    with session(path, write=False) as connection:
        row = _run_row(connection, key)
        plan = Plan.from_json(json.loads(row.plan))
        name, _, iteration = address.rpartition("@")
        if not name or not all(part.isdecimal() for part in iteration.split(".")):
            name, iteration = address, ""
        here = select(step_run).where(step_run.c.run_id == row.id, step_run.c.name == name)
        latest = here.order_by(step_run.c.position.desc(), step_run.c.epoch.desc()).limit(1)
        exactly = latest.where(step_run.c.iteration == iteration)
        found = connection.execute(exactly).one_or_none()
        if found is None and not iteration:
            found = connection.execute(latest).one_or_none()
        if found is None:
            raise _not_run(key, address, name, plan)
        jobs = connection.execute(select(job).where(job.c.step_run_id == found.id).order_by(job.c.id)).all()
        failures = _failures(connection, step_run.c.id == found.id)
    step = plan.slot(found.position).step if found.position < plan.size else None
    return {
        **_described(found, jobs),
        "label": step.label if step is not None else found.name,
        "parallel": step is not None and step.parallel,
        "failures": failures,
    }


def step_run_ended(path: Path, step_run_id: int) -> bool:
    """Tell whether a step run is closed."""
    with session(path, write=False) as connection:
        return connection.scalar(select(step_run.c.ended_at).where(step_run.c.id == step_run_id)) is not None


# --- pieces --------------------------------------------------------------------------------------


def _run_row(connection: Connection, key: str) -> Row[Any]:
    row = connection.execute(select(run).where(run.c.key == key)).one_or_none()
    if row is None:
        known = connection.scalars(select(run.c.key).order_by(run.c.id.desc()).limit(4)).all()
        some = f" Its latest are: {', '.join(known)}." if known else ""
        raise NotFound(f"There is no run {key} in this workspace.{some}", "See which there are: orchestrator list")
    return row


def _run(row: Row[Any]) -> dict[str, Any]:
    names = ("key", "name", "mode", "state", "reason", "study", "created_at", "started_at", "ended_at")
    holder = None
    if row.lease_host is not None:
        holder = {"host": row.lease_host, "pid": row.lease_pid, "scheduler_id": row.lease_scheduler_id}
    return {
        **{name: row._mapping[name] for name in names},
        "cancel_requested_at": row.cancel_requested_at,
        "n_failed_step_runs": row.n_failed_step_runs,
        "holder": holder,
        "provenance": row.provenance,
    }


def _stalled(row: Row[Any], now: float) -> dict[str, Any]:
    """Derive whether an active run waits for somebody to type something."""
    if row.state != "active" or row.mode != "local":
        return {"stalled": None}
    if row.lease_host is None:
        return {"stalled": "no process advances it"}
    holder = Holder(row.lease_host, row.lease_boot, row.lease_pid, row.lease_pid_start, row.lease_scheduler_id)
    if is_gone(holder, row.lease_beat_seen_at, now):
        return {"stalled": f"process {holder.pid} on {holder.host}, which advanced it, has died"}
    return {"stalled": None}


def _sums(connection: Connection, live: Any, now: float) -> dict[str, Row[Any]]:
    """Add up the step runs of each step."""

    def count(*states: str) -> Any:
        return func.sum(case((step_run.c.state.in_(states), 1), else_=0))

    query = (
        select(
            step_run.c.path,
            func.count().label("n"),
            count(StepRunState.SUCCEEDED).label("succeeded"),
            count(StepRunState.FAILED).label("failed"),
            count(StepRunState.CANCELLED).label("cancelled"),
            count(StepRunState.SKIPPED).label("skipped"),
            count(StepRunState.ACTIVE).label("active"),
            count(StepRunState.PENDING).label("pending"),
            func.sum(step_run.c.n_finished).label("n_finished"),
            func.sum(step_run.c.n_failed).label("n_failed"),
            func.sum(func.coalesce(step_run.c.ended_at, now) - step_run.c.started_at).label("seconds"),
        )
        .where(live)
        .group_by(step_run.c.path)
    )
    return {row.path: row for row in connection.execute(query)}


def _in_order(
    elements: Iterable[PlannedStep | PlannedLoop], depth: int = 0, n: int = 1
) -> Iterable[tuple[PlannedStep, int, int]]:
    for element in elements:
        if isinstance(element, PlannedStep):
            yield element, depth, n
        else:
            yield from _in_order(element.body, depth + 1, n * element.n_iterations)


def _step(step: PlannedStep, depth: int, n_planned: int, row: Row[Any] | None) -> dict[str, Any]:
    values: dict[str, Any] = {"name": step.name, "path": step.path, "depth": depth, "n_planned": n_planned}
    if row is None:
        return {**values, "state": "waiting", "n": 0, "n_finished": 0, "n_failed": 0, "seconds": None}
    order = ("active", "pending", "failed", "cancelled", "succeeded", "skipped")
    state = next(state for state in order if row._mapping[state])
    counts = {name: row._mapping[name] for name in ("n", "n_finished", "n_failed", "seconds")}
    return {**values, "state": state, **counts, "n_step_runs_failed": row.failed}


def _described(row: Row[Any], jobs: Iterable[Row[Any]]) -> dict[str, Any]:
    names = ("id", "position", "epoch", "name", "iteration", "kind", "state", "reason", "n_experiments", "n_tasks")
    more = ("n_finished", "n_failed", "until", "created_at", "started_at", "ended_at")
    address = f"{row.name}@{row.iteration}" if row.iteration else row.name
    mine = [_job(found) for found in jobs if found.step_run_id == row.id]
    return {"address": address, **{name: row._mapping[name] for name in (*names, *more)}, "jobs": mine}


def _job(row: Row[Any]) -> dict[str, Any]:
    names = ("token", "role", "batch", "attempt", "tasks", "n_tasks", "state", "kind", "reason", "scheduler_id")
    times = ("failed_tasks", "n_finished", "n_failed", "planned_at", "queued_at", "started_at", "ended_at", "detail")
    return {name: row._mapping[name] for name in (*names, *times)}


def _failures(connection: Connection, live: Any) -> list[dict[str, Any]]:
    """Gather what went wrong: failed experiments by cause, failed tasks and jobs by reason."""
    what = event.c.what.in_(("experiments failed", "task failed", "results quarantined"))
    events = select(step_run, event.c.what, event.c.why, event.c.task, event.c.detail).join_from(event, step_run)
    groups: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in connection.execute(events.where(live, what).order_by(event.c.id)):
        group = groups.setdefault((row.position, row.what, row.why), _failure(row, row.what, row.why, row.detail))
        group["n"] += row.detail.get("n", 1)
        group["rows"] = (group["rows"] + row.detail.get("rows", []))[:100]
        group["tasks"] += [] if row.task is None else [row.task]
    failed = select(step_run, job.c.reason.label("why"), job.c.kind.label("job_kind"), job.c.detail).join_from(
        job, step_run
    )
    broken = (job.c.state.in_(("failed", "lost"))) & (job.c.role == "step")
    for row in connection.execute(failed.where(live, broken).order_by(job.c.id)):
        detail = {**row.detail.get("error", {}), "kind": row.job_kind}
        group = groups.setdefault((row.position, "step failed", row.why), _failure(row, "step failed", row.why, detail))
        group["n"] += 1
    return list(groups.values())


def _failure(row: Row[Any], what: str, why: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "address": f"{row.name}@{row.iteration}" if row.iteration else row.name,
        "what": what,
        "why": why,
        "kind": detail.get("kind", "exception"),
        "n": 0,
        "rows": [],
        "tasks": [],
        "traceback": detail.get("traceback"),
    }


def _next(plan: Plan, row: Row[Any], current: dict[str, Any] | None) -> str | None:
    if row.state != "active":
        return None
    after = row.first_position if current is None else current["position"] + 1
    if current is not None and after < plan.size and plan.slot(after).step.kind == "until":
        after += 1
    return plan.slot(after).address if after < plan.size else None


def _not_run(key: str, address: str, name: str, plan: Plan) -> NotFound:
    names = list(dict.fromkeys(step.name for step in plan.steps()))
    if name not in names:
        return NotFound(f"Run {key} has no step {address!r}.", f"Its steps are: {', '.join(names)}")
    return NotFound(
        f"Step {address} of run {key} has not run yet.", f"See how far the run has come: orchestrator status {key}"
    )
