"""The manifest: the experiments of each task, with their inputs, written before the tasks start.

It has a header line of fixed width, one line of fixed width per task with the offset of its first experiment, one
line per experiment, and a last line with the outputs that the domain expects. So a task reads only its own lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from orchestrator.atomic import PRIVATE, replacing
from orchestrator.damage import LARGEST_INT, Damaged, parse_json, parse_object, refuse
from orchestrator.errors import DataError
from orchestrator.trust import open_private

__all__ = ["Entry", "Manifest", "tasks_for", "write_manifest"]

HEADER = 128
OFFSET = 16


class Entry(NamedTuple):
    """An experiment: its row label, the digest of its inputs, and its inputs and outputs as JSON values.

    `cuts` has the kind of failure of each job of an earlier epoch that ended while the experiment was evaluated.
    """

    row: int
    digest: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    # This default is never modified.
    cuts: Sequence[str] = []


def tasks_for(entries: Sequence[Entry], per_task: int | None, max_tasks: int | None) -> list[Sequence[Entry]]:
    """Divide experiments into tasks.

    Parameters
    ----------
    entries : sequence of Entry
        The experiments.
    per_task : int or None
        Number of consecutive experiments in each task.
    max_tasks : int or None
        Maximum number of tasks if `per_task` is None. The experiments are then assigned to the tasks in turn.

    Returns
    -------
    list of sequence of Entry
        The experiments of each task; no task is empty.
    """
    if per_task is not None:
        return [entries[begin : begin + per_task] for begin in range(0, len(entries), per_task)]
    n = len(entries) if max_tasks is None else min(len(entries), max_tasks)
    return [entries[task::n] for task in range(n)]


def write_manifest(path: Path, tasks: Sequence[Sequence[Entry]], expected: Sequence[str] | None = None) -> None:
    """Write a manifest with the experiments of each task.

    Parameters
    ----------
    path : Path
        Its file.
    tasks : sequence of sequence of Entry
        The experiments of each task.
    expected : sequence of str or None, default None
        Names of the outputs that a data generator may store; None: all.
    """
    header = json.dumps({"n_experiments": sum(map(len, tasks)), "n_tasks": len(tasks)})
    with replacing(path, PRIVATE) as file:
        file.write(header.ljust(HEADER - 1).encode() + b"\n")
        file.write(b" " * OFFSET * (len(tasks) + 1))
        offsets = []
        for entries in tasks:
            offsets.append(file.tell())
            lines = (json.dumps(entry if entry.cuts else entry[:4], separators=(",", ":")) + "\n" for entry in entries)
            file.write("".join(lines).encode())
        offsets.append(file.tell())
        file.write(json.dumps(None if expected is None else list(expected)).encode() + b"\n")
        file.seek(HEADER)
        file.write(b"".join(b"%*d\n" % (OFFSET - 1, offset) for offset in offsets))


@dataclass(eq=False, repr=False)  # generating more methods would cost time in each of hundreds of tasks
class Manifest:
    """A manifest on disk.

    Attributes
    ----------
    path : Path
        Its file.
    n_experiments, n_tasks : int
        Number of its experiments and tasks.
    """

    path: Path
    n_experiments: int
    n_tasks: int

    @classmethod
    def open(cls, path: Path) -> Manifest:
        """Read the header of a manifest.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        DataError
            If the file is not a manifest.
        """
        with _opened(path) as file:
            header = parse_object(file.read(HEADER))
            n_experiments, n_tasks = header.get("n_experiments"), header.get("n_tasks")
            if type(n_experiments) is not int or type(n_tasks) is not int or not 0 <= n_tasks <= n_experiments:
                refuse("it has no header")
            if file.seek(0, os.SEEK_END) < HEADER + OFFSET * (n_tasks + 1):
                refuse("its end is missing")
            return cls(path, n_experiments, n_tasks)

    def task(self, task: int) -> list[Entry]:
        """Read the experiments of one task; the time does not depend on the number of other tasks.

        Raises
        ------
        DataError
            If there is no such task, or the file is damaged.
        """
        if not 0 <= task < self.n_tasks:
            raise DataError(f"the manifest {self.path} has {self.n_tasks} tasks, but no task {task}")
        with _opened(self.path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(HEADER + OFFSET * task)
            offsets = file.read(2 * OFFSET).split()
            if len(offsets) != 2 or not all(offset.isdigit() for offset in offsets):
                refuse(f"it does not say where task {task} begins and ends")
            begin, end = map(int, offsets)
            if not begin <= end <= size:
                refuse(f"task {task} does not end in it")
            file.seek(begin)
            return [_entry(line, task) for line in file.read(end - begin).splitlines()]

    def expected_outputs(self) -> list[str] | None:
        """Read the names of the outputs that a data generator may store; None: all.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        with _opened(self.path) as file:
            file.seek(HEADER + OFFSET * self.n_tasks)
            offset = file.read(OFFSET).strip()
            if not offset.isdigit():
                refuse("it does not say where its experiments end")
            file.seek(int(offset))
            names = parse_json(file.read())
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise DataError(f"the manifest {self.path} can't be used: its expected outputs are damaged")
        return names

    def __iter__(self) -> Iterator[Entry]:
        """Yield every experiment, in order."""
        for task in range(self.n_tasks):
            yield from self.task(task)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a manifest.

    Raises
    ------
    DataError
        If the file, or what the block reads from it, is damaged.
    OSError
        If the file does not exist, or can't be read now.
    """
    try:
        with open_private(path) as file:
            yield file
    except Damaged as error:
        raise DataError(f"the manifest {path} can't be used: {error}") from error


def _entry(line: bytes, task: int) -> Entry:
    try:
        entry = Entry(*parse_json(line))
    except (TypeError, Damaged):
        raise Damaged(f"an experiment of task {task} is damaged") from None
    is_one = type(entry.row) is int and abs(entry.row) < LARGEST_INT and isinstance(entry.digest, str)
    has_values = isinstance(entry.inputs, dict) and isinstance(entry.outputs, dict)
    has_cuts = isinstance(entry.cuts, list) and all(isinstance(kind, str) for kind in entry.cuts)
    return entry if is_one and has_values and has_cuts else refuse(f"task {task} is damaged")
