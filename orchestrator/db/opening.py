"""Open the database file under its guard, and translate what SQLite reports into errors for the user."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from orchestrator.amounts import size_text
from orchestrator.atomic import PRIVATE
from orchestrator.damage import Damaged
from orchestrator.db import revision
from orchestrator.db.guard import guarded
from orchestrator.db.rows import OF_ANOTHER_VERSION, as_row, as_text, scalar
from orchestrator.db.unlocked import read_unlocked
from orchestrator.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseTooNew,
    DatabaseTooOld,
    NotADatabase,
    NotFound,
    OrchestratorError,
)
from orchestrator.sharing import is_shared, seems_shared
from orchestrator.text import clean
from orchestrator.trust import is_foreign, is_own, is_planted, lets_others_write, owner_of

__all__ = ["Access", "may_write", "open_database", "revision_of"]

Access = Literal["write", "read", "inspect", "upgrade"]
"""`inspect` reads any revision; `upgrade` writes any revision up to ours, or creates the file."""

BUSY_TIMEOUT = 30.0

BESIDE = ("-journal", "-wal", "-shm")
"""How the files end whose content SQLite applies to a database: also a `-wal`, which we never make."""

MIN_SIZE = 512
"""Bytes of the smallest database. SQLite treats a smaller file as an empty one, and overwrites it."""

# The journal mode is not in this list, because its result is checked.
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
        The database.
    access : str
        What it is opened for. A database that this user may not write to, of another user, or shared with a group is
        read without the guard and without any other lock.

    Yields
    ------
    sqlite3.Connection
        With a transaction begun.

    Raises
    ------
    NotFound
        If the file does not exist.
    DatabaseError
        If the file can't be used: `NotADatabase`, `DatabaseTooNew`, `DatabaseTooOld`.
    DatabaseBusy
        If other processes used it for too long.
    """
    writes = access in ("write", "upgrade")
    if writes and is_planted(path):
        raise DatabaseError(
            f"{path} is a link of another user, and may lead to a workspace that you do not mean.",
            f"Remove it: rm {shlex.quote(str(path))}",
        )
    path = Path(os.path.realpath(path))
    if writes and not is_shared(path):
        _check_owner(path)
    _check_exists(path, access)
    # Where several users write, one that only reads must not stop the others.
    writable = may_write(path) and not (access == "read" and is_shared(path))
    if writes and not writable:
        raise DatabaseError(
            f"You may not write to {path} or to its folder.",
            "Ask its owner for permission, or use another workspace: --rootdir FOLDER",
        )
    with guarded(path) if writable else nullcontext():
        if writable and not is_shared(path):
            for end in BESIDE:
                _check_beside(path.with_name(path.name + end), path)
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
        except UnicodeDecodeError as error:
            # Python can't show SQLite's message about damage in the schema: it quotes the damaged bytes.
            raise _is_damaged(path, error.reason) from error


def may_write(path: Path) -> bool:
    """Whether this user may write to a database and to its folder, where journal and guard are.

    False for the database of another user, and for one that others may write to, unless it is shared with a group on
    purpose.
    """
    exists = path.exists()
    may = os.access(path.parent, os.W_OK) and (not exists or os.access(path, os.W_OK))
    return may and (not exists or is_shared(path) or not (is_foreign(path) or lets_others_write(path)))


def _check_owner(path: Path) -> None:
    """Raise `DatabaseError` if another user can have written a database."""
    name = shlex.quote(str(path))
    allow = f"\nIf you share it with a group: orchestrator db allow --db {name}" if seems_shared(path) else ""
    if is_foreign(path):
        raise DatabaseError(
            f"{path} belongs to {owner_of(path)}. Runs of another user's database are not executed.",
            f"Use a workspace of your own: --rootdir FOLDER\nTo read this one: orchestrator status --db {name}{allow}",
        )
    if is_own(path) and lets_others_write(path):
        raise DatabaseError(
            f"Other users may write to {path}, so its runs are not executed.",
            f"If its content is right: chmod go-w {name}{allow}",
        )


def _check_beside(file: Path, database: Path) -> None:
    """Raise `DatabaseError` if another user can have written a journal.

    SQLite applies it to the database whatever user wrote it; as root it first gives it to the owner.
    """
    if file.is_symlink():
        why = "is a link"
    elif is_foreign(file, beside=database):
        why = f"belongs to {owner_of(file)}, but the database does not"
    elif file.exists() and lets_others_write(file):
        why = "can be written by other users"
    else:
        return
    raise DatabaseError(
        f"{file} {why}: SQLite would apply its content to the database.",
        f"Move it away: mv {shlex.quote(str(file))} {shlex.quote(f'{file}.foreign')}",
    )


def revision_of(connection: sqlite3.Connection) -> int:
    """Return the number of the revision; 0 if there are no tables yet."""
    return int(scalar(connection, "PRAGMA user_version"))


def _connect(path: str, access: Access, writable: bool) -> sqlite3.Connection:
    if access == "upgrade":
        _create_private(path)
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw" if writable else ":memory:",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT,
    )
    try:
        if not writable:
            connection.deserialize(_snapshot(Path(path)))
        _check_format(connection, path, access)
        if writable:
            _set_journal_mode(connection, path)
        connection.executescript(PRAGMAS)
        # A migration may recreate a table that other rows refer to; `migrate` checks the references afterwards.
        connection.execute(f"PRAGMA foreign_keys = {'OFF' if access == 'upgrade' else 'ON'}")
        connection.row_factory, connection.text_factory = as_row, as_text
    except BaseException:
        connection.close()
        raise
    return connection


def _snapshot(path: Path) -> bytes:
    try:
        return read_unlocked(path)
    except PermissionError as error:
        raise DatabaseError(
            f"You may not read {error.filename}.",
            f"Its owner can allow that: chmod go+r {shlex.quote(str(path))} {shlex.quote(f'{path}-journal')}",
        ) from error
    except (OSError, Damaged) as error:
        raise DatabaseError(f"{path} can't be read: {error}.", "Ask its owner.") from error


def _create_private(path: str) -> None:
    """Create the file, if it is missing, for its user alone; SQLite gives the journal the same permissions."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE))


def _set_journal_mode(connection: sqlite3.Connection, path: str) -> None:
    """Keep the journal file when a transaction ends.

    Another machine may have cached that there is no journal. It would then read the pages of a dead writer.
    """
    mode = scalar(connection, "PRAGMA journal_mode = PERSIST")
    if mode != "persist":
        raise DatabaseError(
            f"{path} can't leave the journal mode {mode!r}, which is not safe here.",
            "Close all other programs that have the database open, then retry.",
        )


def _check_exists(path: Path, access: Access) -> None:
    try:
        size = path.stat().st_size
        if 0 < size < MIN_SIZE:
            raise _not_a_database(path)
        if not os.access(path, os.R_OK):
            raise DatabaseError(f"You may not read {path}.", "Ask its owner, or use another one: --db FILE")
        if size or access == "upgrade":
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DatabaseError(
            f"{path} can't be read: {error.strerror}.", f"Check its permissions: ls -l {shlex.quote(str(path))}"
        ) from error
    if access == "upgrade":
        return
    raise NotFound(
        f"There is no database at {path}.",
        "Use the database of a workspace: --db FILE\nThe first run in a folder creates one: orchestrator run STUDY.py",
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
            f"{path} was written by a newer version: it has revision {found:04}, this version knows {needed:04}.",
            "Install the newer version: pip install --upgrade slurm-orchestrator",
        )
    if found < needed and access in ("read", "write"):
        raise DatabaseTooOld(
            f"{path} has revision {found:04}, this version needs {needed:04}.",
            "Its owner can upgrade it (a backup is written first): orchestrator db upgrade",
        )
    _check_contents(connection, path)


def _check_contents(connection: sqlite3.Connection, path: str) -> None:
    """Raise `DatabaseError` if the file has triggers, views or virtual tables: what we ask and write would run them."""
    found = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
    ).fetchone()
    if found is not None:
        kind, name = (clean(str(part)) for part in found)
        raise DatabaseError(
            f"{path} contains the {kind} {name!r}, which orchestrator has not created. So it is not used.",
            "Restore it from a backup, or use another workspace: --rootdir FOLDER",
        )


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(scalar(connection, "SELECT count(*) FROM sqlite_master"))


def _not_a_database(path: str | Path) -> NotADatabase:
    return NotADatabase(
        f"{path} is not a database of orchestrator. It was not changed.",
        "Use another file (--db FILE), or move this one away.",
    )


_OF_THE_SCHEMA = re.compile("no such (column|table)|has no column|no column named")
"""Errors of SQLite about a table that is not as this version creates it."""


def _as_database_error(error: sqlite3.Error, path: Path) -> OrchestratorError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseBusy(
                f"{path} was locked for {BUSY_TIMEOUT:.0f} s.", "Nothing was changed. Retry the command later."
            )
        case sqlite3.SQLITE_NOTADB:
            return _not_a_database(path)
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return DatabaseError(
                f"{path} could not be read or written ({error}); {_free_space(path)}. Nothing was changed.",
                "Check disk space and quota there, then retry the command.",
            )
        case sqlite3.SQLITE_CORRUPT:
            return _is_damaged(path, str(error))
        case sqlite3.SQLITE_ERROR if _OF_THE_SCHEMA.search(str(error)):
            return NotADatabase(
                f"{path} was made by another version of orchestrator, or is damaged: {error}.", OF_ANOTHER_VERSION
            )
    return DatabaseError(f"{path} can't be used: {error}.", "Check it: orchestrator db check")


def _is_damaged(path: Path, why: str) -> DatabaseError:
    return DatabaseError(
        f"{path} is damaged ({why}).",
        f"List the damage: orchestrator db check\nCopies from before an upgrade: ls {path.name}.backup-*",
    )


def _free_space(path: Path) -> str:
    try:
        room = os.statvfs(path.parent)
    except OSError as error:
        return f"its file system does not answer ({error.strerror})"
    return f"its file system has {size_text(room.f_bavail * room.f_frsize)} and {room.f_favail} files left"
