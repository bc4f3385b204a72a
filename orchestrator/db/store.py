"""How the engine reads and writes the records.

`write`, `stop`, `set_code` and `set_plan` need the lease of the run and log events; `set_cluster`, `set_files` and
`clear_cancel_request` need the lease and log nothing. `create_run`, `request_cancel`, `request_cancel_step` and `hold`
need no lease, and are logged.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.db import migrate, moves
from orchestrator.db.connection import session
from orchestrator.db.history import History
from orchestrator.db.leases import Leases
from orchestrator.db.model_of_rows import check_json, job_of, plan_of, step_run_of
from orchestrator.db.ownership import check_own
from orchestrator.db.relocation import relocation
from orchestrator.db.rows import Row, insert, member, one_of, update
from orchestrator.db.run_rows import fenced_row, run_row
from orchestrator.errors import Busy, DatabaseError, NotFound
from orchestrator.machine.changes import Change
from orchestrator.machine.earlier_tables import DEFAULT_MAX_TABLES
from orchestrator.machine.kinds import EventKind, Mode, StopSignal
from orchestrator.machine.model import Run, SuspendedStepRuns, TableThen
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import Replanned
from orchestrator.machine.states import STEP_RUN_FLAWED, RunState
from orchestrator.machine.wording import STOPS
from orchestrator.workspace import Workspace

__all__ = ["NewRun", "RunRecord", "Store"]


@dataclass(eq=False, repr=False)
class NewRun:
    """A new run; its fields are columns of `run`."""

    key: str
    salt: str
    name: str
    mode: Mode
    plan: Plan
    first_position: int
    root: str | None
    study: str | None
    study_attr: str | None
    bundle_digest: str | None
    cluster: Mapping[str, Any] | None
    provenance: Mapping[str, Any]
    forked_from: str | None = None
    forked_step: str | None = None
    max_tables: int | None = DEFAULT_MAX_TABLES


@dataclass(eq=False, repr=False, kw_only=True)
class RunRecord(NewRun):
    """The row of a run."""

    uid: int
    state: RunState
    reason: str | None
    cancel_requested_at: float | None
    cancel_step: int | None
    held_at: float | None

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended: it is not active."""
        return self.state is not RunState.ACTIVE


class Store:
    """The records of a workspace. No connection stays open between two calls.

    Parameters
    ----------
    path : Path
        The database. One of an older revision is copied and upgraded at its first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def leases(self) -> Leases:
        """The leases of the runs."""
        return Leases(self.path)

    @property
    def history(self) -> History:
        """The step runs of the runs."""
        return History(self.path)

    @property
    def workspace(self) -> Workspace:
        """The workspace whose runs are recorded here."""
        return Workspace(self.path)

    # --- runs ------------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Whether there is a run with this key."""
        try:
            self.record(key)
        except NotFound:
            return False
        return True

    def create(self) -> None:
        """Create the database if it does not exist.

        Raises
        ------
        DatabaseError
            If the file can't be used.
        DatabaseBusy
            If other processes used it for too long.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.path.parent} can't be created: {error.strerror}.",
                "Use another workspace: --rootdir FOLDER",
            ) from error
        migrate.create(self.path)

    def create_run(self, new: NewRun, now: float) -> None:
        """Record a new run; the database is created if it does not exist.

        Raises
        ------
        Busy
            If another process has just created a run with the same key.
        """
        self.create()
        values = {**vars(new), "plan": _text(new.plan), "state": RunState.ACTIVE, "created_at": now}
        values["uid"] = os.geteuid()
        try:
            with session(self.path) as connection:
                run_id = insert(connection, "run", values)
                moves.log(connection, run_id, now, EventKind.RUN, new=RunState.ACTIVE)
        except sqlite3.IntegrityError:
            raise Busy(
                f"Another process has just created run {new.key}.", f"Show it: orchestrator status {new.key}"
            ) from None

    def record(self, key: str) -> RunRecord:
        """Return the row of a run.

        Raises
        ------
        NotFound
            If there is no such run.
        """
        with session(self.path) as connection:
            row = run_row(connection, key)
        check_json(row)
        values = {name: row[name] for name in RunRecord.__dataclass_fields__}
        values |= relocation(row, self.workspace.real_root)
        return RunRecord(
            **{**values, "plan": plan_of(row), "mode": member(Mode, row.mode), "state": member(RunState, row.state)}
        )

    def own_record(self, key: str) -> RunRecord:
        """Return the row of a run of this user.

        Raises
        ------
        NotOwner
            If it belongs to another user.
        NotFound
            If there is no such run.
        """
        record = self.record(key)
        check_own(key, record.uid)
        return record

    def load(self, key: str) -> Run:
        """Return a run as the state machine needs it.

        Raises
        ------
        NotFound
            If there is no such run.
        """
        with session(self.path) as connection:
            return _load(connection, key)

    # --- changes ---------------------------------------------------------------------------------

    def write(self, key: str, fence: int, changes: Sequence[Change], now: float) -> Run:
        """Apply changes in one transaction.

        Parameters
        ----------
        key : str
            The run's key.
        fence : int
            From `Leases.take`: proves that the caller holds the lease.
        changes : sequence of Change
            Applied in this order.
        now : float
            Epoch seconds.

        Returns
        -------
        Run
            The run after the changes.

        Raises
        ------
        LeaseHeld
            If another process has taken the lease since.
        ValueError
            If the state machine does not allow a move.
        """
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            target = moves.Target(connection, row.id, plan_of(row), now)
            for change in changes:
                moves.apply(target, change)
            return _load(connection, key)

    def set_code(
        self,
        key: str,
        fence: int,
        *,
        plan: Plan,
        bundle_digest: str,
        study: str | None,
        study_attr: str | None,
        now: float,
        why: str,
        replanned: Replanned,
        changed_resources: Sequence[str] = (),
    ) -> None:
        """Replace the plan and the code of a run, and withdraw the step runs that no longer fit, in one transaction.

        `changed_resources` says of each step which resources are new, as the `why` of `set_plan` does.
        """
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            values = {
                "plan": _text(plan),
                "first_position": replanned.first_position,
                "bundle_digest": bundle_digest,
                "study": study,
                "study_attr": study_attr,
            }
            update(connection, "run", {**relocation(row, self.workspace.real_root), **values}, id=row.id)
            moves.log(connection, row.id, now, EventKind.CODE, old=row.bundle_digest, new=bundle_digest, why=why)
            for changed in changed_resources:
                moves.log(connection, row.id, now, EventKind.RESOURCES, why=changed)
            target = moves.Target(connection, row.id, plan, now)
            for change in replanned.changes:
                moves.apply(target, change)

    def set_cluster(self, key: str, fence: int, cluster: Mapping[str, Any]) -> None:
        """Replace the cluster configuration of a run: it applies to jobs that are submitted from now on.

        Whether nodes may submit is found out again.
        """
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            update(connection, "run", {"cluster": cluster, "login_only": None}, id=row.id)

    def set_files(self, key: str, fence: int, cluster: Mapping[str, Any]) -> None:
        """Record the digests of the files that jobs are started with, in the cluster configuration of a run."""
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            update(connection, "run", {"cluster": cluster}, id=row.id)

    def set_plan(self, key: str, fence: int, plan: Plan, cluster: Mapping[str, Any], now: float, why: str) -> None:
        """Replace the plan of a run by one with other resources, with the digests of the scripts for it."""
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            update(connection, "run", {"plan": _text(plan), "cluster": cluster}, id=row.id)
            moves.log(connection, row.id, now, EventKind.RESOURCES, why=why)

    def set_max_tables(self, key: str, max_tables: int | None) -> None:
        """Record how many tables of a run are kept; None: all. Needs no lease; raise `NotOwner` as `Leases.take`."""
        with session(self.path) as connection:
            row = run_row(connection, key)
            check_own(key, row.uid)
            update(connection, "run", {"max_tables": max_tables}, id=row.id)

    def moved_from(self, key: str) -> str | None:
        """Return the folder in which a run was recorded, if the workspace has been moved or copied since; else None."""
        with session(self.path) as connection:
            root: str | None = run_row(connection, key).root
        return None if root in (None, self.workspace.real_root) else root

    def relocate(self, key: str, fence: int) -> None:
        """Record the paths of a run as they are after the workspace was moved."""
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            values = relocation(row, self.workspace.real_root)
            if values:
                update(connection, "run", values, id=row.id)

    def record_stop(self, key: str, fence: int, stopped_by: StopSignal, now: float) -> None:
        """Record the first signal that stops the holder of the lease; it counts until another process takes that."""
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            if row.stopped_at is None:
                update(connection, "run", {"stopped_at": now, "stopped_by": stopped_by}, id=row.id)
                moves.log(connection, row.id, now, EventKind.STOPPED, why=STOPS[stopped_by])

    # --- requests to the holder of the lease ------------------------------------------------------

    def request_cancel(self, key: str, now: float) -> None:
        """Request that the lease holder cancels the run. Needs no lease; raise `NotOwner` as `Leases.take`."""
        with session(self.path) as connection:
            row = run_row(connection, key)
            check_own(key, row.uid)
            if row.cancel_requested_at is None:
                update(connection, "run", {"cancel_requested_at": now}, id=row.id)
                moves.log(connection, row.id, now, EventKind.CANCEL_REQUESTED)

    def clear_cancel_request(self, key: str, fence: int) -> None:
        """Remove the request to cancel the run, or a step of it."""
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            update(connection, "run", {"cancel_requested_at": None, "cancel_step": None}, id=row.id)

    def request_cancel_step(self, key: str, position: int, now: float) -> bool:
        """Request that the lease holder cancels the open step run. Needs no lease; raise `NotOwner` as `Leases.take`.

        Returns
        -------
        bool
            False if the open step run is at another position.
        """
        mine = "SELECT * FROM step_run WHERE run_id = ? AND position = ? AND withdrawn_at IS NULL AND ended_at IS NULL"
        with session(self.path) as connection:
            row = run_row(connection, key)
            check_own(key, row.uid)
            step_run: Row | None = connection.execute(mine, (row.id, position)).fetchone()
            if step_run is None:
                return False
            if row.cancel_step is None:
                update(connection, "run", {"cancel_step": position}, id=row.id)
                moves.log(connection, row.id, now, EventKind.CANCEL_REQUESTED, step_run_id=step_run.id)
            return True

    def set_held(self, key: str, now: float, *, is_held: bool) -> None:
        """Record that a user holds or releases a run, unless it has ended. Needs no lease; raise `NotOwner`."""
        with session(self.path) as connection:
            row = run_row(connection, key)
            check_own(key, row.uid)
            if row.state != RunState.ACTIVE or is_held == (row.held_at is not None):
                return
            update(connection, "run", {"held_at": now if is_held else None}, id=row.id)
            moves.log(connection, row.id, now, EventKind.HOLD, new="held" if is_held else "released")


def _text(plan: Plan) -> str:
    return json.dumps(plan.to_json(), separators=(",", ":"))


_LIVE_ORCHESTRATORS = "run_id = ? AND step_run_id IS NULL AND ended_at IS NULL"


_SUSPENDED = f"""
SELECT *, sum({one_of("state", STEP_RUN_FLAWED)}) OVER () AS n_failed_step_runs
FROM step_run WHERE run_id = ? AND suspended_after = ? ORDER BY position DESC LIMIT 1
"""


def _load(connection: sqlite3.Connection, key: str) -> Run:
    row = run_row(connection, key)
    latest = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position DESC LIMIT 1"
    last: Row | None = connection.execute(latest, (row.id,)).fetchone()
    suspended: Row | None = None
    if last is not None:
        suspended = connection.execute(_SUSPENDED, (row.id, last.position)).fetchone()
    return Run(
        key=row.key,
        salt=row.salt,
        plan=plan_of(row),
        state=member(RunState, row.state),
        first_position=row.first_position,
        reason=row.reason,
        cancel_requested=row.cancel_requested_at is not None,
        cancel_step=row.cancel_step,
        is_held=row.held_at is not None,
        max_tables=row.max_tables,
        puts_back=tuple(TableThen(*one) for one in (row.puts_back or {}).get("tables", ())),
        n_failed_step_runs=row.n_failed_step_runs,
        step_run=None if last is None else step_run_of(last, _jobs(connection, "step_run_id = ?", last.id)),
        suspended=None
        if suspended is None
        else SuspendedStepRuns(step_run_of(suspended, ()), suspended.n_failed_step_runs),
        orchestrators=tuple(job_of(found) for found in _jobs(connection, _LIVE_ORCHESTRATORS, row.id)),
        needs_wakeup=row.mode == Mode.SLURM,
        n_orchestrators=row.n_orchestrators,
        idle_wakeups=row.idle_wakeups,
        failing=row.failing,
        login_only=row.login_only,
    )


def _jobs(connection: sqlite3.Connection, which: str, value: int) -> list[Row]:
    return connection.execute(f"SELECT * FROM job WHERE {which} ORDER BY id", (value,)).fetchall()
