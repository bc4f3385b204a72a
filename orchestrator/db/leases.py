"""The lease of a run: one process takes it, and only that process writes until it releases it or is dead."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from orchestrator.db import moves
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder, is_dead
from orchestrator.db.rows import Row, scalar, scalars, update
from orchestrator.db.run_rows import check_own, fenced_row, run_row
from orchestrator.errors import Busy, LeaseHeld
from orchestrator.machine.kinds import EventKind, Mode
from orchestrator.trust import name_of_user

__all__ = ["Leases"]

_NO_HOLDER = {f"lease_{name}": None for name in (*Holder._fields, "taken_at")}

# The leases that threads of this process hold.
_held: set[tuple[Path, str, int]] = set()


class Leases:
    """The leases of the runs of a workspace.

    Parameters
    ----------
    path : Path
        The database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self, key: str, holder: Holder, now: float, dead: Holder | None = None) -> int:
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
            row = run_row(connection, key)
            check_own(key, row.uid)
            old = _holder(row)
            if old is None or old == dead or self._may_take_over(old, row, holder, now):
                values = {f"lease_{name}": value for name, value in holder._asdict().items()}
                values |= {"fence": row.fence + 1, "lease_taken_at": now, "lease_beat_at": now}
                values |= {"lease_beat_seen_at": None, "stopped_at": None, "stopped_by": None}
                update(connection, "run", values, id=row.id)
                _add_idle_time(connection, row, now)
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
            row, uid = run_row(connection, key), os.geteuid()
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
            update(connection, "run", {**_NO_HOLDER, "uid": uid, "fence": row.fence + 1}, id=row.id)
            why = f"taken over from {name_of_user(row.uid)} by {name_of_user(uid)}"
            moves.log(connection, row.id, now, EventKind.OWNER, old=str(row.uid), new=str(uid), why=why)
            return int(row.uid)

    def _may_take_over(self, old: Holder, row: Row, holder: Holder, now: float) -> bool:
        if (old.host, old.boot, old.pid, old.pid_start) == (holder.host, holder.boot, holder.pid, holder.pid_start):
            # A lease that no thread of this process holds was released, but the database could not be written then.
            return (self.path, row.key, row.fence) not in _held
        return is_dead(old, row.lease_beat_seen_at, now)

    def release(self, key: str, fence: int) -> None:
        """Release the lease; without effect if another process has taken it over."""
        _held.discard((self.path, key, fence))
        with session(self.path) as connection:
            update(connection, "run", _NO_HOLDER, key=key, fence=fence)

    def beat(self, key: str, fence: int, now: float) -> None:
        """Record a heartbeat of the holder.

        Raises
        ------
        LeaseHeld
            If another process has taken over the lease.
        """
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            update(connection, "run", {"lease_beat_at": now, "lease_beat_seen_at": None}, id=row.id)


def _add_idle_time(connection: sqlite3.Connection, row: Row, now: float) -> None:
    """Add the time in which no process has driven a run on this machine; on a cluster its jobs continue without one."""
    if row.mode != Mode.LOCAL or row.ended_at is not None:
        return
    last_event_at = scalar(connection, "SELECT max(at) FROM event WHERE run_id = ?", (row.id,))
    idle = now - max(row.created_at, row.lease_beat_at or 0.0, last_event_at or 0.0)
    if idle > 0:
        connection.execute("UPDATE run SET idle_seconds = idle_seconds + ? WHERE id = ?", (idle, row.id))
        open_ = "run_id = ? AND ended_at IS NULL AND withdrawn_at IS NULL"
        connection.execute(f"UPDATE step_run SET idle_seconds = idle_seconds + ? WHERE {open_}", (idle, row.id))


def _lease_held(row: Row, holder: Holder) -> LeaseHeld:
    since = time.strftime("%H:%M:%S", time.localtime(row.lease_taken_at))
    return LeaseHeld(
        f"Run {row.key} is being advanced by {_describe(holder)}, since {since}.",
        f"The run continues. Watch it with: orchestrator status {row.key}",
        holder=holder,
    )


def _describe(holder: Holder) -> str:
    job_id = f" (job {holder.scheduler_id})" if holder.scheduler_id else ""
    return f"process {holder.pid} on {holder.host}{job_id}"


def _holder(row: Row) -> Holder | None:
    if row.lease_host is None:
        return None
    return Holder(row.lease_host, row.lease_boot, row.lease_pid, row.lease_pid_start, row.lease_scheduler_id)
