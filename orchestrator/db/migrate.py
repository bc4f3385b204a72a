"""Create a database, and upgrade one of an older revision.

A new database is created from `schema.sql`, which `scripts/schema` writes from `tables.py`: so the first command in a
workspace does not import Alembic and SQLAlchemy. They are imported only for an upgrade, which the first command that
writes makes (`orchestrator.db.connection`), or `orchestrator db upgrade`. A copy of the database is written first.
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

from orchestrator.atomic import PRIVATE, replacing
from orchestrator.db import revision
from orchestrator.db.file_systems import file_system
from orchestrator.db.guard import has_kernel_lock
from orchestrator.db.opening import may_write, open_database, revision_of
from orchestrator.db.rows import scalar, scalars
from orchestrator.db.wrong_values import dangling, wrong_values
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
"""The table that Alembic itself would create."""


def create(path: Path) -> None:
    """Create a database with the tables of the newest revision; an existing one is not changed.

    Raises
    ------
    NotADatabase
        If the file is not a database of orchestrator.
    """
    with open_database(path, "upgrade") as connection:
        if revision_of(connection) == 0:
            create_tables(connection)


def upgrade(path: Path) -> Path | None:
    """Upgrade a database in one transaction, after a copy was written to the same folder.

    Returns
    -------
    Path or None
        The copy, `<name>.backup-<revision>-<UTC time>`; None if there was nothing to do.

    Raises
    ------
    NotFound
        If the file does not exist.
    DatabaseError
        If the file can't be used: `NotADatabase`, `DatabaseTooNew`.
    DatabaseBusy
        If other processes used it for too long.
    """
    with open_database(path, "inspect") as connection:
        if revision_of(connection) == int(revision.REVISION):
            return None
    with open_database(path, "upgrade") as connection:
        found = revision_of(connection)
        if found == int(revision.REVISION):  # another process was faster
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
        Number of its runs; null if its revision has no table of runs.
    writable : bool
        Whether you may write to it.
    file_system : str
        Type of the file system that it is on.
    guard : str
        Kind of lock for its access: `kernel`, a lock of the kernel; `links`, hard links in the workspace's folder.
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
        guard="kernel" if has_kernel_lock(path) else "links",
        sqlite=sqlite3.sqlite_version,
    )


def check(path: Path) -> list[str]:
    """Check a database for damage.

    Returns
    -------
    list of str
        One line per problem; empty if there is none.
    """
    with open_database(path, "inspect") as connection:
        problems = [line for line in scalars(connection, "PRAGMA integrity_check") if line != "ok"]
        problems += dangling(connection)
        problems += wrong_values(connection)
        found = revision_of(connection)
        if found != int(revision.REVISION):
            return [*problems, f"revision {found:04}, needed {revision.REVISION}: orchestrator db upgrade"]
        is_, should = definitions(connection), _definitions_of_new()
    names = sorted(is_.keys() | should.keys())
    return problems + [
        f"{name} differs from what this version creates" for name in names if is_.get(name) != should.get(name)
    ]


def definitions(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the definition of every table and index, without white space and quotes."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return {name: re.sub(r"\s+", "", sql).replace('"', "") for name, sql in rows}


def migrations() -> Path:
    """Return the folder of the migrations: inside an installed package, next to the package in the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def statements(file: Path) -> list[str]:
    """Return the statements of a file that `scripts/schema` wrote.

    They are executed one by one, because `executescript` would commit the transaction.
    """
    return file.read_text(encoding="utf-8").rstrip(";\n").split(";\n\n")


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty database, with the same result as `migrate`, but without its imports."""
    for statement in [*statements(SCHEMA), VERSION_TABLE]:
        connection.execute(statement)
    connection.execute("INSERT INTO alembic_version VALUES (?)", (revision.REVISION,))
    _stamp(connection)


def migrate(connection: sqlite3.Connection) -> None:
    """Run the missing migrations, in one transaction of this connection."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import StaticPool, create_engine

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    connection.row_factory = None  # SQLAlchemy needs plain tuples
    with create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool).begin() as transaction:
        # SQLAlchemy has just rolled back the open transaction.
        connection.execute("BEGIN IMMEDIATE")
        config.attributes["connection"] = transaction
        command.upgrade(config, "head")
        if lost := dangling(connection):
            raise DatabaseError(
                f"The upgrade was rolled back: after it, {len(lost)} rows would refer to rows that do not exist. "
                f"The first: {lost[0]}.",
                "This is a bug: report it, with the database if you can.",
            )
        _stamp(connection)


def _stamp(connection: sqlite3.Connection) -> None:
    # Both are part of the transaction, so a file never has only a part of a revision.
    connection.execute(f"PRAGMA application_id = {revision.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {int(revision.REVISION)}")


def _back_up(path: Path, found: int) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    copy = path.with_name(f"{path.name}.backup-{found:04}-{now}")
    # A second connection: a copy from the one that holds the write lock would wait for itself.
    with (
        closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True)) as source,
        replacing(copy, PRIVATE) as file,
        closing(sqlite3.connect(file.name)) as target,
    ):
        source.backup(target)
    return copy


def _definitions_of_new() -> dict[str, str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        create_tables(connection)
        return definitions(connection)
