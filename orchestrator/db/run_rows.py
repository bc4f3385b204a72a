"""The row of a run: found by its key, and checked for its owner and for the lease."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from orchestrator.db.connection import session
from orchestrator.db.rows import Row, as_parameter, scalars
from orchestrator.errors import LeaseHeld, NotFound, NotOwner
from orchestrator.trust import name_of_user

__all__ = ["check_own", "fenced_row", "latest_key", "run_row"]


def run_row(connection: sqlite3.Connection, key: str | None, query: str = "SELECT * FROM run") -> Row:
    """Return the row of a run; None means the latest.

    Parameters
    ----------
    connection : sqlite3.Connection
        With a transaction begun.
    key : str or None
        The run's key.
    query : str, optional
        Returns the rows of all runs, without an order.

    Raises
    ------
    NotFound
        If there is no such run.
    """
    latest, this_one = f"{query} ORDER BY id DESC LIMIT 1", f"{query} WHERE key = :key"
    row: Row | None = connection.execute(latest if key is None else this_one, {"key": as_parameter(key)}).fetchone()
    if row is not None:
        return row
    known = scalars(connection, "SELECT key FROM run ORDER BY id DESC LIMIT 4")
    if not known:
        raise NotFound("There is no run in this workspace yet.", "Start one: orchestrator run STUDY.py")
    raise NotFound(
        f"There is no run {key!r} in this workspace. Its latest runs: {', '.join(known)}.",
        "List all runs: orchestrator list",
    )


def latest_key(path: Path) -> str:
    """Return the key of the latest run of a database.

    Raises
    ------
    NotFound
        If there is no run.
    """
    with session(path, write=False) as connection:
        key: str = run_row(connection, None).key
    return key


def fenced_row(connection: sqlite3.Connection, key: str, fence: int) -> Row:
    """Return the row of a run; raise `LeaseHeld` if another process has taken over the lease."""
    row = run_row(connection, key)
    if row.fence != fence:
        raise LeaseHeld(
            f"Another process has taken over run {key}. This process stops.",
            f"The run continues. Watch it with: orchestrator status {key}",
        )
    return row


def check_own(key: str, uid: int) -> None:
    """Raise `NotOwner` if a run belongs to another user: its code and environment are that user's."""
    if uid != os.geteuid():
        raise NotOwner(
            f"Run {key} belongs to {name_of_user(uid)}. Other users can read it, but not change it.",
            f"To make it yours, once no process of {name_of_user(uid)} advances it: orchestrator takeover {key}",
        )
