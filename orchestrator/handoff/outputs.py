"""Which part of a task's log an experiment has printed.

A task appends a line when an experiment begins: its row and the size of the log; and to that line the size at its end.
If the task is killed, the line has no end, and the part ends where the next one begins, or with the log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.atomic import PRIVATE, private_folders
from orchestrator.damage import Damaged, open_regular

__all__ = ["OutputPart", "OutputWriter", "find_part"]


class OutputPart(NamedTuple):
    """A part of a log.

    Attributes
    ----------
    begin : int
        First byte.
    end : int or None
        The byte after the last one; None: the end of the log.
    n_experiments : int
        Number of experiments that were evaluated together, by one call.
    """

    begin: int
    end: int | None
    n_experiments: int


class OutputWriter:
    """Writes the parts of one log.

    Parameters
    ----------
    path : Path
        The file; its folder is created if missing.
    position : callable
        Returns the size of the log in bytes, or None if there is no log.
    """

    def __init__(self, path: Path, position: Callable[[], int | None]) -> None:
        self._path = path
        self._position = position
        self._file: int | None = None

    def begin(self, rows: Sequence[int]) -> None:
        """Record what is printed from now on as printed by these experiments."""
        self._write(self._position(), f"\n{','.join(map(str, rows))}")

    def end(self) -> None:
        """Record that these experiments have ended."""
        self._write(self._position(), "")

    def _write(self, position: int | None, text: str) -> None:
        if position is None:
            return
        try:
            if self._file is None:
                private_folders(self._path.parent)
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
            os.write(self._file, f"{text} {position}".encode())
        except OSError:  # on a full disk, results are more important
            pass

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def find_part(path: Path, row: int) -> OutputPart | None:
    """Return the last part that an experiment has printed; None if the file is missing, or no line of it names it."""
    try:
        with open_regular(path) as file:
            lines = file.read().decode(errors="replace").split("\n")
    except (OSError, Damaged):
        return None
    following: int | None = None
    for line in reversed(lines):
        rows, *positions = line.split(" ")
        if not positions or not all(position.isdecimal() and len(position) < 19 for position in positions):
            continue  # it is damaged, or was not written completely
        begin, end = int(positions[0]), int(positions[1]) if len(positions) > 1 else following
        names = rows.split(",")
        if str(row) in names:
            return OutputPart(begin, end, len(names))
        following = begin
    return None
