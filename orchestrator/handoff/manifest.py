"""The manifest: the experiments of each task, with their inputs, written before the tasks start.

It has a header line of fixed width, one line of fixed width per task with the offset of its first experiment, and one
line per experiment. So a task reads only its own lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.atomic import PRIVATE, replacing
from orchestrator.errors import DataError

__all__ = ["Entry", "Manifest", "tasks_for", "write_manifest"]

HEADER = 128
OFFSET = 16


class Entry(NamedTuple):
    """An experiment: its row label, the digest of its inputs, and its inputs and outputs as JSON values."""

    row: int
    digest: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


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


def write_manifest(path: Path, tasks: Sequence[Sequence[Entry]]) -> None:
    """Write a manifest with the experiments of each task."""
    header = json.dumps({"n_experiments": sum(map(len, tasks)), "n_tasks": len(tasks)})
    with replacing(path, PRIVATE) as file:
        file.write(header.ljust(HEADER - 1).encode() + b"\n")
        file.write(b" " * OFFSET * (len(tasks) + 1))
        offsets = []
        for entries in tasks:
            offsets.append(file.tell())
            lines = (json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
            file.write("".join(lines).encode())
        offsets.append(file.tell())
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
        with path.open("rb") as file:
            try:
                header = json.loads(file.read(HEADER))
                return cls(path, int(header["n_experiments"]), int(header["n_tasks"]))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"the manifest {path} can't be read: {error!r}") from error

    def task(self, task: int) -> list[Entry]:
        """Read the experiments of one task; the time does not depend on the number of other tasks.

        Raises
        ------
        DataError
            If there is no such task, or the file is damaged.
        """
        if not 0 <= task < self.n_tasks:
            raise DataError(f"the manifest {self.path} has {self.n_tasks} tasks, but no task {task}")
        with self.path.open("rb") as file:
            file.seek(HEADER + OFFSET * task)
            try:
                begin, end = (int(part) for part in file.read(2 * OFFSET).split())
                file.seek(begin)
                return [Entry(*json.loads(line)) for line in file.read(end - begin).splitlines()]
            except (ValueError, TypeError) as error:
                raise DataError(f"the manifest {self.path} is damaged at task {task}: {error!r}") from error

    def __iter__(self) -> Iterator[Entry]:
        """Yield every experiment, in order."""
        for task in range(self.n_tasks):
            yield from self.task(task)
