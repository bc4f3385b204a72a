"""The file in which a task says what it evaluates, how many experiments have a result, and which ones were cut.

A process that evaluates overwrites the first line at the start of each experiment. So `status` sees how far a task is.
After the death of the process, even after a `kill -9` of the whole task, another process sees what was running, and
where its output begins in the log. The supervisor appends a line for each experiment that was cut, because its
process died, while no other process writes. So does a process that evaluates several experiments by one call, with
their rows.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.atomic import PRIVATE, private_folders
from orchestrator.damage import LARGEST_INT, Damaged, parse_json
from orchestrator.errors import DataError
from orchestrator.handoff.manifest import Entry
from orchestrator.trust import read_private

__all__ = ["Cut", "Key", "Running", "read_cuts", "read_progress", "read_together", "alone_since"]

WIDTH = 128
NO_LOG = -1
Key = tuple[int, str]


class Cut(NamedTuple):
    """An experiment whose process died while it was evaluated.

    Attributes
    ----------
    key : tuple of int and str
        Row and digest of the experiment.
    kind : str
        Kind of the failure of the experiment (`orchestrator.worker.processes.how_it_died`), or of its job; empty if it
        is not known, or not due to the experiment.
    why : str
        What became of the process, as a clause.
    log_begin : int or None
        Where its output begins in the log of the task; None if it has no log.
    """

    key: Key
    kind: str = ""
    why: str = ""
    log_begin: int | None = None


class Running:
    """The file of one task.

    Parameters
    ----------
    path : Path
        Its path. The folder is created if it is missing.

    Attributes
    ----------
    alone_since : int or None
        `oom_kills()` when a process without a supervisor begins to evaluate; None if it has a supervisor.
    """

    def __init__(self, path: Path) -> None:
        private_folders(path.parent)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE)
        self._n_finished = self._n_failed = 0
        self.alone_since: int | None = None
        self.clear()

    def count(self, n_finished: int, n_failed: int) -> None:
        """Set how many experiments of the task have a result; it is written with the next line."""
        self._n_finished, self._n_failed = n_finished, n_failed

    def begin(self, unit: Sequence[Entry], log_begin: int | None) -> None:
        """Say that experiments begin now, which are evaluated at once, and where their output begins in the log."""
        if len(unit) > 1:
            self._append([entry.row for entry in unit])
        entry, begin = unit[0], NO_LOG if log_begin is None else log_begin
        text = b"%d %s %.6f %d" % (entry.row, entry.digest.encode(), time.monotonic(), begin)
        self._write(text if self.alone_since is None else b"%s %d" % (text, self.alone_since))

    def clear(self) -> None:
        """Say that no experiment is evaluated."""
        self._write(b"")

    def now(self) -> tuple[Key, float] | None:
        """Return the experiment that is evaluated, and when it began on the monotonic clock; None if there is none."""
        running = self._now()
        return None if running is None else running[:2]

    @property
    def log_begin(self) -> int | None:
        """Where the output of the experiment that is evaluated begins in the log; None if that is not known."""
        running = self._now()
        return None if running is None else running[2]

    def add_cut(self, cut: Cut) -> None:
        """Record that an experiment was cut, and that none is evaluated now."""
        self._append(cut)
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

    def stop(self) -> None:
        """Remove the file, or keep it in another folder if it says what was evaluated: the step stops."""
        is_running = self.now() is not None
        self.close()
        if is_running:
            stopped = self._path.parent.with_name("stopped")
            private_folders(stopped)
            self._path.replace(stopped / self._path.name)
        else:
            self._path.unlink(missing_ok=True)

    def _now(self) -> tuple[Key, float, int | None] | None:
        return _parse(os.pread(self._file, WIDTH, 0))

    def _append(self, value: Sequence[Any]) -> None:
        os.pwrite(self._file, json.dumps(value).encode() + b"\n", os.fstat(self._file).st_size)

    def _write(self, text: bytes) -> None:
        line = b"%d %d %s" % (self._n_finished, self._n_failed, text)
        os.pwrite(self._file, line.ljust(WIDTH - 1) + b"\n", 0)


def read_cuts(path: Path, kind: str, why: str) -> list[Cut]:
    """Return the experiments that were cut in a task that has ended without a receipt.

    Parameters
    ----------
    path : Path
        The file that it left.
    kind, why : str
        What became of the task: the experiment that was running then was cut, too.
    """
    first, lines = _read(path)
    cuts = [cut for cut in map(_cut, lines) if cut is not None]
    running = _parse(first)
    return cuts if running is None else [*cuts, Cut(running[0], kind, why, running[2])]


def read_together(path: Path) -> list[int]:
    """Return the rows of the experiments that are evaluated now by one call; of a single one, only its row."""
    first, lines = _read(path)
    running = _parse(first)
    if running is None:
        return []
    units = [rows for rows in map(_rows, lines) if running[0][0] in rows]
    return units[-1] if units else [running[0][0]]


def alone_since(path: Path) -> int | None:
    """Return `Running.alone_since` of a process that has died while it evaluated an experiment.

    Parameters
    ----------
    path : Path
        The file of its task.
    """
    words = _read(path)[0].split()
    return int(words[6]) if len(words) == 7 and words[6].isdigit() else None


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
        return _number(words[0]), _number(words[1]), len(words) > 2
    except (OSError, Damaged, DataError, ValueError, IndexError):
        return None


def _read(path: Path) -> tuple[bytes, list[bytes]]:
    try:
        first, *lines = read_private(path).splitlines()
    except (OSError, Damaged, DataError, ValueError):
        return b"", []
    return first, lines


def _cut(line: bytes) -> Cut | None:
    try:
        (row, digest), kind, why, begin = parse_json(line)
    except (Damaged, ValueError, TypeError):  # the line is torn, or another one
        return None
    is_cut = _is_row(row) and isinstance(digest, str) and (begin is None or (_is_row(begin) and begin >= 0))
    return Cut((row, digest), str(kind), str(why), begin) if is_cut else None


def _rows(line: bytes) -> list[int]:
    try:
        rows = parse_json(line)
    except (Damaged, ValueError, TypeError):
        return []
    return rows if isinstance(rows, list) and all(map(_is_row, rows)) else []


def _parse(line: bytes) -> tuple[Key, float, int | None] | None:
    words: list[Any] = line.split()
    if len(words) not in (6, 7):
        return None
    try:
        row, begin = int(words[2]), None if int(words[5]) == NO_LOG else _number(words[5])
        return ((row, words[3].decode()), float(words[4]), begin) if _is_row(row) else None
    except ValueError:
        return None


def _number(word: bytes) -> int:
    """Return a number that is not negative, or raise `ValueError`; a larger one than any file has was damaged."""
    number = int(word)
    if not 0 <= number < LARGEST_INT:
        raise ValueError(f"{number} is out of range")
    return number


def _is_row(value: Any) -> bool:
    return type(value) is int and abs(value) < LARGEST_INT
