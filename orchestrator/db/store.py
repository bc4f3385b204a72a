"""What the engine does to the records: guarded, logged moves under a run's lease, and the few questions it asks."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.db import migrate, moves
from orchestrator.db.connection import session
from orchestrator.db.failures import first_failed
from orchestrator.db.lease import Holder, is_gone
from orchestrator.db.model import job_of, step_run_of
from orchestrator.db.rows import Row, insert, scalar, scalars, update
from orchestrator.errors import Busy, LeaseHeld, NotFound
from orchestrator.machine.changes import Change
from orchestrator.machine.kinds import EventKind, Mode
from orchestrator.machine.model import Run
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import RunState
from orchestrator.workspace import Workspace

__all__ = ["Holder", "NewRun", "RunRecord", "Store"]


@dataclass(frozen=True)
class NewRun:
    """What a run starts with; the names are those of the columns."""

    key: str
    salt: str
    name: str
    mode: Mode
    plan: Plan
    first_position: int
    study: str | None
    study_attr: str | None
    source_digest: str | None
    bundle_digest: str | None
    cluster: Mapping[str, Any] | None
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class RunRecord(NewRun):
    """A run's own row."""

    state: RunState
    reason: str | None
    cancel_requested_at: float | None


class Store:
    """The records of a workspace. Nothing is kept open between two calls.

    Parameters
    ----------
    path : Path
        The database. An older revision is upgraded, after a backup, when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def workspace(self) -> Workspace:
        """The workspace whose runs are recorded here."""
        return Workspace(self.path)

    # --- runs ------------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Tell whether there is a run of that key."""
        try:
            self.record(key)
        except NotFound:
            return False
        return True

    def create(self) -> None:
        """Make the database where there is none.

        Raises
        ------
        NotADatabase, DatabaseTooNew, DatabaseBusy, DatabaseError
            If the file can't serve.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        migrate.create(self.path)

    def create_run(self, new: NewRun, now: float) -> None:
        """Record a run, and make the database where there is none.

        Raises
        ------
        Busy
            If another process has just made a run of that key.
        """
        self.create()
        values = {**vars(new), "plan": _text(new.plan), "state": RunState.ACTIVE, "created_at": now}
        try:
            with session(self.path) as connection:
                run_id = insert(connection, "run", values)
                moves.log(connection, run_id, now, EventKind.RUN, new=RunState.ACTIVE)
        except sqlite3.IntegrityError:
            raise Busy(
                f"another process has just made a run {new.key}.", f"See it: orchestrator status {new.key}"
            ) from None

    def record(self, key: str) -> RunRecord:
        """Read a run's own row.

        Raises
        ------
        NotFound
        """
        with session(self.path) as connection:
            row = _run_row(connection, key)
        values = {name: row[name] for name in RunRecord.__dataclass_fields__}
        return RunRecord(**{**values, "plan": _plan(row.plan), "mode": Mode(row.mode), "state": RunState(row.state)})

    def load(self, key: str) -> Run:
        """Read what decisions need.

        Raises
        ------
        NotFound
        """
        with session(self.path) as connection:
            return _load(connection, key)

    def latest_key(self) -> str | None:
        """Name the run that was made last."""
        with session(self.path) as connection:
            key: str | None = scalar(connection, "SELECT key FROM run ORDER BY id DESC LIMIT 1")
        return key

    # --- changes ---------------------------------------------------------------------------------

    def write(self, key: str, fence: int, changes: Sequence[Change], now: float) -> Run:
        """Do changes, all or none, in one commit.

        Parameters
        ----------
        key : str
        fence : int
            Proof of the lease.
        changes : sequence of Change
        now : float
            Epoch seconds.

        Returns
        -------
        Run
            As it is afterwards.

        Raises
        ------
        LeaseHeld
            If the lease was taken over meanwhile.
        ValueError
            If the machine has no such arrow.
        """
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            target = moves.Target(connection, row.id, _plan(row.plan), now)
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
        source_digest: str,
        study: str | None,
        study_attr: str | None,
        now: float,
        why: str,
    ) -> None:
        """Give a run another plan and other code."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            values = {
                "plan": _text(plan),
                "bundle_digest": bundle_digest,
                "source_digest": source_digest,
                "study": study,
                "study_attr": study_attr,
            }
            update(connection, "run", values, id=row.id)
            moves.log(connection, row.id, now, EventKind.CODE, old=row.bundle_digest, new=bundle_digest, why=why)

    def set_cluster(self, key: str, fence: int, cluster: Mapping[str, Any]) -> None:
        """Give a run another cluster, or another use of it: jobs that are submitted from now on go there."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"cluster": cluster}, id=row.id)

    # --- questions -------------------------------------------------------------------------------

    def next_epoch(self, key: str, position: int) -> tuple[int, int]:
        """Give the epoch and the first attempt of a step run that is about to be entered."""
        with session(self.path) as connection:
            here = (_run_row(connection, key).id, position)
            epoch = scalar(connection, "SELECT max(epoch) FROM step_run WHERE run_id = ? AND position = ?", here)
            if epoch is None:
                return 0, 1
            attempts = (
                "SELECT max(attempt) FROM job JOIN step_run ON job.step_run_id = step_run.id "
                "WHERE step_run.run_id = ? AND position = ?"
            )
            return epoch + 1, (scalar(connection, attempts, here) or 0) + 1

    def first_failed(self, key: str) -> int | None:
        """Name the position of the first step run that failed or was cancelled, of those that count."""
        with session(self.path) as connection:
            return first_failed(connection, _run_row(connection, key).id)

    def step_runs(self, key: str) -> list[tuple[int, str, str]]:
        """List position, name and iteration of every step run that counts."""
        query = (
            "SELECT position, name, iteration FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position"
        )
        with session(self.path) as connection:
            rows = connection.execute(query, (_run_row(connection, key).id,))
            return [(row.position, row.name, row.iteration) for row in rows]

    def tokens_at(self, key: str, position: int) -> list[str]:
        """List the tokens of all jobs of the step at a position, of every epoch since the user last began there."""
        query = """
            SELECT token FROM step_run AS mine JOIN step_run AS each USING (run_id, position, iteration, name)
            JOIN job ON job.step_run_id = each.id
            WHERE mine.run_id = ? AND mine.position = ? AND mine.withdrawn_at IS NULL AND each.forgotten_at IS NULL
            ORDER BY job.id
        """
        with session(self.path) as connection:
            return scalars(connection, query, (_run_row(connection, key).id, position))

    def tokens(self, key: str) -> set[str]:
        """List the tokens of all jobs that the run ever had."""
        with session(self.path) as connection:
            run_id = _run_row(connection, key).id
            return set(scalars(connection, "SELECT token FROM job WHERE run_id = ?", (run_id,)))

    # --- the lease, and requests to whoever has it -----------------------------------------------

    def take_lease(self, key: str, holder: Holder, now: float, gone: Holder | None = None) -> int:
        """Take a run's lease.

        Parameters
        ----------
        key : str
        holder : Holder
            Who takes it.
        now : float
            Epoch seconds.
        gone : Holder, optional
            Somebody of whom the scheduler has said that they are no more.

        Returns
        -------
        int
            The fence, which every write has to show.

        Raises
        ------
        LeaseHeld
            If somebody has it who may still live; its `holder` is who.
        """
        with session(self.path) as connection:
            row = _run_row(connection, key)
            old = _holder(row)
            if old is None or old == gone or self._may_take_over(old, row, holder, now):
                values = {f"lease_{name}": value for name, value in holder._asdict().items()}
                values |= {"fence": row.fence + 1, "lease_taken_at": now, "lease_beat_at": now}
                update(connection, "run", {**values, "lease_beat_seen_at": None}, id=row.id)
                if old is not None:
                    moves.log(
                        connection, row.id, now, EventKind.LEASE, why=f"taken over from {_describe(old)}, which is gone"
                    )
                _held.add((self.path, key, row.fence + 1))
                return int(row.fence) + 1
            if row.lease_beat_seen_at is None:
                update(connection, "run", {"lease_beat_seen_at": now}, id=row.id)
        since = time.strftime("%H:%M:%S", time.localtime(row.lease_taken_at))
        raise LeaseHeld(
            f"Run {key} is being advanced by {_describe(old)}, since {since}.",
            f"Let it go on, and watch it: orchestrator status {key}",
            holder=old,
        )

    def _may_take_over(self, old: Holder, row: Row, holder: Holder, now: float) -> bool:
        if (old.host, old.boot, old.pid, old.pid_start) == (holder.host, holder.boot, holder.pid, holder.pid_start):
            # This process has let go, but could not say so to the database at the time.
            return (self.path, row.key, row.fence) not in _held
        return is_gone(old, row.lease_beat_seen_at, now)

    def release_lease(self, key: str, fence: int) -> None:
        """Give the lease back; nothing happens where it was taken over."""
        _held.discard((self.path, key, fence))
        no_holder = {f"lease_{name}": None for name in (*Holder._fields, "taken_at")}
        with session(self.path) as connection:
            update(connection, "run", no_holder, key=key, fence=fence)

    def beat(self, key: str, fence: int, now: float) -> None:
        """Show that the holder lives.

        Raises
        ------
        LeaseHeld
            If the lease was taken over meanwhile.
        """
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"lease_beat_at": now, "lease_beat_seen_at": None}, id=row.id)

    def request_cancel(self, key: str, now: float) -> None:
        """Ask whoever advances the run to cancel it. Needs no lease."""
        with session(self.path) as connection:
            row = _run_row(connection, key)
            if row.cancel_requested_at is None:
                update(connection, "run", {"cancel_requested_at": now}, id=row.id)
                moves.log(connection, row.id, now, EventKind.CANCEL_REQUESTED)

    def clear_cancel_request(self, key: str, fence: int) -> None:
        """Withdraw the request to cancel the run: it continues."""
        with session(self.path) as connection:
            row = _fenced_row(connection, key, fence)
            update(connection, "run", {"cancel_requested_at": None}, id=row.id)


# The leases that threads of this process have.
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


@lru_cache(maxsize=8)
def _plan(text: str) -> Plan:
    return Plan.from_json(json.loads(text))


def _run_row(connection: sqlite3.Connection, key: str) -> Row:
    row: Row | None = connection.execute("SELECT * FROM run WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {key} in this workspace.", "See which there are: orchestrator list")
    return row


def _fenced_row(connection: sqlite3.Connection, key: str, fence: int) -> Row:
    row = _run_row(connection, key)
    if row.fence != fence:
        raise LeaseHeld(
            f"Another process took over run {key}; this one stops.",
            f"See how the run goes on: orchestrator status {key}",
        )
    return row


_LIVE_ORCHESTRATORS = "run_id = ? AND step_run_id IS NULL AND ended_at IS NULL"


def _load(connection: sqlite3.Connection, key: str) -> Run:
    row = _run_row(connection, key)
    latest = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position DESC LIMIT 1"
    last: Row | None = connection.execute(latest, (row.id,)).fetchone()
    return Run(
        key=row.key,
        salt=row.salt,
        plan=_plan(row.plan),
        state=RunState(row.state),
        first_position=row.first_position,
        reason=row.reason,
        cancel_requested=row.cancel_requested_at is not None,
        n_failed_step_runs=row.n_failed_step_runs,
        step_run=None if last is None else step_run_of(last, _jobs(connection, "step_run_id = ?", last.id)),
        orchestrators=tuple(job_of(found) for found in _jobs(connection, _LIVE_ORCHESTRATORS, row.id)),
        needs_wakeup=row.mode == Mode.SLURM,
        n_orchestrators=row.n_orchestrators,
        idle_wakeups=row.idle_wakeups,
        failing=row.failing,
    )


def _jobs(connection: sqlite3.Connection, which: str, value: int) -> list[Row]:
    return connection.execute(f"SELECT * FROM job WHERE {which} ORDER BY id", (value,)).fetchall()
