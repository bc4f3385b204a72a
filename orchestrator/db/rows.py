"""Rows as Python values. SQL is spoken to `sqlite3` itself.

SQLAlchemy says what the tables are, and Alembic makes them, but neither is loaded to read or write a row: that alone
would take most of the time of an `advance` or a `status`, on every node that one runs on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

__all__ = ["BOOLEANS", "JSON", "Row", "as_row", "insert", "scalar", "scalars", "update"]

JSON = frozenset({"cluster", "provenance", "detail"})
"""Columns that hold JSON, in whatever table."""

BOOLEANS = frozenset({"until"})


class Row(SimpleNamespace):
    """A row: its columns are attributes, and items."""

    def __getitem__(self, column: str) -> Any:
        return self.__dict__[column]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__.values())


def as_row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    """Make a row of what SQLite gives; for `sqlite3.Connection.row_factory`."""
    named = zip((column for column, *_ in cursor.description), values, strict=True)
    return Row(
        **{column: _READ[column](value) if column in _READ and value is not None else value for column, value in named}
    )


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    """Insert a row, and give its id."""
    places = ", ".join("?" * len(values))
    done = connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", _written(values))
    assert done.lastrowid is not None
    return done.lastrowid


def update(connection: sqlite3.Connection, table: str, values: Mapping[str, Any], **where: Any) -> int:
    """Change the rows with these values in these columns, and give their number."""
    new = ", ".join(f"{column} = ?" for column in values)
    old = " AND ".join(f"{column} = ?" for column in where)
    done = connection.execute(f"UPDATE {table} SET {new} WHERE {old}", [*_written(values), *where.values()])
    return done.rowcount


def scalar(connection: sqlite3.Connection, query: str, values: Iterable[Any] = ()) -> Any:
    """Give the first column of the first row; None where there is none."""
    return next(iter(scalars(connection, query, values)), None)


def scalars(connection: sqlite3.Connection, query: str, values: Iterable[Any] = ()) -> list[Any]:
    """Give the first column of each row."""
    return [next(iter(row)) for row in connection.execute(query, tuple(values))]


_READ: dict[str, Callable[[Any], Any]] = {**dict.fromkeys(JSON, json.loads), **dict.fromkeys(BOOLEANS, bool)}


def _written(values: Mapping[str, Any]) -> list[Any]:
    return [json.dumps(value) if isinstance(value, dict) else value for value in values.values()]
