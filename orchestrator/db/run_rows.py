"""The row of a run: found by its key, and checked for its owner and for the lease."""

from __future__ import annotations

import os
import sqlite3

from orchestrator.db.rows import Row, as_parameter
from orchestrator.errors import LeaseHeld, NotFound, NotOwner
from orchestrator.trust import name_of_user

__all__ = ["check_own", "fenced_row", "run_row"]


def run_row(connection: sqlite3.Connection, key: str) -> Row:
    """Return the row of a run; raise `NotFound` if there is none."""
    row: Row | None = connection.execute("SELECT * FROM run WHERE key = ?", (as_parameter(key),)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {key!r} in this workspace.", "List all runs: orchestrator list")
    return row


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
