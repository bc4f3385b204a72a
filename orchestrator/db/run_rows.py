"""Which run a key means, and whether this process still holds its lease: the row of a run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator.db.connection import session
from orchestrator.db.rows import Row, as_parameter, scalar, scalars
from orchestrator.errors import LeaseHeld, NotFound
from orchestrator.text import did_you_mean

__all__ = ["fenced_row", "latest_key", "run_row"]


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
    known = scalars(connection, "SELECT key FROM run ORDER BY id DESC LIMIT 100")
    if not known:
        raise NotFound(
            f"There is no run in this workspace yet.{_folder_line(connection)}", "Start one: orchestrator run STUDY.py"
        )
    raise NotFound(
        f"There is no run {key!r} in this workspace. {did_you_mean(str(key), known)}"
        f"Its latest runs: {', '.join(known[:4])}.{_folder_line(connection)}",
        "List all runs: orchestrator list",
    )


def _folder_line(connection: sqlite3.Connection) -> str:
    """Return a line with the folder of the workspace; nothing for a copy in memory."""
    file = scalar(connection, "SELECT file FROM pragma_database_list WHERE name = 'main'")
    return f"\nThe workspace is {Path(file).parent}." if file else ""


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
    """Return the row of a run; raise `LeaseHeld` if another process has taken the lease since."""
    row = run_row(connection, key)
    if row.fence != fence:
        raise LeaseHeld(
            f"Another process has the lease of run {key} now. This process stops.",
            f"The run continues. Watch it with: orchestrator status {key}",
        )
    return row
