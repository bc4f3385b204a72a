"""`Table`: cells by row and column, with a label and a status for each row."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.data.job_status import JobStatus
from orchestrator.data.values import to_jsonable

if TYPE_CHECKING:
    from orchestrator.data.columns import Columns

__all__ = ["Table"]

_STATUSES = list(JobStatus)


class Table:
    """Rows and columns of cells. A row has a position, counted from 0, and a label, which does not change.

    Parameters
    ----------
    labels : list of int
        Labels of the rows.
    inputs, outputs : dict of str to list
        The cells by column. None is a missing value; a short column is filled with it.
    status : bytearray
        Statuses of the rows: values of `JobStatus`.
    """

    def __init__(self, labels: list[int], inputs: Columns, outputs: Columns, status: bytearray) -> None:
        self.labels = labels
        self.inputs = _padded(inputs, len(labels))
        self.outputs = _padded(outputs, len(labels))
        self.status = status
        self._positions: dict[int, int] = {label: at for at, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.labels)

    def __contains__(self, label: int) -> bool:
        return label in self._positions

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return (
            self.labels == other.labels
            and self.status == other.status
            and _present(self.inputs) == _present(other.inputs)
            and _present(self.outputs) == _present(other.outputs)
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
        dict of str to list
            The cells by column; not a copy.
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
        return {name: cells[position] for name, cells in self.columns(which).items() if cells[position] is not None}

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
        if label not in self._positions:
            raise KeyError(f"the table has no experiment with the label {label}")
        return self._positions[label]

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

    def next_label(self) -> int:
        """Return the first label that is larger than all labels."""
        # Rows are usually appended, so that the last label is nearly always the largest.
        last = self.labels[-1] if self.labels else -1
        return last + 1 if last + 1 == len(self.labels) else max(self.labels, default=-1) + 1

    def take(self, positions: Sequence[int]) -> Table:
        """Return a table of the rows at these positions, with their labels."""
        return Table(
            [self.labels[p] for p in positions],
            {name: [cells[p] for p in positions] for name, cells in self.inputs.items()},
            {name: [cells[p] for p in positions] for name, cells in self.outputs.items()},
            bytearray(self.status[p] for p in positions),
        )

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
            columns[name] = [None] * len(self)
        columns[name][position] = cell

    def clear(self, which: str, position: int, keep: Mapping[str, Any]) -> None:
        """Empty the cells of a row, except in the columns named in `keep`."""
        for name, cells in self.columns(which).items():
            if name not in keep:
                cells[position] = None

    def append(self, label: int) -> int:
        """Add an empty open row at the end.

        Returns
        -------
        int
            Its position.
        """
        self._positions[label] = len(self.labels)
        self.labels.append(label)
        self.status.append(JobStatus.OPEN.value)
        for columns in (self.inputs, self.outputs):
            for cells in columns.values():
                cells.append(None)
        return len(self.labels) - 1

    def extend(self, other: Table) -> None:
        """Add the rows of another table at the end, with new labels."""
        old, new = len(self), len(other)
        first = self.next_label()
        added = list(range(first, first + new))
        for mine, theirs in ((self.inputs, other.inputs), (self.outputs, other.outputs)):
            for name in theirs:
                mine.setdefault(name, [None] * old)
            for name, cells in mine.items():
                cells.extend(theirs.get(name, [None] * new))
        self.status += other.status
        self._positions.update({label: old + at for at, label in enumerate(added)})
        self.labels += added

    def renumber(self) -> None:
        """Replace the labels by 0, 1, 2, ..."""
        self.labels = list(range(len(self)))
        self._positions = {label: label for label in self.labels}

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
        for name, cells in columns.items():
            if name not in but:
                columns[name] = [change(cell) for cell in cells]


def _padded(columns: Columns, n: int) -> Columns:
    return {name: cells + [None] * (n - len(cells)) for name, cells in columns.items()}


def _present(columns: Columns) -> Columns:
    """Return the columns that are not empty, in a form that can be compared."""
    plain = (type(None), bool, int, float, str)
    return {
        name: [cell if isinstance(cell, plain) else to_jsonable(cell) for cell in cells]
        for name, cells in columns.items()
        if any(cell is not None for cell in cells)
    }
