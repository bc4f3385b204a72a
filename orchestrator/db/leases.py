"""Take, renew and release the lease of a run: only the process that holds it writes, until it releases it or is dead.

When a holder is dead, so that another process may take the lease, is decided in `orchestrator.db.lease_holder`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator.db import moves
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import NO_HOLDER, Holder, describe, holder_of, is_dead, lease_held
from orchestrator.db.ownership import check_own
from orchestrator.db.rows import Row, scalar, update
from orchestrator.db.run_rows import fenced_row, run_row
from orchestrator.machine.kinds import EventKind, Mode

__all__ = ["Leases"]

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
            old = holder_of(row)
            if old is None or old == dead or self._has_lost(old, row, holder, now):
                values = {f"lease_{name}": value for name, value in holder._asdict().items()}
                values |= {"fence": row.fence + 1, "lease_taken_at": now, "lease_beat_at": now}
                values |= {"lease_beat_seen_at": None, "stopped_at": None, "stopped_by": None}
                update(connection, "run", values, id=row.id)
                _add_idle_time(connection, row, now)
                if old is not None:
                    moves.log(
                        connection, row.id, now, EventKind.LEASE, why=f"lease taken from {describe(old)}, which is dead"
                    )
                _held.add((self.path, key, row.fence + 1))
                return int(row.fence) + 1
            _record_seen(connection, row, now)
        raise lease_held(row, old)

    def check(self, key: str, holder: Holder, now: float, *, dry_run: bool) -> None:
        """Raise what `take` would raise, and take nothing. A dry run writes nothing either."""
        with session(self.path) as connection:
            row = run_row(connection, key)
            check_own(key, row.uid)
            old = holder_of(row)
            if old is None or self._has_lost(old, row, holder, now):
                return
            if not dry_run:
                _record_seen(connection, row, now)
        raise lease_held(row, old)

    def _has_lost(self, old: Holder, row: Row, holder: Holder, now: float) -> bool:
        if (old.host, old.boot, old.pid, old.pid_start) == (holder.host, holder.boot, holder.pid, holder.pid_start):
            # A lease that no thread of this process holds was released, but the database could not be written then.
            return (self.path, row.key, row.fence) not in _held
        return is_dead(old, row.lease_beat_seen_at, now)

    def release(self, key: str, fence: int) -> None:
        """Release the lease; without effect if another process has taken it since."""
        _held.discard((self.path, key, fence))
        with session(self.path) as connection:
            update(connection, "run", NO_HOLDER, key=key, fence=fence)

    def beat(self, key: str, fence: int, now: float) -> None:
        """Record a heartbeat of the holder.

        Raises
        ------
        LeaseHeld
            If another process has taken the lease since.
        """
        with session(self.path) as connection:
            row = fenced_row(connection, key, fence)
            update(connection, "run", {"lease_beat_at": now, "lease_beat_seen_at": None}, id=row.id)


def _record_seen(connection: sqlite3.Connection, row: Row, now: float) -> None:
    """Record when the first refused process saw the last heartbeat; `STALE` counts from then."""
    if row.lease_beat_seen_at is None:
        update(connection, "run", {"lease_beat_seen_at": now}, id=row.id)


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
