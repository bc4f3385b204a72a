"""Merging: bring the changes of others into a table that was read before they were stored.

Each row has three versions: as it was read, as this process has it, and as it is on disk now. What only one side has
changed is kept; a row that only others have removed comes back. If both have changed a row, a result replaces what is
not one; outputs that only the other one has changed stay.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from orchestrator.data.job_status import JobStatus
from orchestrator.data.open_table import State
from orchestrator.data.results import inputs_digest
from orchestrator.data.table import Table
from orchestrator.errors import DataError

__all__ = ["Origin", "OthersChanges", "find_changes"]

_RESULTS = (JobStatus.FINISHED, JobStatus.ERROR)


@dataclass(frozen=True)
class Origin:
    """The stored table that a table in memory was made from.

    Attributes
    ----------
    state : State
        What identifies it on disk.
    table : Table
        Its rows; it shares their memory with the table that was made from it.
    """

    state: State
    table: Table


@dataclass
class OthersChanges:
    """What others have changed: their cells, by the position of the row in the table of this process.

    Attributes
    ----------
    updates : dict of int to tuple
        Status of a row, and its inputs, its outputs, or both, by ``"input"`` and ``"output"``.
    added : list of tuple
        Label (None if it is in use), status, inputs and outputs of rows that others have added.
    """

    updates: dict[int, tuple[JobStatus, dict[str, dict[str, Any]]]] = field(default_factory=dict)
    added: list[tuple[int | None, JobStatus, dict[str, dict[str, Any]]]] = field(default_factory=list)


def find_changes(mine: Table, read: Table, theirs: Table) -> OthersChanges:
    """Find what others have changed in a table since it was read, and where that belongs in this version.

    Parameters
    ----------
    mine : Table
        The table as this process has it.
    read : Table
        As it was read.
    theirs : Table
        As it is on disk now.

    Returns
    -------
    OthersChanges
        The changes of others.

    Raises
    ------
    DataError
        If there is a new result of a row that this process has removed, or whose inputs it has changed.
    """
    found, rows, lost = OthersChanges(), _Mine(mine, read), []
    for position in _changed(theirs, read):
        label = theirs.labels[position]
        before = read.labels.position(label) if label in read.labels else None
        status = theirs.status_at(position)
        row = {which: theirs.row(which, position) for which in ("input", "output")}
        at = rows.find(label, inputs_digest(row["input"]), before)
        if at is None and before is None:
            found.added.append((None if label in mine.labels else label, status, row))
        elif at is None:
            assert before is not None
            if status in _RESULTS and read.status_at(before) is not status:
                lost.append(label)
        elif before is not None and _same(mine, at, read, before):
            found.updates[at] = (status, row)
        elif inputs_digest(row["input"]) != inputs_digest(mine.row("input", at)):
            # Found by the inputs that were read, which the others have changed.
            if status in _RESULTS:
                lost.append(label)
        else:
            ours = (mine.status_at(at), mine.row("output", at))
            as_read = (None, {}) if before is None else (read.status_at(before), read.row("output", before))
            joined = _joined(ours, (status, row["output"]), as_read)
            if joined is not None:
                found.updates[at] = (joined[0], {"output": joined[1]})
    if lost:
        raise DataError(
            f"the table on disk has {len(lost)} new results of experiments that were removed or changed here: "
            f"those with the labels {', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}.",
            "Read the table again with ExperimentData.from_file, change that, and store it.",
        )
    return found


_Result = tuple[JobStatus | None, dict[str, Any]]


def _joined(ours: _Result, theirs: _Result, read: _Result) -> tuple[JobStatus, dict[str, Any]] | None:
    """Return status and outputs of a row that both have changed; None if they are ours."""
    is_theirs = theirs[0] in _RESULTS and ours[0] is not JobStatus.FINISHED
    (status, outputs), (_, other_outputs) = (theirs, ours) if is_theirs else (ours, theirs)
    is_edit = ours[0] is theirs[0] is read[0]  # neither has evaluated the experiment again
    more = {
        name: cell
        for name, cell in other_outputs.items()
        if not _equal(cell, read[1].get(name))
        and (name not in outputs or (is_edit and _equal(outputs[name], read[1].get(name))))
    }
    assert status is not None
    return (status, {**outputs, **more}) if is_theirs or more else None


class _Mine:
    """Where a row of others is in the table of this process; each row is found once."""

    def __init__(self, mine: Table, read: Table) -> None:
        self._mine, self._read = mine, read
        self._found: set[int] = set()
        self._by_digest: dict[str, deque[int]] | None = None

    def find(self, label: int, digest: str, before: int | None) -> int | None:
        """Return the position of a row.

        It is the one with the label, if its inputs are those on disk or those that were read; else one with the inputs
        on disk.
        """
        digests = {digest} if before is None else {digest, inputs_digest(self._read.row("input", before))}
        if label in self._mine.labels:
            at = self._mine.labels.position(label)
            if at not in self._found and inputs_digest(self._mine.row("input", at)) in digests:
                self._found.add(at)
                return at
        free = self._index().get(digest)
        while free:
            at = free.popleft()
            if at not in self._found:
                self._found.add(at)
                return at
        return None

    def _index(self) -> dict[str, deque[int]]:
        if self._by_digest is None:
            self._by_digest = defaultdict(deque)
            for at in range(len(self._mine)):
                self._by_digest[inputs_digest(self._mine.row("input", at))].append(at)
        return self._by_digest


def _changed(theirs: Table, read: Table) -> list[int]:
    """Return the positions of the rows that differ from those that were read, or were not there."""
    if theirs.labels != read.labels:
        return [at for at, label in enumerate(theirs.labels) if not _is_as_read(theirs, at, read, label)]
    changed = {at for at, pair in enumerate(zip(theirs.status, read.status, strict=True)) if pair[0] != pair[1]}
    for which in ("input", "output"):
        for name in {**theirs.columns(which), **read.columns(which)}:
            pair = [table.columns(which).get(name) for table in (theirs, read)]
            cells = [[None] * len(theirs) if column is None else column.cells() for column in pair]
            changed |= {at for at, (one, other) in enumerate(zip(*cells, strict=True)) if not _equal(one, other)}
    return sorted(changed)


def _is_as_read(theirs: Table, at: int, read: Table, label: int) -> bool:
    return label in read.labels and _same(theirs, at, read, read.labels.position(label))


def _same(one: Table, at: int, other: Table, there: int) -> bool:
    """Whether two rows have the same status and equal values."""
    if one.status_at(at) is not other.status_at(there):
        return False
    rows = [[table.row(which, place) for which in ("input", "output")] for table, place in ((one, at), (other, there))]
    return all(
        first.keys() == second.keys() and all(_equal(first[name], second[name]) for name in first)
        for first, second in zip(*rows, strict=True)
    )


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    return bool(one == other) if type(one) in (int, float, str, bool) else _digest(one) == _digest(other)


def _digest(cell: Any) -> str:
    return inputs_digest({"cell": cell})
