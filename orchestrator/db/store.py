"""How the engine reads and writes the records.

`write` and `set_code` need the lease of the run and log events; `set_cluster`, `set_files`, `clear_cancel_request` and
`beat` need the lease and log nothing. `create_run` and `request_cancel` need no lease, and are logged.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.addresses import format_address
from orchestrator.db import migrate, moves
from orchestrator.db.connection import session
from orchestrator.db.lease import Holder, is_dead
from orchestrator.db.model import COUNTS, check_json, first_failed, job_of, plan_of, step_run_of
from orchestrator.db.moved import relocation
from orchestrator.db.rows import Row, as_parameter, insert, member, scalar, scalars, update
from orchestrator.errors import Busy, DatabaseError, LeaseHeld, NotFound, NotOwner
from orchestrator.machine.changes import Change
from orchestrator.machine.kinds import EventKind, Mode, StepKind
from orchestrator.machine.model import Kept, Run
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import Replanned
from orchestrator.machine.rewind import Recorded
from orchestrator.machine.states import RunState, StepRunState
from orchestrator.trust import name_of_user
from orchestrator.workspace import Workspace

__all__ = ["Holder", "LatestStepRun", "NewRun", "RunRecord", "Store"]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class RunRecord(NewRun):
    """The row of a run."""

    uid: int
    state: RunState
    reason: str | None
    cancel_requested_at: float | None


class LatestStepRun(NamedTuple):
    """A step run, and the results of its jobs.

    Attributes
    ----------
    position : int
        Its position.
    has_succeeded : bool
        Whether it has ended well.
    is_batch : bool
        Whether it evaluates experiments of a manifest.
    tokens : str
        Tokens of its jobs, joined by commas.
    n_experiments : int
        Number of experiments in the receipts of these jobs.
    """

    position: int
    has_succeeded: bool
    is_batch: bool
    tokens: str
    n_experiments: int


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
            row = _run_row(connection, key)
        check_json(row)
        values = {name: row[name] for name in RunRecord.__dataclass_fields__}
        values |= relocation(row, self.workspace.real_root)
        return RunRecord(
            **{**values, "plan": plan_of(row), "mode": member(Mode, row.mode), "state": member(RunState, row.state)}
        )

    def own(self, key: str) -> RunRecord:
        """Return the row of a run of this user.

        Raises
        ------
        NotOwner
            If it belongs to another user.
        NotFound
            If there is no such run.
        """
        record = self.record(key)
        _check_own(key, record.uid)
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

    def latest_key(self) -> str | None:
        """Return the key of the latest run; None if there is no run."""
        with session(self.path) as connection:
            key: str | None = scalar(connection, "SELECT key FROM run ORDER BY id DESC LIMIT 1")
        return key

    # --- changes ---------------------------------------------------------------------------------

    def write(self, key: str, fence: int, changes: Sequence[Change], now: float) -> Run:
        """Apply changes in one transaction.

        Parameters
        ----------
        key : str
            The run's key.
        fence : int
            From `take_lease`: proves that the caller holds the lease.
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
            If another process has taken over the lease.
        ValueError
            If the state machine does not allow a move.
        """
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
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
    ) -> None:
        """Replace the plan and the code of a run, and withdraw the step runs that no longer fit, in one transaction."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            values = {
                "plan": _text(plan),
                "first_position": replanned.first_position,
                "bundle_digest": bundle_digest,
                "study": study,
                "study_attr": study_attr,
            }
            update(connection, "run", {**relocation(row, self.workspace.real_root), **values}, id=row.id)
            moves.log(connection, row.id, now, EventKind.CODE, old=row.bundle_digest, new=bundle_digest, why=why)
            target = moves.Target(connection, row.id, plan, now)
            for change in replanned.changes:
                moves.apply(target, change)

    def set_cluster(self, key: str, fence: int, cluster: Mapping[str, Any]) -> None:
        """Replace the cluster configuration of a run: it applies to jobs that are submitted from now on.

        Whether nodes may submit is found out again.
        """
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"cluster": cluster, "login_only": None}, id=row.id)

    def set_files(self, key: str, fence: int, cluster: Mapping[str, Any]) -> None:
        """Record the digests of the files that jobs are started with, in the cluster configuration of a run."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"cluster": cluster}, id=row.id)

    def moved_from(self, key: str) -> str | None:
        """Return the folder in which a run was recorded, if the workspace has been moved or copied since; else None."""
        with session(self.path) as connection:
            root: str | None = _run_row(connection, key).root
        return None if root in (None, self.workspace.real_root) else root

    def relocate(self, key: str, fence: int) -> None:
        """Record the paths of a run as they are after the workspace was moved."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            values = relocation(row, self.workspace.real_root)
            if values:
                update(connection, "run", values, id=row.id)

    # --- queries -------------------------------------------------------------------------------

    def next_epoch(self, key: str, position: int) -> tuple[int, int, bool]:
        """Return the epoch and the first attempt of the next step run at a position.

        Also return whether the failed experiments of the one before were accepted, if that is not forgotten.
        """
        latest = "SELECT * FROM step_run WHERE run_id = ? AND position = ? ORDER BY epoch DESC LIMIT 1"
        with session(self.path) as connection:
            here = (_run_row(connection, key).id, position)
            last: Row | None = connection.execute(latest, here).fetchone()
            if last is None:
                return 0, 1, False
            attempts = (
                "SELECT max(attempt) FROM job JOIN step_run ON job.step_run_id = step_run.id "
                "WHERE step_run.run_id = ? AND position = ?"
            )
            accepts_failed = last.accepts_failed and last.forgotten_at is None
            return last.epoch + 1, (scalar(connection, attempts, here) or 0) + 1, accepts_failed

    def first_failed(self, key: str) -> int | None:
        """Return the position of the first step run that failed or was cancelled and is not withdrawn."""
        with session(self.path) as connection:
            return first_failed(connection, _run_row(connection, key).id)

    def step_runs(self, key: str) -> list[tuple[int, str, str]]:
        """Return position, name and iteration of every step run that counts."""
        query = f"SELECT position, name, iteration FROM step_run WHERE run_id = ? AND {COUNTS} ORDER BY position"
        with session(self.path) as connection:
            rows = connection.execute(query, (_run_row(connection, key).id,))
            return [(row.position, row.name, row.iteration) for row in rows]

    def recorded(self, key: str) -> list[Recorded]:
        """Return every step run that is not withdrawn, in order."""
        query = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position"
        with session(self.path) as connection:
            rows = connection.execute(query, (_run_row(connection, key).id,))
            return [
                Recorded(
                    row.position,
                    format_address(row.name, row.iteration),
                    member(StepKind, row.kind),
                    member(StepRunState, row.state),
                    row.n_failed,
                    row.until,
                )
                for row in rows
            ]

    def accepts_failed(self, key: str, position: int, epoch: int) -> bool:
        """Whether the user has accepted the failed experiments of a step run."""
        query = "SELECT accepts_failed FROM step_run WHERE run_id = ? AND position = ? AND epoch = ?"
        with session(self.path) as connection:
            return bool(scalar(connection, query, (_run_row(connection, key).id, position, epoch)))

    def kinds_at(self, key: str, position: int) -> dict[str, str | None]:
        """Return the kinds of failure of all jobs of the step at a position, by token, without forgotten epochs."""
        query = """
            SELECT job.token, job.kind FROM step_run AS mine
            JOIN step_run AS each USING (run_id, position, iteration, name)
            JOIN job ON job.step_run_id = each.id
            WHERE mine.run_id = ? AND mine.position = ? AND mine.withdrawn_at IS NULL AND each.forgotten_at IS NULL
            ORDER BY job.id
        """
        with session(self.path) as connection:
            rows = connection.execute(query, (_run_row(connection, key).id, position))
            return {row.token: row.kind for row in rows}

    def manifests_at(self, key: str, position: int) -> dict[str, str]:
        """Return the digests of the manifests of the step at a position, by epoch; only those that are recorded."""
        query = """
            SELECT each.epoch, each.manifest FROM step_run AS mine
            JOIN step_run AS each USING (run_id, position, iteration, name)
            WHERE mine.run_id = ? AND mine.position = ? AND mine.withdrawn_at IS NULL AND each.manifest IS NOT NULL
        """
        with session(self.path) as connection:
            rows = connection.execute(query, (_run_row(connection, key).id, position))
            return {str(row.epoch): row.manifest for row in rows}

    def latest_step_runs(self, key: str, before: int | None, n: int) -> list[LatestStepRun]:
        """Return the last step runs of a run, the last first, with the experiments that receipts count.

        Parameters
        ----------
        key : str
            The run's key.
        before : int or None
            Only step runs at smaller positions.
        n : int
            Number of step runs.
        """
        query = """
            SELECT each.position, each.state, each.n_tasks IS NOT NULL AS is_batch,
                group_concat(job.token) AS tokens, COALESCE(SUM(job.n_finished + job.n_failed), 0) AS n_experiments
            FROM step_run AS each LEFT JOIN job ON job.step_run_id = each.id
            WHERE each.run_id = ? AND each.withdrawn_at IS NULL AND each.position < ?
            GROUP BY each.id ORDER BY each.position DESC LIMIT ?
        """
        with session(self.path) as connection:
            last = 2**62 if before is None else before
            rows = connection.execute(query, (_run_row(connection, key).id, last, n))
            ended_well = StepRunState.SUCCEEDED
            return [
                LatestStepRun(
                    row.position, row.state == ended_well, bool(row.is_batch), row.tokens or "", row.n_experiments
                )
                for row in rows
            ]

    def tokens(self, key: str) -> set[str]:
        """Return the tokens of all jobs of a run."""
        with session(self.path) as connection:
            run_id = _run_row(connection, key).id
            return set(scalars(connection, "SELECT token FROM job WHERE run_id = ?", (run_id,)))

    # --- the lease, and requests to its holder ---------------------------------------------------

    def take_lease(self, key: str, holder: Holder, now: float, dead: Holder | None = None) -> int:
        """Take a run's lease.

        Parameters
        ----------
        key : str
            The run's key.
        holder : Holder
            The process that takes it.
        now : float
            Epoch seconds.
        dead : Holder, optional
            A holder that is dead, as the scheduler says.

        Returns
        -------
        int
            The fence, which every write needs.

        Raises
        ------
        LeaseHeld
            If another process holds the lease and may still live: the `holder` of the error.
        NotOwner
            If the run belongs to another user.
        """
        with session(self.path) as connection:
            row = _run_row(connection, key)
            _check_own(key, row.uid)
            old = _holder(row)
            if old is None or old == dead or self._may_take_over(old, row, holder, now):
                values = {f"lease_{name}": value for name, value in holder._asdict().items()}
                values |= {"fence": row.fence + 1, "lease_taken_at": now, "lease_beat_at": now}
                update(connection, "run", {**values, "lease_beat_seen_at": None}, id=row.id)
                if old is not None:
                    moves.log(
                        connection, row.id, now, EventKind.LEASE, why=f"taken over from {_describe(old)}, which is dead"
                    )
                _held.add((self.path, key, row.fence + 1))
                return int(row.fence) + 1
            if row.lease_beat_seen_at is None:
                # The first refused process records when it saw this heartbeat; `STALE` counts from then.
                update(connection, "run", {"lease_beat_seen_at": now}, id=row.id)
        raise _lease_held(row, old)

    def take_over(self, key: str, now: float, *, force: bool) -> int:
        """Give a run of another user to this one; the processes of that user can't change it any more.

        Parameters
        ----------
        key : str
            The run's key.
        now : float
            Epoch seconds.
        force : bool
            Whether its jobs count as ended that have not ended in the records: only their owner can ask SLURM.

        Returns
        -------
        int
            The user that it belonged to.

        Raises
        ------
        LeaseHeld
            If a process holds the lease and may still live.
        Busy
            If jobs of it have not ended, and `force` is False.
        """
        with session(self.path) as connection:
            row, uid = _run_row(connection, key), os.geteuid()
            old = _holder(row)
            if row.uid == uid:
                return uid
            if old is not None and not is_dead(old, row.lease_beat_seen_at, now):
                raise _lease_held(row, old)
            ids = scalars(
                connection,
                "SELECT coalesce(scheduler_id, token) FROM job WHERE run_id = ? AND ended_at IS NULL",
                (row.id,),
            )
            if ids and row.mode == Mode.SLURM and not force:
                raise Busy(
                    f"Run {key} has jobs that have not ended as recorded: {', '.join(ids)}. Only their owner, "
                    f"{name_of_user(row.uid)}, can cancel them.",
                    f"To find out whether they are left: squeue --jobs={','.join(ids)}\n"
                    f"If none is left: orchestrator takeover {key} --force",
                )
            no_holder = {f"lease_{name}": None for name in (*Holder._fields, "taken_at")}
            update(connection, "run", {**no_holder, "uid": uid, "fence": row.fence + 1}, id=row.id)
            why = f"taken over from {name_of_user(row.uid)} by {name_of_user(uid)}"
            moves.log(connection, row.id, now, EventKind.OWNER, old=str(row.uid), new=str(uid), why=why)
            return int(row.uid)

    def _may_take_over(self, old: Holder, row: Row, holder: Holder, now: float) -> bool:
        if (old.host, old.boot, old.pid, old.pid_start) == (holder.host, holder.boot, holder.pid, holder.pid_start):
            # A lease that no thread of this process holds was released, but the database could not be written then.
            return (self.path, row.key, row.fence) not in _held
        return is_dead(old, row.lease_beat_seen_at, now)

    def release_lease(self, key: str, fence: int) -> None:
        """Release the lease; without effect if another process has taken it over."""
        _held.discard((self.path, key, fence))
        no_holder = {f"lease_{name}": None for name in (*Holder._fields, "taken_at")}
        with session(self.path) as connection:
            update(connection, "run", no_holder, key=key, fence=fence)

    def beat(self, key: str, fence: int, now: float) -> None:
        """Record a heartbeat of the holder.

        Raises
        ------
        LeaseHeld
            If another process has taken over the lease.
        """
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"lease_beat_at": now, "lease_beat_seen_at": None}, id=row.id)

    def request_cancel(self, key: str, now: float) -> None:
        """Request that the lease holder cancels the run. Needs no lease; raise `NotOwner` as `take_lease`."""
        with session(self.path) as connection:
            row = _run_row(connection, key)
            _check_own(key, row.uid)
            if row.cancel_requested_at is None:
                update(connection, "run", {"cancel_requested_at": now}, id=row.id)
                moves.log(connection, row.id, now, EventKind.CANCEL_REQUESTED)

    def clear_cancel_request(self, key: str, fence: int) -> None:
        """Remove the request to cancel the run."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"cancel_requested_at": None}, id=row.id)


def _check_own(key: str, uid: int) -> None:
    """Raise `NotOwner` if a run belongs to another user: its code and environment are that user's."""
    if uid != os.geteuid():
        raise NotOwner(
            f"Run {key} belongs to {name_of_user(uid)}. Other users can read it, but not change it.",
            f"To make it yours, once no process of {name_of_user(uid)} advances it: orchestrator takeover {key}",
        )


def _lease_held(row: Row, holder: Holder) -> LeaseHeld:
    since = time.strftime("%H:%M:%S", time.localtime(row.lease_taken_at))
    return LeaseHeld(
        f"Run {row.key} is being advanced by {_describe(holder)}, since {since}.",
        f"The run continues. Watch it with: orchestrator status {row.key}",
        holder=holder,
    )


# The leases that threads of this process hold.
_held: set[tuple[Path, str, int]] = set()


def _describe(holder: Holder) -> str:
    job_id = f" (job {holder.scheduler_id})" if holder.scheduler_id else ""
    return f"process {holder.pid} on {holder.host}{job_id}"


def _holder(row: Row) -> Holder | None:
    if row.lease_host is None:
        return None
    return Holder(row.lease_host, row.lease_boot, row.lease_pid, row.lease_pid_start, row.lease_scheduler_id)


def _text(plan: Plan) -> str:
    return json.dumps(plan.to_json(), separators=(",", ":"))


def _run_row(connection: sqlite3.Connection, key: str) -> Row:
    row: Row | None = connection.execute("SELECT * FROM run WHERE key = ?", (as_parameter(key),)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {key!r} in this workspace.", "List all runs: orchestrator list")
    return row


def _fenced_row(connection: sqlite3.Connection, key: str, fence: int) -> Row:
    row = _run_row(connection, key)
    if row.fence != fence:
        raise LeaseHeld(
            f"Another process has taken over run {key}. This process stops.",
            f"The run continues. Watch it with: orchestrator status {key}",
        )
    return row


_LIVE_ORCHESTRATORS = "run_id = ? AND step_run_id IS NULL AND ended_at IS NULL"


_KEPT = """
SELECT *, sum(state = 'failed') OVER () AS n_failed_step_runs
FROM step_run WHERE run_id = ? AND kept_after = ? ORDER BY position DESC LIMIT 1
"""


def _load(connection: sqlite3.Connection, key: str) -> Run:
    row = _run_row(connection, key)
    latest = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position DESC LIMIT 1"
    last: Row | None = connection.execute(latest, (row.id,)).fetchone()
    kept: Row | None = None
    if last is not None:
        kept = connection.execute(_KEPT, (row.id, last.position)).fetchone()
    return Run(
        key=row.key,
        salt=row.salt,
        plan=plan_of(row),
        state=member(RunState, row.state),
        first_position=row.first_position,
        reason=row.reason,
        cancel_requested=row.cancel_requested_at is not None,
        n_failed_step_runs=row.n_failed_step_runs,
        step_run=None if last is None else step_run_of(last, _jobs(connection, "step_run_id = ?", last.id)),
        kept=None if kept is None else Kept(step_run_of(kept, ()), kept.n_failed_step_runs),
        orchestrators=tuple(job_of(found) for found in _jobs(connection, _LIVE_ORCHESTRATORS, row.id)),
        needs_wakeup=row.mode == Mode.SLURM,
        n_orchestrators=row.n_orchestrators,
        idle_wakeups=row.idle_wakeups,
        failing=row.failing,
        login_only=row.login_only,
    )


def _jobs(connection: sqlite3.Connection, which: str, value: int) -> list[Row]:
    return connection.execute(f"SELECT * FROM job WHERE {which} ORDER BY id", (value,)).fetchall()
