"""The manifest: the experiments of each task, with their inputs, written before the tasks start.

Its parts are: a header line; one line per task, with the offset and the SHA-256 of its experiments; one line per
experiment; and a last line with the outputs that the domain expects. The lines of the first two parts have a fixed
width, and their SHA-256 is recorded. A task reads only these and its own lines.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from orchestrator.atomic import PRIVATE, replacing
from orchestrator.damage import LARGEST, LARGEST_INT, Damaged, parse_json, parse_object, read_limited, refuse
from orchestrator.data.many_objects import many_objects
from orchestrator.errors import DataError
from orchestrator.sha256 import sha256_of
from orchestrator.trust import open_private

__all__ = ["Entry", "Manifest", "lines_of", "tasks_for", "write_manifest"]

_encode = json.JSONEncoder(separators=(",", ":")).encode

HEADER = 128
OFFSET = 15
LINE = OFFSET + 1 + 64 + 1

T = TypeVar("T")


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


def tasks_for(lines: Sequence[T], per_task: int | None, max_tasks: int | None) -> list[Sequence[T]]:
    """Divide experiments into tasks: the first task gets the first experiment, the second task the second, and so on.

    In a sweep, neighbours often take a similar time. So each task gets short and long ones.

    Parameters
    ----------
    lines : sequence
        The experiments.
    per_task : int or None
        Maximum number of experiments in each task: decided by `divide` in `orchestrator.machine.batches`.
    max_tasks : int or None
        Maximum number of tasks if `per_task` is None, decided there, too.

    Returns
    -------
    list of sequence
        The experiments of each task; no task is empty.
    """
    most = len(lines) if max_tasks is None else min(len(lines), max_tasks)
    n = most if per_task is None else -(-len(lines) // per_task)
    return [lines[task::n] for task in range(n)]


def lines_of(
    rows: Sequence[int],
    digests: Sequence[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    cuts: Mapping[tuple[int, str], Sequence[str]],
) -> list[str]:
    """Return the lines of experiments in a manifest.

    Parameters
    ----------
    rows : sequence of int
        Their row labels.
    digests : sequence of str
        The digests of their inputs.
    inputs, outputs : sequence of str
        Their inputs and outputs, each a JSON object.
    cuts : mapping of (int, str) to sequence of str
        `Entry.cuts`, by row label and digest.

    Returns
    -------
    list of str
        One per experiment; JSON lists as of `Entry`.
    """
    parts = zip(rows, digests, inputs, outputs, strict=True)
    lines = [f'[{row},"{digest}",{given},{known}]' for row, digest, given, known in parts]
    for position, key in enumerate(zip(rows, digests, strict=True) if cuts else ()):
        if cuts.get(key):
            lines[position] = f"{lines[position][:-1]},{_encode(cuts[key])}]"
    return lines


def write_manifest(path: Path, tasks: Sequence[Sequence[str]], expected: Sequence[str] | None = None) -> str:
    """Write a manifest with the experiments of each task.

    Parameters
    ----------
    path : Path
        Its file.
    tasks : sequence of sequence of str
        The lines of the experiments of each task.
    expected : sequence of str or None, default None
        Names of the outputs that a data generator may store; None: all.

    Returns
    -------
    str
        Its digest: `Manifest.sha256`.
    """
    header = json.dumps({"n_experiments": sum(map(len, tasks)), "n_tasks": len(tasks)})
    first = header.ljust(HEADER - 1).encode() + b"\n"
    with replacing(path, PRIVATE) as file:
        file.write(first)
        file.write(b" " * LINE * (len(tasks) + 1))
        index = []
        for lines in tasks:
            content = "".join(f"{line}\n" for line in lines).encode("ascii")
            index.append(_index_line(file.tell(), content))
            file.write(content)
        last = json.dumps(None if expected is None else list(expected)).encode() + b"\n"
        index.append(_index_line(file.tell(), last))
        file.write(last)
        file.seek(HEADER)
        file.write(b"".join(index))
    return sha256_of(first + b"".join(index))


def _index_line(offset: int, content: bytes) -> bytes:
    return b"%*d %s\n" % (OFFSET, offset, sha256_of(content).encode())


class Manifest:
    """A manifest on disk.

    Attributes
    ----------
    path : Path
        Its file.
    n_experiments, n_tasks : int
        Number of its experiments and tasks.
    index : bytes
        Where the experiments of each task are, with their digests.
    sha256 : str
        Digest of the header and the index, and so of all.
    """

    def __init__(self, path: Path, n_experiments: int, n_tasks: int, index: bytes, sha256: str) -> None:
        self.path = path
        self.n_experiments = n_experiments
        self.n_tasks = n_tasks
        self.index = index
        self.sha256 = sha256

    @classmethod
    def open(cls, path: Path, sha256: str | None = None) -> "Manifest":
        """Read the header and the index of a manifest.

        Parameters
        ----------
        path : Path
            The file.
        sha256 : str, optional
            Its digest as recorded.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        DataError
            If the file is not a manifest, or not the one with this digest.
        """
        with _opened(path) as file:
            first = file.read(HEADER)
            header = parse_object(first)
            n_experiments, n_tasks = header.get("n_experiments"), header.get("n_tasks")
            if type(n_experiments) is not int or type(n_tasks) is not int or not 0 <= n_tasks <= n_experiments:
                refuse("it has no header")
            if file.seek(0, os.SEEK_END) < HEADER + LINE * (n_tasks + 1):
                refuse("its end is missing")
            file.seek(HEADER)
            index = file.read(LINE * (n_tasks + 1))
            found = sha256_of(first + index)
            if sha256 not in (None, found):
                refuse("it was changed after it was written")
            return cls(path, n_experiments, n_tasks, index, found)

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
            parts = self.index[LINE * task : LINE * (task + 2)].split()
            if len(parts) != 4 or not all(offset.isdigit() for offset in parts[::2]):
                refuse(f"it does not say where task {task} begins and ends")
            begin, end = map(int, parts[::2])
            if not begin <= end <= size:
                refuse(f"task {task} does not end in it")
            file.seek(begin)
            content = file.read(end - begin)
            if sha256_of(content).encode() != parts[1]:
                refuse(f"an experiment of task {task} is damaged")
            lines = content.splitlines()
            with many_objects():
                # At once, which is faster for each.
                values = parse_json(b"[%s]" % b",".join(lines))
                if len(values) != len(lines):
                    refuse(f"task {task} is damaged")
                return [_entry(value, task) for value in values]

    def expected_outputs(self) -> list[str] | None:
        """Read the names of the outputs that a data generator may store; None: all.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        with _opened(self.path) as file:
            parts = self.index[LINE * self.n_tasks :].split()
            if len(parts) != 2 or not parts[0].isdigit():
                refuse("it does not say where its experiments end")
            file.seek(int(parts[0]))
            content = read_limited(file, LARGEST)
            if sha256_of(content).encode() != parts[1]:
                refuse("its expected outputs are damaged")
            names = parse_json(content)
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


def _entry(value: Any, task: int) -> Entry:
    try:
        entry = Entry(*value)
    except TypeError:
        raise Damaged(f"an experiment of task {task} is damaged") from None
    row, digest, inputs, outputs, cuts = entry
    is_one = type(row) is int and -LARGEST_INT < row < LARGEST_INT and type(digest) is str
    has_values = type(inputs) is dict and type(outputs) is dict
    has_cuts = type(cuts) is list and (not cuts or all(isinstance(kind, str) for kind in cuts))
    return entry if is_one and has_values and has_cuts else refuse(f"task {task} is damaged")
