"""Read all about one run for `status`, and all runs for `list`, in a few queries, whatever the length of a run."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from orchestrator.db.connection import session
from orchestrator.db.failures import address_of, failures, notes
from orchestrator.db.liveness import live_jobs, liveness
from orchestrator.db.model_of_rows import first_failed, plan_of
from orchestrator.db.rows import Row, member
from orchestrator.db.run_rows import run_row
from orchestrator.db.runs import RUN, all_runs, count_experiments, history, run_view
from orchestrator.db.step_runs import (
    all_step_runs,
    job_view,
    jobs_of,
    open_step_runs,
    orchestrators,
    removed_experiments,
    step_run_view,
    summaries,
)
from orchestrator.db.views import RunStatus, RunView, StepRunView
from orchestrator.machine.kinds import Role, StepKind
from orchestrator.machine.model import Run, StepRun
from orchestrator.machine.plan import Plan
from orchestrator.machine.stalled import Liveness
from orchestrator.machine.states import RunState, StepRunState
from orchestrator.workspace import Workspace

__all__ = ["ListedRun", "list_runs", "run_status"]

_LATEST = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position DESC LIMIT 1"


def run_status(path: Path, key: str | None, now: float | None = None, *, whole: bool = False) -> RunStatus:
    """Return all about one run.

    Parameters
    ----------
    path : Path
        The database.
    key : str or None
        None means the latest run.
    now : float, optional
        Epoch seconds.
    whole : bool, default False
        Whether every step run, every orchestrator job and the history are included; else only the orchestrator jobs
        that have not ended.

    Raises
    ------
    NotFound
        If there is no such run.
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        row = run_row(connection, key, RUN)
        plan = plan_of(row)
        live = live_jobs(connection, [row]).get(row.id, [])
        alive = liveness(row, now, live)
        run = run_view(row, now, alive, count_experiments(connection, row.id), Workspace(path).real_root)
        end = (run.started_at or run.created_at) + run.seconds + row.idle_seconds
        last: Row | None = connection.execute(_LATEST, (row.id,)).fetchone()
        current = last if last is not None and last.ended_at is None else None
        removed = removed_experiments(connection, row.id, plan)
        waiting = tuple(job_view(job) for job in live if job.role == Role.ORCHESTRATOR)
        return RunStatus(
            run=run,
            # The time of a step run of a dead process ends with that of the run.
            steps=summaries(connection, row.id, plan, end if run.stalled else now),
            now=None if current is None else step_run_view(current, jobs_of(connection, current.id)),
            next=_next(plan, row, _suspended_after(connection, row, last) or last),
            resume_from=_resume_from(connection, plan, row, last, run.stalled),
            failures=failures(connection, row.id),
            notes=notes(connection, row.id),
            orchestrators=orchestrators(connection, row.id) if whole else waiting,
            step_runs=all_step_runs(connection, row.id) if whole else (),
            history=history(connection, row.id) if whole else (),
            provenance=row.provenance,
            liveness=alive,
            n_removed_finished=removed[0],
            n_removed_failed=removed[1],
        )


class ListedRun(NamedTuple):
    """A run of a list.

    Attributes
    ----------
    run : RunView
        The run as recorded.
    step_run : StepRunView or None
        Its open step run; None if it has none.
    liveness : Liveness
        What decides whether it is stalled.
    """

    run: RunView
    step_run: StepRunView | None
    liveness: Liveness


def list_runs(path: Path, now: float | None = None) -> list[ListedRun]:
    """Return all runs, the latest first.

    Parameters
    ----------
    path : Path
        The database.
    now : float, optional
        Epoch seconds.
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        runs = all_runs(connection, now, Workspace(path).real_root)
        open_ = open_step_runs(connection)
    return [ListedRun(run, open_.get(number), alive) for number, (run, alive) in runs.items()]


# --- what comes next -----------------------------------------------------------------------------


def _next(plan: Plan, row: Row, last: Row | None) -> str | None:
    """Return the address of the step after the last one; `until` may still end the loop there."""
    if row.state != RunState.ACTIVE:
        return None
    position = _after(plan, last)
    if position < row.first_position:
        position = row.first_position
    return plan.slot(position).address if position < plan.size else None


def _suspended_after(connection: sqlite3.Connection, row: Row, last: Row | None) -> Row | None:
    """Return the last step run that counts again when the open one, whose experiments are retried, has ended."""
    suspended = "SELECT * FROM step_run WHERE run_id = ? AND suspended_after = ? ORDER BY position DESC LIMIT 1"
    found: Row | None = None if last is None else connection.execute(suspended, (row.id, last.position)).fetchone()
    return found


def _after(plan: Plan, last: Row | None) -> int:
    if last is None:
        return 0
    if last.position >= plan.size:
        return plan.size
    position = plan.after(last.position, last.until)
    # The `until` of a loop is not a step of the user.
    is_question = position < plan.size and plan.slot(position).step.kind is StepKind.UNTIL
    return plan.after(position, False) if is_question else position


def _resume_from(
    connection: sqlite3.Connection, plan: Plan, row: Row, last: Row | None, stalled: str | None
) -> str | None:
    if row.state == RunState.ACTIVE:
        open_ = last is not None and (last.ended_at is None or last.state == StepRunState.CANCELLED)
        return None if stalled is None else address_of(last) if last is not None and open_ else _next(plan, row, last)
    from orchestrator.machine.resume_point import where_to_resume  # all that decides, which other runs do not need

    at = None if last is None else StepRun(last.position, state=member(StepRunState, last.state), until=last.until)
    stopped = Run(row.key, row.salt, plan, member(RunState, row.state), step_run=at)
    first = where_to_resume(stopped, first_failed(connection, row.id))
    if last is not None and first is not None and first > last.position:
        first = _after(plan, last)
    return plan.slot(first).address if first is not None and first < plan.size else None
