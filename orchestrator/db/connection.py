"""One access to the database: guard, open, transaction, close. Nothing is kept between two accesses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.db.migrate import upgrade
from orchestrator.db.opening import open_database
from orchestrator.errors import DatabaseTooOld

__all__ = ["session"]


@contextmanager
def session(path: Path, write: bool = True) -> Iterator[sqlite3.Connection]:
    """Hold the database for one transaction.

    Sessions on one database do not nest: the inner one would wait for the outer.

    Parameters
    ----------
    path : Path
    write : bool, default True
        An older revision is upgraded first, after a copy was made. False works without permission to write, too.

    Yields
    ------
    sqlite3.Connection
        Its rows are `orchestrator.db.rows.Row`. Committed at the end; rolled back when an exception leaves the block.

    Raises
    ------
    NotFound
        If there is no such file.
    NotADatabase, DatabaseTooNew, DatabaseBusy, DatabaseError
    DatabaseTooOld
        Only when reading.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(open_database(path, "write" if write else "read"))
        except DatabaseTooOld:
            if not write:
                raise
            upgrade(path)
            connection = stack.enter_context(open_database(path, "write"))
        yield connection
