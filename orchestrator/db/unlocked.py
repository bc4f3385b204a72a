"""Read a database that other users write without any lock: a lock of a reader would stop its writers.

SQLite writes to the database only while the journal has a header, and counts each commit in the database. If the
journal had none before and after the file was read, and nothing was committed meanwhile, the content is that of one
commit.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from orchestrator.damage import check_size, open_regular
from orchestrator.errors import DatabaseBusy

__all__ = ["read_unlocked"]

MAGIC = bytes.fromhex("d9d505f920a163d7")
"""The first bytes of a journal that is needed: SQLite overwrites them with zeros when a transaction has ended."""

COUNTER = slice(24, 28)
"""Bytes of a database that each commit changes."""

WAIT = 10.0
POLL = 0.02


class _Journal(NamedTuple):
    magic: bytes
    size: int
    changed_at: int


def read_unlocked(path: Path, seconds: float = WAIT) -> bytes:
    """Return the content of a database after one of its commits.

    Parameters
    ----------
    path : Path
        The database.
    seconds : float, default 10.0
        Time limit.

    Raises
    ------
    DatabaseBusy
        If processes wrote to it all the time, or one died while it wrote.
    Damaged
        If it is no regular file.
    OSError
        If it can't be read.
    """
    end = time.monotonic() + seconds
    while True:
        before = _journal(path)
        if before.magic != MAGIC:
            with open_regular(path) as file:
                check_size(file)
                content = file.read()
            with open_regular(path) as file:
                is_same = file.read(COUNTER.stop)[COUNTER] == content[COUNTER]
            if is_same and _journal(path) == before:
                return content
        if time.monotonic() > end:
            raise DatabaseBusy(
                f"{path} was being written for {seconds:.0f} s, or a process died while it wrote.",
                "Retry the command later.\nAfter a crash, a user who may write to it can repair it: "
                "orchestrator db check",
            )
        time.sleep(POLL)


def _journal(path: Path) -> _Journal:
    try:
        with open_regular(path.with_name(f"{path.name}-journal")) as file:
            found = os.fstat(file.fileno())
            return _Journal(file.read(len(MAGIC)), found.st_size, found.st_mtime_ns)
    except FileNotFoundError:
        return _Journal(b"", 0, 0)
