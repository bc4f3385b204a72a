"""Apply changes in SQL: only moves that the state machine allows, and each change is recorded as an event."""

from __future__ import annotations

import sqlite3
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.db.rows import Row, insert, member, one_of, scalar, update
from orchestrator.machine.changes import (
    AddJob,
    AddStepRun,
    Change,
    FailRun,
    ForgetAnswer,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordDoubt,
    RecordFreeze,
    RecordHold,
    RecordJobFile,
    RecordLoginOnly,
    RecordStopping,
    RecordSubmissions,
    RecordWait,
    RequestTables,
    Restore,
    Retry,
    Withdraw,
)
from orchestrator.machine.kinds import EventKind, Mode
from orchestrator.machine.plan import Plan
from orchestrator.machine.queue_time import queue_seconds
from orchestrator.machine.states import (
    JOB_ENDED,
    RUN_ENDED,
    STEP_RUN_ENDED,
    STEP_RUN_FLAWED,
    JobState,
    RunState,
    StepRunState,
    may_move,
)

__all__ = ["Target", "apply", "log"]


class Target(NamedTuple):
    """What changes are applied to: an open transaction, the row of a run with its plan, and the time."""

    connection: sqlite3.Connection
    run_id: int
    plan: Plan
    now: float


def apply(target: Target, change: Change) -> None:
    """Apply one change.

    Raises
    ------
    ValueError
        If the state machine does not allow the move, or the row does not exist.
    """
    match change:
        case MoveRun():
            _move_run(target, change)
        case AddStepRun():
            _add_step_run(target, change)
        case MoveStepRun():
            _move_step_run(target, change)
        case RecordFreeze(position=position):
            row = _step_run_at(target, position)
            update(target.connection, "step_run", change.counts, id=row.id)
            _log(target, EventKind.FREEZE, step_run_id=row.id, detail=change.counts)
        case AddJob():
            _add_job(target, change)
        case MoveJob():
            _move_job(target, change)
        case RecordDoubt(token, doubt, since, reason):
            what = EventKind.JOB_KNOWN if doubt is None else EventKind.JOB_IN_DOUBT
            _record_job(target, token, what, doubt, {"doubt": doubt, "doubt_since": since, "reason": reason})
        case RecordSubmissions(token, scheduler_id, rivals):
            known = {} if scheduler_id is None else {"scheduler_id": scheduler_id}
            why = f"rivals {', '.join(rivals)}" if rivals else None
            _record_job(target, token, EventKind.JOB_KNOWN, why, {"rivals": ",".join(rivals), **known})
        case RecordStopping(token, stopping):
            _record_job(target, token, EventKind.JOB_STOPS, stopping, {"stopping": stopping})
        case RecordHold(token, is_held):
            _record_job(target, token, EventKind.JOB_HELD, "held" if is_held else "released", {"held": is_held})
        case RecordJobFile(token, sha256):
            update(target.connection, "job", {"job_file": sha256}, id=_job(target, token).id)
        case RecordWait(token, waits_for):
            _record_job(target, token, EventKind.JOB_WAITS, f"for {waits_for}", {"waits_for": waits_for})
        case FailRun(why):
            update(target.connection, "run", {"failing": why}, id=target.run_id)
            _log(target, EventKind.RUN_FAILING, why=why)
        case RecordLoginOnly(why):
            update(target.connection, "run", {"login_only": why}, id=target.run_id)
            _log(target, EventKind.LOGIN_ONLY, why=why)
        case Withdraw():
            _withdraw(target, change)
        case Retry():
            _retry(target, change)
        case Restore(position):
            _restore(target, position)
        case ForgetAnswer(position):
            update(target.connection, "step_run", {"until": None}, id=_step_run_at(target, position).id)
        case RequestTables(tables):
            update(
                target.connection,
                "run",
                {"puts_back": {"tables": [list(one) for one in tables]} if tables else None},
                id=target.run_id,
            )
            _log(target, EventKind.TABLES, detail={"tables": [list(one) for one in tables]})
        case Note():
            _note(target, change)


def log(
    connection: sqlite3.Connection,
    run_id: int,
    at: float,
    what: EventKind,
    *,
    old: str | None = None,
    new: str | None = None,
    why: str | None = None,
    step_run_id: int | None = None,
    job_id: int | None = None,
    task: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add an event to the history."""
    values = {
        "run_id": run_id,
        "step_run_id": step_run_id,
        "job_id": job_id,
        "task": task,
        "at": at,
        "what": what,
        "old": old,
        "new": new,
        "why": why,
        "detail": detail or {},
    }
    insert(connection, "event", values)


def _log(target: Target, what: EventKind, **columns: Any) -> None:
    log(target.connection, target.run_id, target.now, what, **columns)


def _move_run(target: Target, move: MoveRun) -> None:
    query = "SELECT state, ended_at, idle_seconds FROM run WHERE id = ?"
    row = target.connection.execute(query, (target.run_id,)).fetchone()
    old, ended_at = RunState(row.state), target.now if move.to in RUN_ENDED else None
    values: dict[str, Any] = {
        "reason": move.why,
        "ended_at": ended_at,
        "failing": None,
        "cancel_step": None,
        "held_at": None,
    }
    if move.to is RunState.ACTIVE:
        values["idle_wakeups"] = 0
        if row.ended_at is not None:
            values["idle_seconds"] = row.idle_seconds + max(0.0, target.now - row.ended_at)
    _move(target, "run", target.run_id, old, move.to, values)
    _log(target, EventKind.RUN, old=old, new=move.to, why=move.why)


def _add_step_run(target: Target, new: AddStepRun) -> None:
    values = {
        "run_id": target.run_id,
        "position": new.position,
        "epoch": new.epoch,
        "first_attempt": new.first_attempt,
        "accepts_failed": new.accepts_failed,
        "iteration": new.iteration,
        "name": new.name,
        "kind": new.kind,
        "path": target.plan.slot(new.position).step.path,
        "state": StepRunState.PENDING,
        "created_at": target.now,
    }
    step_run_id = insert(target.connection, "step_run", values)
    begun = "UPDATE run SET started_at = ? WHERE id = ? AND started_at IS NULL"
    target.connection.execute(begun, (target.now, target.run_id))
    _log(target, EventKind.STEP_RUN, new=StepRunState.PENDING, step_run_id=step_run_id)


def _move_step_run(target: Target, move: MoveStepRun) -> None:
    row = _step_run_at(target, move.position)
    old = member(StepRunState, row.state)
    values: dict[str, Any] = {"reason": move.why}
    if move.to is StepRunState.ACTIVE:
        values["started_at"] = target.now if move.at is None else move.at
    if move.to in STEP_RUN_ENDED:
        values |= {"ended_at": target.now, "queue_seconds": _add_queue_time(target, row.id)}
    values |= {
        name: value for name in ("n_finished", "n_failed", "until") if (value := getattr(move, name)) is not None
    }
    _move(target, "step_run", row.id, old, move.to, values)
    if move.to in STEP_RUN_ENDED:
        cancelled = "UPDATE run SET cancel_step = NULL WHERE id = ? AND cancel_step = ?"
        target.connection.execute(cancelled, (target.run_id, move.position))
    if move.to in STEP_RUN_FLAWED:
        more = "UPDATE run SET n_failed_step_runs = n_failed_step_runs + 1 WHERE id = ?"
        target.connection.execute(more, (target.run_id,))
    _log(target, EventKind.STEP_RUN, old=old, new=move.to, why=move.why, step_run_id=row.id)


def _add_queue_time(target: Target, step_run_id: int) -> float:
    """Add to a run the time in which an ending step run only waited in the queue, and return it; 0 on this machine."""
    if scalar(target.connection, "SELECT mode FROM run WHERE id = ?", (target.run_id,)) != Mode.SLURM:
        return 0.0
    query = "SELECT queued_at, started_at, ended_at FROM job WHERE step_run_id = ?"
    waited = queue_seconds(target.connection.execute(query, (step_run_id,)), target.now)
    more = "UPDATE run SET queue_seconds = queue_seconds + ? WHERE id = ?"
    target.connection.execute(more, (waited, target.run_id))
    return waited


def _add_job(target: Target, new: AddJob) -> None:
    step_run_id = None if new.position is None else _step_run_at(target, new.position).id
    values: dict[str, Any] = {
        "run_id": target.run_id,
        "step_run_id": step_run_id,
        "token": new.token,
        "role": new.role,
        "batch": new.batch,
        "attempt": new.attempt,
        "tasks": new.tasks,
        "n_tasks": new.n_tasks,
        "state": JobState.PLANNED,
        "planned_at": target.now,
        "waits_for": new.waits_for,
        "detail": {},
    }
    job_id = insert(target.connection, "job", values)
    if step_run_id is None:
        more = "UPDATE run SET n_orchestrators = n_orchestrators + 1, idle_wakeups = idle_wakeups + 1 WHERE id = ?"
        target.connection.execute(more, (target.run_id,))
    _log(target, EventKind.JOB, new=JobState.PLANNED, why=new.why, step_run_id=step_run_id, job_id=job_id)


_TIME_OF = {JobState.SUBMITTING: "submitting_at", JobState.QUEUED: "queued_at", JobState.RUNNING: "started_at"}


def _move_job(target: Target, move: MoveJob) -> None:
    row = _job(target, move.token)
    old = member(JobState, row.state)
    # The clocks of two machines may differ: a time is never earlier than the one before it.
    earlier = [time for time in (row.queued_at, row.started_at) if time is not None]
    at = max([move.at if move.at is not None else target.now, *earlier])
    values: dict[str, Any] = {
        "reason": move.why,
        "kind": move.kind,
        "doubt": None,
        "doubt_since": None,
        "failed_tasks": move.failed_tasks,
    }
    known: dict[str, Any] = {name: getattr(move, name) for name in ("scheduler_id", "n_finished", "n_failed", "until")}
    values |= {name: value for name, value in known.items() if value is not None}
    if move.detail:
        values["detail"] = {**row.detail, **move.detail}
    if move.to in JOB_ENDED:
        values["ended_at"] = at
    elif move.to in _TIME_OF:
        values[_TIME_OF[move.to]] = at
    if move.to is JobState.SUBMITTING:
        values["job_file"] = None
    _move(target, "job", row.id, old, move.to, values)
    if move.to is JobState.QUEUED and row.step_run_id is not None:
        update(target.connection, "run", {"idle_wakeups": 0}, id=target.run_id)
    _log(target, EventKind.JOB, old=old, new=move.to, why=move.why, step_run_id=row.step_run_id, job_id=row.id)


def _record_job(target: Target, token: str, what: EventKind, why: str | None, values: dict[str, Any]) -> None:
    row = _job(target, token)
    update(target.connection, "job", values, id=row.id)
    _log(target, what, why=why, step_run_id=row.step_run_id, job_id=row.id)


def _withdraw(target: Target, withdraw: Withdraw) -> None:
    late = "UPDATE step_run SET withdrawn_at = ? WHERE run_id = ? AND withdrawn_at IS NULL AND position >= ?"
    target.connection.execute(late, (target.now, target.run_id, withdraw.position))
    _count_failed(target)
    if withdraw.forgets:
        # The user named the position, so what a retry has suspended after it runs again, too.
        unsuspend = (
            "UPDATE step_run SET suspended_after = NULL "
            "WHERE run_id = ? AND suspended_after IS NOT NULL AND position >= ?"
        )
        target.connection.execute(unsuspend, (target.run_id, withdraw.position))
    _forget(target, withdraw.position if withdraw.forgets else withdraw.position + 1)
    _log(
        target,
        EventKind.WITHDRAWN,
        why=withdraw.why,
        detail={"position": withdraw.position, "forgets": withdraw.forgets},
    )


def _retry(target: Target, retry: Retry) -> None:
    suspend = (
        "UPDATE step_run SET suspended_after = ?, withdrawn_at = ? "
        "WHERE run_id = ? AND withdrawn_at IS NULL AND position > ? AND position < ?"
    )
    for position, end in zip(retry.positions, [*retry.positions[1:], retry.again_from], strict=True):
        target.connection.execute(suspend, (position, target.now, target.run_id, position, end))
    late = "UPDATE step_run SET withdrawn_at = ? WHERE run_id = ? AND withdrawn_at IS NULL AND position >= ?"
    target.connection.execute(late, (target.now, target.run_id, retry.positions[0]))
    _count_failed(target)
    _forget(target, retry.again_from)
    detail = {"positions": list(retry.positions), "again_from": retry.again_from}
    _log(target, EventKind.RETRY, why=retry.why, detail=detail)


def _restore(target: Target, position: int) -> None:
    again = "UPDATE step_run SET withdrawn_at = NULL, suspended_after = NULL WHERE run_id = ? AND suspended_after = ?"
    target.connection.execute(again, (target.run_id, position))
    _count_failed(target)
    _log(target, EventKind.RESTORED, detail={"position": position})


def _count_failed(target: Target) -> None:
    is_flawed = one_of("state", STEP_RUN_FLAWED)
    failed = f"SELECT count(*) FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL AND {is_flawed}"
    n_failed = scalar(target.connection, failed, (target.run_id,))
    update(target.connection, "run", {"n_failed_step_runs": n_failed}, id=target.run_id)


def _forget(target: Target, first: int) -> None:
    """Let blocks from a position on be called again, because they get another table; except suspended ones.

    This includes step runs that were withdrawn earlier.
    """
    forget = (
        "UPDATE step_run SET forgotten_at = ? "
        "WHERE run_id = ? AND forgotten_at IS NULL AND suspended_after IS NULL AND position >= ?"
    )
    target.connection.execute(forget, (target.now, target.run_id, first))


def _note(target: Target, note: Note) -> None:
    step_run_id = job_id = None
    if note.token is not None:
        row = _job(target, note.token)
        step_run_id, job_id = row.step_run_id, row.id
    elif note.position is not None:
        step_run_id = _step_run_at(target, note.position).id
    _log(target, note.what, why=note.why, step_run_id=step_run_id, job_id=job_id, task=note.task, detail=note.detail)


def _move(target: Target, table: str, row_id: int, old: StrEnum, new: StrEnum, values: dict[str, Any]) -> None:
    if not may_move(old, new):
        raise ValueError(f"the state machine allows no move of {type(old).__name__} from {old} to {new}")
    if update(target.connection, table, {"state": new, **values}, id=row_id, state=old) != 1:
        raise ValueError(f"the state of {table} {row_id} is not {old}")


def _step_run_at(target: Target, position: int) -> Row:
    at = "SELECT * FROM step_run WHERE run_id = ? AND position = ? AND withdrawn_at IS NULL"
    row: Row | None = target.connection.execute(at, (target.run_id, position)).fetchone()
    if row is None:
        raise ValueError(f"there is no step run at position {position}")
    return row


def _job(target: Target, token: str) -> Row:
    mine = "SELECT * FROM job WHERE token = ? AND run_id = ?"
    row: Row | None = target.connection.execute(mine, (token, target.run_id)).fetchone()
    if row is None:
        raise ValueError(f"there is no job {token}")
    return row
