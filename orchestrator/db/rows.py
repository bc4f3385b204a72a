"""Rows as Python values, read and written by `sqlite3` itself.

SQLAlchemy declares the tables and Alembic migrates them, but neither is imported to read or write a row: the import
would take most of the time of an `advance` or a `status`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, TypeVar

from orchestrator.errors import DamagedRecords, NotADatabase
from orchestrator.text import to_bytes

__all__ = [
    "OF_ANOTHER_VERSION",
    "BOOLEANS",
    "JSON",
    "DamagedJson",
    "Row",
    "as_parameter",
    "as_row",
    "as_text",
    "damaged",
    "insert",
    "member",
    "one_of",
    "scalar",
    "scalars",
    "update",
]

Member = TypeVar("Member", bound=StrEnum)

JSON = frozenset({"puts_back", "cluster", "provenance", "detail"})
"""Columns that contain JSON, in any table."""

BOOLEANS = frozenset({"until", "accepts_failed", "held"})
"""Columns that contain a truth value, in any table."""


OF_ANOTHER_VERSION = (
    "To see what differs: orchestrator db check\n"
    "To begin a new workspace in another folder: orchestrator run STUDY.py --rootdir FOLDER"
)
"""What to type if a database has another schema, although it has the same revision."""


class Row(SimpleNamespace):
    """A row, with its columns as attributes and as items."""

    def __getattr__(self, column: str) -> Any:
        # Called for a name that is not there: the schema in the file is damaged.
        if column.startswith("__"):
            raise AttributeError(column)
        raise NotADatabase(
            f"The database was made by another version of orchestrator, or is damaged: a table has no column {column}.",
            OF_ANOTHER_VERSION,
        )

    def __getitem__(self, column: str) -> Any:
        return getattr(self, column)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__.values())


def as_row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    """Return the values from SQLite as a `Row`; for `sqlite3.Connection.row_factory`."""
    named = zip((column for column, *_ in cursor.description), values, strict=True)
    return Row(
        **{column: _READ[column](value) if column in _READ and value is not None else value for column, value in named}
    )


class DamagedJson(dict[str, Any]):
    """An empty object in place of a column's content that is no JSON object: a view then shows less.

    The engine needs the whole content: see `orchestrator.db.model_of_rows.check_json`.
    """


def _json_object(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return DamagedJson()
    return value if isinstance(value, dict) else DamagedJson()


def member(kind: type[Member], value: Any) -> Member:
    """Return the member of an enum that a column names.

    Raises
    ------
    DatabaseError
        If there is none. The constraints of the tables exclude that, so the file is damaged.
    """
    try:
        return kind(value)
    except ValueError as error:
        raise damaged(str(error)) from error


def damaged(why: str) -> DamagedRecords:
    """Return the error about records that the constraints of the tables exclude."""
    return DamagedRecords(f"The records are damaged: {why}.", "List the damage: orchestrator db check")


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    """Insert a row, and return its id."""
    written = _written(values)
    places = ", ".join(map(_placeholder, written))
    done = connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", written)
    assert done.lastrowid is not None
    return done.lastrowid


def update(connection: sqlite3.Connection, table: str, values: Mapping[str, Any], **where: Any) -> int:
    """Update the rows whose columns have the values `where`, and return their number."""
    written = _written(values)
    new = ", ".join(f"{column} = {_placeholder(value)}" for column, value in zip(values, written, strict=True))
    old = " AND ".join(f"{column} = ?" for column in where)
    done = connection.execute(f"UPDATE {table} SET {new} WHERE {old}", [*written, *where.values()])
    return done.rowcount


def scalar(connection: sqlite3.Connection, query: str, values: Iterable[Any] = ()) -> Any:
    """Return the first column of the first row; None if there is no row."""
    return next(iter(scalars(connection, query, values)), None)


def scalars(connection: sqlite3.Connection, query: str, values: Iterable[Any] = ()) -> list[Any]:
    """Return the first column of each row."""
    return [next(iter(row)) for row in connection.execute(query, tuple(values))]


_READ: dict[str, Callable[[Any], Any]] = {**dict.fromkeys(JSON, _json_object), **dict.fromkeys(BOOLEANS, bool)}


def _written(values: Mapping[str, Any]) -> list[Any]:
    return [json.dumps(value) if isinstance(value, dict) else as_parameter(value) for value in values.values()]


def _placeholder(written: Any) -> str:
    # The bytes of a text that is not Unicode are stored as text, so that it can be read, compared and printed.
    return "CAST(? AS TEXT)" if isinstance(written, bytes) else "?"


def one_of(column: str, values: Iterable[str]) -> str:
    """Return the condition that a column has one of these values, which are names of ours."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def as_parameter(value: Any) -> Any:
    """Return a value that SQLite accepts: for a text that is not Unicode, such as a path in Latin-1, its bytes."""
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return to_bytes(value)
    return value


def as_text(content: bytes) -> str:
    """Return the text that SQLite stores as these bytes; for `sqlite3.Connection.text_factory`."""
    return content.decode(errors="surrogateescape")
