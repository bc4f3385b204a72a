"""Values in the tables that the definition of their column excludes: only damage writes them.

SQLite checks them when a row is written, but not when it is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.db.opening import open_database
from orchestrator.db.rows import damaged, scalars
from orchestrator.errors import OrchestratorError

__all__ = ["check_values", "dangling", "naming_wrong_values", "wrong_values"]

RANGES = {"FLOAT": (0, 1e11), "INTEGER": (-1, 10**15), "BOOLEAN": (0, 1)}
"""What times in seconds, and counts, are between."""

_TYPES = {
    "INTEGER": ("integer",),
    "BOOLEAN": ("integer",),
    "FLOAT": ("integer", "real"),
    "TEXT": ("text",),
    "JSON": ("text",),
}
"""The types of SQLite's values that a column has, by its declared type."""

_CAUSED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)
"""What a value of a wrong type may cause where it is used."""


def wrong_values(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with each value that its column excludes; one text if that can't be found out."""
    try:
        return list(_wrong_values(connection))
    except (sqlite3.Error, UnicodeError) as error:
        return [str(error).encode(errors="backslashreplace").decode()]


def _wrong_values(connection: sqlite3.Connection) -> Iterator[str]:
    cursor = connection.cursor()
    cursor.row_factory = None
    for (table,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        for _, column, declared, not_null, _, is_key in cursor.execute(f'PRAGMA table_info("{table}")').fetchall():
            if declared.upper() not in _TYPES:
                continue
            types = [*_TYPES[declared.upper()], *([] if not_null or is_key else ["null"])]
            wrong = f"typeof({column}) NOT IN ({', '.join('?' * len(types))})"
            if declared.upper() in RANGES:
                wrong += " OR {} NOT BETWEEN {} AND {}".format(column, *RANGES[declared.upper()])
            rows = cursor.execute(f"SELECT rowid, substr(quote({column}), 1, 40) FROM {table} WHERE {wrong}", types)
            yield from (f"{column} is {value} in row {row} of the table {table}" for row, value in rows)


def dangling(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with each row that refers to a missing row."""
    rows = connection.execute("PRAGMA foreign_key_check")
    return [f"row {row} of {table} refers to a missing row of {parent}" for table, row, parent, _ in rows]


def check_values(path: Path) -> None:
    """Raise `DatabaseError` if a database has a value that its column or a constraint excludes."""
    with open_database(path, "read") as connection:
        _check(connection)


def _check(connection: sqlite3.Connection) -> None:
    found = wrong_values(connection) or dangling(connection)
    if found := found or [line for line in scalars(connection, "PRAGMA quick_check") if line != "ok"]:
        raise damaged(found[0])


@contextmanager
def naming_wrong_values(connection: sqlite3.Connection) -> Iterator[None]:
    """Raise `DatabaseError` in place of another exception, if a value that its column excludes may be the cause."""
    try:
        yield
    except _CAUSED as error:
        if not isinstance(error, OrchestratorError):
            from traceback import clear_frames

            # An iteration over rows that was left keeps the database locked.
            clear_frames(error.__traceback__)
            _check(connection)
        raise
