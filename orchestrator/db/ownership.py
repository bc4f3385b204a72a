"""Which user may change a run: only its owner, until another user takes it over.

The files of the run follow in `orchestrator.engine.takeover`.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from orchestrator.db import moves
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import NO_HOLDER, holder_of, is_dead, lease_held
from orchestrator.db.rows import Row, scalars, update
from orchestrator.db.run_rows import run_row
from orchestrator.errors import Busy, NotOwner
from orchestrator.machine.kinds import EventKind, Mode
from orchestrator.trust import name_of_user

__all__ = ["change_owner", "check_own", "owner_to_replace"]


def check_own(key: str, uid: int) -> None:
    """Raise `NotOwner` if a run belongs to another user: its code and environment are that user's."""
    if uid != os.geteuid():
        raise NotOwner(
            f"Run {key} belongs to {name_of_user(uid)}. Other users can read it, but not change it.",
            f"To make it yours, once no process of {name_of_user(uid)} advances it: orchestrator takeover {key}",
        )


def owner_to_replace(path: Path, key: str, now: float, *, force: bool) -> int:
    """Return the user that a run belongs to, and raise what `change_owner` would raise. Nothing is written."""
    with session(path) as connection:
        row = run_row(connection, key)
        _check_change(connection, row, now, force=force)
        return int(row.uid)


def change_owner(path: Path, key: str, now: float, *, force: bool) -> int:
    """Give a run of another user to this one; the processes of that user can't change it any more.

    Parameters
    ----------
    path : Path
        The database.
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
    with session(path) as connection:
        row, uid = run_row(connection, key), os.geteuid()
        _check_change(connection, row, now, force=force)
        if row.uid == uid:
            return uid
        update(connection, "run", {**NO_HOLDER, "uid": uid, "fence": row.fence + 1}, id=row.id)
        why = f"taken over from {name_of_user(row.uid)} by {name_of_user(uid)}"
        moves.log(connection, row.id, now, EventKind.OWNER, old=str(row.uid), new=str(uid), why=why)
        return int(row.uid)


def _check_change(connection: sqlite3.Connection, row: Row, now: float, *, force: bool) -> None:
    old = holder_of(row)
    if row.uid == os.geteuid():
        return
    if old is not None and not is_dead(old, row.lease_beat_seen_at, now):
        raise lease_held(row, old)
    ids = scalars(
        connection,
        "SELECT coalesce(scheduler_id, token) FROM job WHERE run_id = ? AND ended_at IS NULL",
        (row.id,),
    )
    if ids and row.mode == Mode.SLURM and not force:
        raise Busy(
            f"Run {row.key} has jobs that have not ended as recorded: {', '.join(ids)}. Only their owner, "
            f"{name_of_user(row.uid)}, can cancel them.",
            f"To find out whether they are left: squeue --jobs={','.join(ids)}\n"
            f"If none is left: orchestrator takeover {row.key} --force",
        )
