"""What failed in a run, by place and cause. Reading only."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from orchestrator.db.tables import event, job, step_run
from orchestrator.machine.states import JobState, StepRunState

__all__ = ["address_of", "failures"]

ROWS_KEPT = 100
"""Failed experiments that a failure names; its count tells the rest."""


def failures(connection: Connection, run_id: int, which: Any) -> list[dict[str, Any]]:
    """Gather what went wrong, by place and cause: experiments, tasks, jobs, and steps that say no more than why."""
    groups: dict[tuple[int, str, str | None], dict[str, Any]] = {}

    def group(row: Row[Any], what: str, why: str | None, detail: dict[str, Any]) -> dict[str, Any]:
        return groups.setdefault((row.position, what, why), _failure(row, what, why, detail))

    where = (step_run.c.position, step_run.c.name, step_run.c.iteration, step_run.c.path)
    later = job.alias("later")
    tried_again = (
        select(later.c.id)
        .where(later.c.step_run_id == job.c.step_run_id, later.c.batch == job.c.batch, later.c.attempt > job.c.attempt)
        .exists()
        .label("tried_again")
    )
    events = (
        select(*where, event.c.what, event.c.why, event.c.task, event.c.detail, tried_again)
        .join_from(event, step_run, event.c.step_run_id == step_run.c.id)
        .outerjoin(job, event.c.job_id == job.c.id)
        .where(event.c.run_id == run_id, which)
        .where(event.c.what.in_(("experiments failed", "task failed", "results quarantined")))
        .order_by(event.c.id)
    )
    for row in connection.execute(events):
        failure = group(row, row.what, row.why, row.detail)
        failure["n"] += row.detail.get("n", 1)
        failure["rows"] = [*failure["rows"], *row.detail.get("rows", [])][:ROWS_KEPT]
        if row.task is not None:
            failure["tasks"].append(row.task)
            failure["tried_again"] &= bool(row.tried_again)
    # The failed tasks of a batch have events of their own, unless it was refused as a whole.
    jobs = (
        select(*where, job.c.reason, job.c.kind, job.c.detail, tried_again)
        .join_from(job, step_run, job.c.step_run_id == step_run.c.id)
        .where(job.c.run_id == run_id, which, job.c.state.in_((JobState.FAILED, JobState.LOST)))
        .where((job.c.role == "step") | (job.c.kind == "refused"))
        .order_by(job.c.id)
    )
    for row in connection.execute(jobs):
        failure = group(row, "step failed", row.reason, {**row.detail.get("error", {}), "kind": row.kind})
        failure["n"] += 1
        failure["tried_again"] &= bool(row.tried_again)
    for failure in groups.values():
        failure["tried_again"] &= failure["what"] in ("task failed", "step failed")
    explained = {position for position, what, _ in groups if what in ("task failed", "step failed")}
    steps = (
        select(*where, step_run.c.reason)
        .where(step_run.c.run_id == run_id, which, step_run.c.state == StepRunState.FAILED)
        .order_by(step_run.c.position)
    )
    for row in connection.execute(steps):
        if row.position not in explained:
            failure = group(row, "step failed", row.reason, {"kind": None})
            failure.update(n=1, tried_again=False)
    return list(groups.values())


def _failure(row: Row[Any], what: str, why: str | None, detail: dict[str, Any]) -> dict[str, Any]:
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


def address_of(row: Row[Any]) -> str:
    """Write the address of a row that has a step's name and iteration: `run@4`, outside loops `run`."""
    return f"{row.name}@{row.iteration}" if row.iteration else row.name
