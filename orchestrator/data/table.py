"""`Table`: cells by row and column, with a label and a status for each row."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.data.column import Column, Columns
from orchestrator.data.job_status import JobStatus
from orchestrator.data.labels import Labels
from orchestrator.data.numpy_types import is_array
from orchestrator.data.values import to_jsonable

__all__ = ["StoredFile", "Table"]

_STATUSES = list(JobStatus)


class StoredFile(NamedTuple):
    """A file of a table on disk.

    Attributes
    ----------
    digest : str
        SHA-256 of its content.
    notes : dict of str to dict
        The notes of its columns.
    """

    digest: str
    notes: dict[str, dict[str, str]]


class Table:
    """Rows and columns of cells. A row has a position, counted from 0, and a label, which does not change.

    Parameters
    ----------
    labels : Labels
        Labels of the rows.
    inputs, outputs : dict of str to Column
        The cells by column; a short column is filled with missing ones.
    status : bytearray
        Statuses of the rows: values of `JobStatus`.
    """

    def __init__(self, labels: Labels, inputs: Columns, outputs: Columns, status: bytearray) -> None:
        self.labels = labels
        self.inputs = _padded(inputs, len(labels))
        self.outputs = _padded(outputs, len(labels))
        self.status = status
        self.version = 0
        """Number of changes of the table."""
        self.stored: dict[str, StoredFile] = {}
        """The files on disk that have what is in this table, by their names."""

    def __len__(self) -> int:
        return len(self.labels)

    def __contains__(self, label: int) -> bool:
        return label in self.labels

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return (
            self.labels == other.labels
            and self.status == other.status
            and _are_equal(self.inputs, other.inputs)
            and _are_equal(self.outputs, other.outputs)
        )

    __hash__ = None  # type: ignore[assignment]

    # -- reading -------------------------------------------------------------------------------

    def columns(self, which: str) -> Columns:
        """Return the inputs or the outputs.

        Parameters
        ----------
        which : {"input", "output"}
            Which of the two.

        Returns
        -------
        dict of str to Column
            The columns by name; not a copy.
        """
        return self.inputs if which == "input" else self.outputs

    def row(self, which: str, position: int) -> dict[str, Any]:
        """Return the cells of a row by column, without those that are missing.

        Parameters
        ----------
        which : {"input", "output"}
            Which of the two.
        position : int
            Position of the row, from 0.

        Returns
        -------
        dict of str to Any
            For an object on disk, its path.
        """
        cells = {name: column[position] for name, column in self.columns(which).items()}
        return {name: cell for name, cell in cells.items() if cell is not None}

    def position(self, label: int) -> int:
        """Return the position of a row.

        Parameters
        ----------
        label : int
            Label of the row.

        Returns
        -------
        int
            Its position.

        Raises
        ------
        KeyError
            If no row has this label.
        """
        return self.labels.position(label)

    def status_at(self, position: int) -> JobStatus:
        """Return the status of a row."""
        return _STATUSES[self.status[position]]

    def statuses(self) -> list[JobStatus]:
        """Return the statuses of all rows."""
        return [_STATUSES[value] for value in self.status]

    def positions_with(self, status: JobStatus) -> Iterator[int]:
        """Yield the positions of the rows with a status, in order."""
        position = self.status.find(status.value)
        while position >= 0:
            yield position
            position = self.status.find(status.value, position + 1)

    def take(self, positions: Sequence[int]) -> Table:
        """Return a table of the rows at these positions, with their labels."""
        return Table(
            self.labels.take(positions),
            {name: column.take(positions) for name, column in self.inputs.items()},
            {name: column.take(positions) for name, column in self.outputs.items()},
            _bytes_at(self.status, positions),
        )

    def copy(self) -> Table:
        """Return a copy; the two share their cells until one of them changes."""
        table = Table(
            self.labels.copy(),
            {name: column.copy() for name, column in self.inputs.items()},
            {name: column.copy() for name, column in self.outputs.items()},
            bytearray(self.status),
        )
        table.stored = dict(self.stored)
        return table

    def _changed(self, *files: str) -> None:
        self.version += 1
        for name in files:
            self.stored.pop(f"{name}.csv", None)

    # -- changing ------------------------------------------------------------------------------

    def set(self, which: str, name: str, position: int, cell: Any) -> None:
        """Set a cell. A missing column is added.

        Parameters
        ----------
        which : {"input", "output"}
            Which of the two.
        name : str
            Name of the column.
        position : int
            Position of the row.
        cell : Any
            The new cell; None for a missing value.
        """
        columns = self.columns(which)
        if name not in columns:
            columns[name] = Column.missing(len(self))
        columns[name][position] = cell
        self._changed(which)

    def set_cells(self, which: str, name: str, positions: Sequence[int], cells: Sequence[Any]) -> None:
        """Set the cells of a column at these positions; otherwise as `set`."""
        columns = self.columns(which)
        columns.setdefault(name, Column.missing(len(self))).put(positions, cells)
        self._changed(which)

    def clear(self, which: str, position: int, keep: Mapping[str, Any]) -> None:
        """Empty the cells of a row, except in the columns named in `keep`."""
        for name, column in self.columns(which).items():
            if name not in keep:
                column[position] = None
        self._changed(which)

    def set_status(self, positions: Sequence[int], status: JobStatus) -> None:
        """Set the status of the rows at these positions."""
        if is_array(positions):
            import numpy as np

            np.frombuffer(self.status, np.uint8)[positions] = status.value
        else:
            for position in positions:
                self.status[position] = status.value
        self._changed("jobs")

    def set_statuses(self, positions: Sequence[int], statuses: Sequence[JobStatus]) -> None:
        """Set the status of the row at each of these positions."""
        for position, status in zip(positions, statuses, strict=True):
            self.status[position] = status._value_
        self._changed("jobs")

    def append(self, label: int) -> int:
        """Add an empty open row at the end.

        Returns
        -------
        int
            Its position.
        """
        self.labels.append(label)
        self.status.append(JobStatus.OPEN.value)
        for columns in (self.inputs, self.outputs):
            for column in columns.values():
                column.append(None)
        self._changed("input", "output", "jobs")
        return len(self.labels) - 1

    def extend(self, other: Table) -> None:
        """Add the rows of another table at the end, with new labels."""
        old, new = len(self), len(other)
        first = self.labels.next_label()
        for mine, theirs in ((self.inputs, other.inputs), (self.outputs, other.outputs)):
            for name in theirs:
                mine.setdefault(name, Column.missing(old))
            for name, column in mine.items():
                column.extend(theirs[name] if name in theirs else Column.missing(new))
        self.status += other.status
        self.labels.extend(range(first, first + new))
        self._changed("input", "output", "jobs")

    def renumber(self) -> None:
        """Replace the labels by 0, 1, 2, ..."""
        self.labels = Labels(range(len(self)))
        self._changed("input", "output", "jobs")

    def map_cells(self, which: str, change: Callable[[Any], Any], but: Container[str] = ()) -> None:
        """Replace every cell of the inputs or outputs by the return value of `change(cell)`.

        Parameters
        ----------
        which : {"input", "output"}
            Which of the two.
        change : callable
            Returns the new cell.
        but : container of str, default ()
            Names of the columns that are not changed.
        """
        columns = self.columns(which)
        for name, column in columns.items():
            if name not in but:
                columns[name] = column.mapped(change)
        self._changed(which)


def _padded(columns: Columns, n: int) -> Columns:
    for column in columns.values():
        if len(column) < n:
            column.extend(Column.missing(n - len(column)))
    return columns


def _bytes_at(values: bytearray, positions: Sequence[int]) -> bytearray:
    if is_array(positions):
        import numpy as np

        return bytearray(np.frombuffer(values, np.uint8)[positions].tobytes())
    return bytearray(values[position] for position in positions)


def _are_equal(one: Columns, other: Columns) -> bool:
    """Whether the same columns have cells, and these are equal."""
    present = [{name for name, column in columns.items() if not column.is_empty()} for columns in (one, other)]
    return present[0] == present[1] and all(_comparable(one[name]) == _comparable(other[name]) for name in present[0])


def _comparable(column: Column) -> list[Any]:
    plain = (type(None), bool, int, float, str)
    return [cell if isinstance(cell, plain) else to_jsonable(cell) for cell in column.cells()]
