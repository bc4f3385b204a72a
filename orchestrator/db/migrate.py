"""Make a database, and bring an old one up to date.

A new one is made of `schema.sql`, which `scripts/schema` writes from `tables.py`: the first command in a workspace does
not wait for Alembic and SQLAlchemy. They are loaded only to upgrade.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from orchestrator.atomic import replacing
from orchestrator.db import revision
from orchestrator.db.guard import file_system, is_local
from orchestrator.db.opening import may_write, open_database, revision_of
from orchestrator.db.rows import scalar, scalars
from orchestrator.errors import DatabaseError

__all__ = [
    "SCHEMA",
    "DatabaseInfo",
    "check",
    "create",
    "create_tables",
    "definitions",
    "info",
    "migrate",
    "migrations",
    "statements",
    "upgrade",
]

SCHEMA = Path(__file__).parent / "schema.sql"
VERSION_TABLE = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""
"""As Alembic makes it."""


def create(path: Path) -> None:
    """Make a database, as the migrations would; one that exists stays as it is.

    Raises
    ------
    NotADatabase
        If the file is something else.
    """
    with open_database(path, "upgrade") as connection:
        if revision_of(connection) == 0:
            create_tables(connection)


def upgrade(path: Path) -> Path | None:
    """Bring a database up to date, all or nothing, after a copy of it was written beside it.

    Returns
    -------
    Path or None
        The copy, `<name>.backup-<revision>-<UTC time>`; None if there was nothing to do.

    Raises
    ------
    NotFound, NotADatabase, DatabaseTooNew, DatabaseBusy, DatabaseError
    """
    with open_database(path, "inspect") as connection:
        if revision_of(connection) == int(revision.REVISION):
            return None
    with open_database(path, "upgrade") as connection:
        found = revision_of(connection)
        if found == int(revision.REVISION):  # somebody was quicker
            return None
        copy = _back_up(path, found)
        migrate(connection)
        return copy


class DatabaseInfo(NamedTuple):
    """A database, of any revision.

    Attributes
    ----------
    path : str
        Its file.
    revision : str
        Revision of its tables.
    needed : str
        Revision that this version needs.
    size : int
        Bytes.
    runs : int or None
        How many runs it records; null in a revision that has no such table.
    writable : bool
        Whether you may write it.
    file_system : str
        Type of the file system that it is on.
    guard : str
        What keeps two writers apart: `kernel`, a lock of the kernel; `links`, links in the workspace's folder.
    sqlite : str
        Version of SQLite.
    """

    path: str
    revision: str
    needed: str
    size: int
    runs: int | None
    writable: bool
    file_system: str
    guard: str
    sqlite: str


def info(path: Path) -> DatabaseInfo:
    """Describe a database of any revision."""
    with open_database(path, "inspect") as connection:
        tables = scalars(connection, "SELECT name FROM sqlite_master WHERE type = 'table'")
        runs = scalar(connection, "SELECT count(*) FROM run") if "run" in tables else None
        found = revision_of(connection)
    folder = Path(os.path.realpath(path)).parent
    return DatabaseInfo(
        path=str(path),
        revision=f"{found:04}",
        needed=revision.REVISION,
        size=path.stat().st_size,
        runs=runs,
        writable=may_write(path),
        file_system=file_system(folder),
        guard="kernel" if is_local(folder) else "links",
        sqlite=sqlite3.sqlite_version,
    )


def check(path: Path) -> list[str]:
    """Look for damage.

    Returns
    -------
    list of str
        One line per problem; empty if all is well.
    """
    with open_database(path, "inspect") as connection:
        problems = [line for line in scalars(connection, "PRAGMA integrity_check") if line != "ok"]
        problems += _dangling(connection)
        found = revision_of(connection)
        if found != int(revision.REVISION):
            return [*problems, f"revision {found:04}, needed {revision.REVISION}: orchestrator db upgrade"]
        is_, should = definitions(connection), _definitions_of_new()
    names = sorted(is_.keys() | should.keys())
    return problems + [f"{name} is not as this version makes it" for name in names if is_.get(name) != should.get(name)]


def definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Read the definition of every table and index, white space and quotes aside."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return {name: re.sub(r"\s+", "", sql).replace('"', "") for name, sql in rows}


def migrations() -> Path:
    """Find the folder of the migrations: in an installed package inside it, in the repository beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def statements(file: Path) -> list[str]:
    """Read the statements of a file that `scripts/schema` wrote: one by one, for `executescript` ends a transaction."""
    return file.read_text(encoding="utf-8").rstrip(";\n").split(";\n\n")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, as `migrate` would, but without its imports."""
    for statement in [*statements(SCHEMA), VERSION_TABLE]:
        connection.execute(statement)
    connection.execute("INSERT INTO alembic_version VALUES (?)", (revision.REVISION,))
    _stamp(connection)


def migrate(connection: sqlite3.Connection) -> None:
    """Do the migrations that the database does not have yet, in one transaction of this connection."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import StaticPool, create_engine

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    connection.row_factory = None  # SQLAlchemy makes its own rows
    with create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool).begin() as transaction:
        # SQLAlchemy begins with a rollback of its own.
        connection.execute("BEGIN IMMEDIATE")
        config.attributes["connection"] = transaction
        command.upgrade(config, "head")
        if dangling := _dangling(connection):
            raise DatabaseError(
                f"The upgrade was undone, because it would have left {len(dangling)} rows without the row they belong "
                f"to: {dangling[0]}.",
                "Report this, with the database if you can.",
            )
        _stamp(connection)


def _stamp(connection: sqlite3.Connection) -> None:
    # Both are part of the transaction: a file has either all of a revision or nothing.
    connection.execute(f"PRAGMA application_id = {revision.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {int(revision.REVISION)}")


def _dangling(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA foreign_key_check")
    return [f"row {row} of {table} points to no row of {parent}" for table, row, parent, _ in rows]


def _back_up(path: Path, found: int) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    copy = path.with_name(f"{path.name}.backup-{found:04}-{now}")
    # A connection of its own: one that holds the write lock can't be copied from, it would wait for itself.
    with (
        closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source,
        replacing(copy) as file,
        closing(sqlite3.connect(file.name)) as target,
    ):
        source.backup(target)
    return copy


def _definitions_of_new() -> dict[str, str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        create_tables(connection)
        return definitions(connection)
