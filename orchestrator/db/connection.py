"""One access to the database: guard, connection, transaction. Nothing stays open between two accesses.

Journal mode, busy timeout and the other settings of SQLite are in `orchestrator.db.opening`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.db.migrate import upgrade
from orchestrator.db.opening import open_database
from orchestrator.db.wrong_values import naming_wrong_values
from orchestrator.errors import DatabaseTooOld

__all__ = ["session"]


@contextmanager
def session(path: Path, write: bool = True) -> Iterator[sqlite3.Connection]:
    """Open the database for one transaction.

    Sessions on one database must not be nested: the inner one would wait for the outer one.

    Parameters
    ----------
    path : Path
        The database.
    write : bool, default True
        With True, a database of an older revision is copied and upgraded first. False needs no permission to write.

    Yields
    ------
    sqlite3.Connection
        Its rows are `orchestrator.db.rows.Row`. Committed at the end of the block; rolled back if an exception
        leaves it.

    Raises
    ------
    NotFound
        If the file does not exist.
    DatabaseError
        If the file can't be used: `NotADatabase`, `DatabaseTooNew`, or, when reading, `DatabaseTooOld`.
    DatabaseBusy
        If other processes used it for too long.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(open_database(path, "write" if write else "read"))
        except DatabaseTooOld:
            if not write:
                raise
            upgrade(path)
            connection = stack.enter_context(open_database(path, "write"))
        stack.enter_context(naming_wrong_values(connection))
        yield connection
