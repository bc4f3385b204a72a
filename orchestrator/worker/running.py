"""The file in which a task says what it evaluates, how many experiments have a result, and which ones were cut.

A process that evaluates overwrites the first line at the start of each experiment. So `status` sees how far a task is,
and after the death of the process, also after a `kill -9` of the whole task, another process can see what was running.
It appends a line for each experiment that was cut, because its process died, while no other process writes.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.atomic import PRIVATE, private_folders
from orchestrator.damage import Damaged, parse_json
from orchestrator.errors import DataError
from orchestrator.handoff.manifest import Entry
from orchestrator.trust import read_private

__all__ = ["Cut", "Key", "Running", "read_cuts", "read_progress"]

WIDTH = 96
Key = tuple[int, str]


class Cut(NamedTuple):
    """An experiment whose process died while it was evaluated.

    Attributes
    ----------
    key : tuple of int and str
        Row and digest of the experiment.
    kind : str
        Kind of the failure; empty if it is not known, or not due to the experiment.
    why : str
        What became of the process, as a clause.
    """

    key: Key
    kind: str = ""
    why: str = ""


class Running:
    """The file of one task.

    Parameters
    ----------
    path : Path
        Its path. The folder is created if it is missing.
    """

    def __init__(self, path: Path) -> None:
        private_folders(path.parent)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE)
        self._done = (0, 0)
        self.clear()

    def count(self, n_finished: int, n_failed: int) -> None:
        """Set how many experiments of the task have a result; it is written with the next line."""
        self._done = (n_finished, n_failed)

    def begin(self, entry: Entry) -> None:
        """Say that an experiment begins now."""
        self._write(b"%d %s %.6f" % (entry.row, entry.digest.encode(), time.monotonic()))

    def clear(self) -> None:
        """Say that no experiment is evaluated."""
        self._write(b"")

    def now(self) -> tuple[Key, float] | None:
        """Return the experiment that is evaluated, and when it began on the monotonic clock; None if there is none."""
        return _parse(os.pread(self._file, WIDTH, 0))

    def add_cut(self, cut: Cut) -> None:
        """Record that an experiment was cut, and that none is evaluated now."""
        line = json.dumps(cut).encode() + b"\n"
        os.pwrite(self._file, line, os.fstat(self._file).st_size)
        self.clear()

    def close(self) -> None:
        """Close the file, and leave it: the task can't be completed. A second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Remove the file: the task has a receipt."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _write(self, text: bytes) -> None:
        os.pwrite(self._file, (b"%d %d " % self._done + text).ljust(WIDTH - 1) + b"\n", 0)


def read_cuts(path: Path, kind: str, why: str) -> list[Cut]:
    """Return the experiments that were cut in a task that has ended without a receipt.

    Parameters
    ----------
    path : Path
        The file that it left.
    kind, why : str
        What became of the task: the experiment that was running then was cut, too.
    """
    try:
        first, *lines = read_private(path).splitlines()
    except (OSError, Damaged, DataError, ValueError):
        return []
    cuts = [_cut(line) for line in lines]
    running = _parse(first)
    return [cut for cut in cuts if cut is not None] + ([] if running is None else [Cut(running[0], kind, why)])


def read_progress(path: Path) -> tuple[int, int, bool] | None:
    """Return how many experiments of a task finished and failed, and whether one is evaluated now.

    Parameters
    ----------
    path : Path
        The file of the task.

    Returns
    -------
    tuple of int, int and bool or None
        None if the file does not exist, can't be read now, or is damaged.
    """
    try:
        words = read_private(path).partition(b"\n")[0].split()
        return int(words[0]), int(words[1]), len(words) > 2
    except (OSError, Damaged, DataError, ValueError, IndexError):
        return None


def _cut(line: bytes) -> Cut | None:
    try:
        (row, digest), kind, why = parse_json(line)
    except (Damaged, ValueError, TypeError):  # the line is torn
        return None
    return Cut((row, digest), str(kind), str(why)) if type(row) is int and isinstance(digest, str) else None


def _parse(line: bytes) -> tuple[Key, float] | None:
    words: list[Any] = line.split()
    if len(words) != 5:
        return None
    try:
        return (int(words[2]), words[3].decode()), float(words[4])
    except ValueError:
        return None
