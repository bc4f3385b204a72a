"""Open the file, once the guard is held, and say what is wrong in words that help."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from orchestrator.db import revision
from orchestrator.db.guard import guarded
from orchestrator.db.rows import as_row, scalar
from orchestrator.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseTooNew,
    DatabaseTooOld,
    NotADatabase,
    NotFound,
    OrchestratorError,
)
from orchestrator.trust import is_foreign, owner_of

__all__ = ["Access", "may_write", "open_database", "revision_of"]

Access = Literal["write", "read", "inspect", "upgrade"]
"""`inspect` reads any revision; `upgrade` writes any revision up to ours, or makes the file."""

BUSY_TIMEOUT = 30.0

MIN_SIZE = 512
"""Bytes of the smallest database; SQLite takes a smaller file for an empty one, and writes over it."""

# The journal mode is set apart, because its answer matters.
PRAGMAS = """
PRAGMA synchronous = FULL;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA cache_spill = OFF;
PRAGMA trusted_schema = OFF;
"""


@contextmanager
def open_database(path: Path, access: Access) -> Iterator[sqlite3.Connection]:
    """Hold the guard, a connection and a transaction; commit at the end, roll back on any exception.

    Parameters
    ----------
    path : Path
    access : str
        Without permission to write, and in the database of another user, reading goes without the guard.

    Yields
    ------
    sqlite3.Connection

    Raises
    ------
    NotFound, NotADatabase, DatabaseTooNew, DatabaseTooOld, DatabaseBusy, DatabaseError
    """
    path = Path(os.path.realpath(path))
    writes = access in ("write", "upgrade")
    _check_owner(path, writes)
    _check_exists(path, access)
    writable = may_write(path)
    if writes and not writable:
        raise DatabaseError(
            f"You may not write to {path}, or to its folder.", "Ask its owner, or choose another workspace."
        )
    with guarded(path) if writable else nullcontext():
        try:
            with closing(_connect(str(path), access, writable)) as connection:
                connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                # What is not committed is rolled back when the connection is closed.
                yield connection
                connection.commit()
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise _as_database_error(error, path) from error


def may_write(path: Path) -> bool:
    """Tell whether this user may write to the database: journal and guard stand beside it.

    That of another user is only read, whatever its permissions are.
    """
    may = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    return may and not is_foreign(path)


def _check_owner(path: Path, writes: bool) -> None:
    """Take no word of another user for what is to be run.

    Raises
    ------
    DatabaseError
    """
    if writes and is_foreign(path):
        raise DatabaseError(
            f"{path} belongs to {owner_of(path)}: what another user's records say is not run.",
            "Name a workspace of your own: --rootdir FOLDER\n"
            f"To look into this one: orchestrator status --db {shlex.quote(str(path))}",
        )
    journal = path.with_name(f"{path.name}-journal")
    # SQLite rolls a journal back into the database, whoever wrote it; as root it makes it the owner's before.
    if is_foreign(journal, beside=path):
        raise DatabaseError(
            f"{journal} belongs to {owner_of(journal)}, and the database does not: it may have been planted.",
            "Ask the owner, or move it away.",
        )


def revision_of(connection: sqlite3.Connection) -> int:
    """Read the number of the revision; 0 where there are no tables yet."""
    return int(scalar(connection, "PRAGMA user_version"))


def _connect(path: str, access: Access, writable: bool) -> sqlite3.Connection:
    mode = "ro" if not writable else "rwc" if access == "upgrade" else "rw"
    # Never immutable: that reads the uncommitted pages of a writer that died.
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT
    )
    try:
        _check_format(connection, path, access)
        if writable:
            _set_journal_mode(connection, path)
        connection.executescript(PRAGMAS)
        # A migration that makes a table anew must not trip over the rows that point to it; it checks them afterwards.
        connection.execute(f"PRAGMA foreign_keys = {'OFF' if access == 'upgrade' else 'ON'}")
        connection.row_factory = as_row
    except BaseException:
        connection.close()
        raise
    return connection


def _set_journal_mode(connection: sqlite3.Connection, path: str) -> None:
    """Never remove or cut the journal: another machine that cached its absence would read a dead writer's pages."""
    mode = scalar(connection, "PRAGMA journal_mode = PERSIST")
    if mode != "persist":
        raise DatabaseError(
            f"{path} stays in journal mode {mode!r}, which is not safe here.",
            "Close every other program that has the database open.",
        )


def _check_exists(path: Path, access: Access) -> None:
    try:
        size = path.stat().st_size
        if 0 < size < MIN_SIZE:
            raise _not_a_database(path)
        if not os.access(path, os.R_OK):
            raise DatabaseError(f"You may not read {path}.", "Ask its owner, or name another: --db FILE")
        if size or access == "upgrade":
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DatabaseError(f"{path} can't be read: {error.strerror}.", "Check its path and permissions.") from error
    if access == "upgrade":
        return
    raise NotFound(
        f"There is no database at {path}.", "Name the workspace's database: --db FILE; the first run makes one."
    )


def _check_format(connection: sqlite3.Connection, path: str, access: Access) -> None:
    application = scalar(connection, "PRAGMA application_id")
    if application != revision.APPLICATION_ID:
        if access == "upgrade" and application == 0 and not _has_tables(connection):
            return
        raise _not_a_database(path)
    found, needed = revision_of(connection), int(revision.REVISION)
    if found > needed:
        raise DatabaseTooNew(
            f"{path} was written by a newer orchestrator: its revision is {found:04}, this one knows {needed:04}.",
            "Install the newer version: pip install --upgrade orchestrator",
        )
    if found < needed and access in ("read", "write"):
        raise DatabaseTooOld(
            f"{path} has revision {found:04}, this orchestrator needs {needed:04}.",
            "To upgrade it (a backup is written first), its owner types: orchestrator db upgrade",
        )


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(scalar(connection, "SELECT count(*) FROM sqlite_master"))


def _not_a_database(path: str | Path) -> NotADatabase:
    return NotADatabase(
        f"{path} is no database of orchestrator; it was left as it is.",
        "Name another file (--db FILE), or move this one away.",
    )


def _as_database_error(error: sqlite3.Error, path: Path) -> OrchestratorError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseBusy(f"{path} stayed locked for {BUSY_TIMEOUT:.0f} s.", "Nothing was changed; try again.")
        case sqlite3.SQLITE_NOTADB:
            return _not_a_database(path)
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return DatabaseError(
                f"{path} could not be read or written ({error}); {_free_space(path)}. Nothing was changed.",
                "Free some space or quota there, then try again.",
            )
        case sqlite3.SQLITE_CORRUPT:
            return DatabaseError(
                f"{path} is damaged ({error}).",
                "See what is left: orchestrator db check. A copy from before an upgrade is named "
                f"{path.name}.backup-...",
            )
        case sqlite3.SQLITE_READONLY:
            return DatabaseError(
                f"{path} was left in the middle of a write, and may not be written to by you ({error}).",
                "Whoever owns it types: orchestrator list",
            )
    return DatabaseError(f"{path} can't be used: {error}.", "Check it: orchestrator db check")


def _free_space(path: Path) -> str:
    try:
        room = os.statvfs(path.parent)
    except OSError as error:
        return f"its file system does not answer ({error.strerror})"
    return f"its file system has {room.f_bavail * room.f_frsize / 2**20:.0f} MiB and {room.f_favail} files left"
