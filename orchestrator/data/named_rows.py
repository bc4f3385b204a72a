"""Rows of a table as inputs and outputs by name, and the loop over its experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.data.column import Columns
from orchestrator.data.experiment_sample import ExperimentSample, Reader
from orchestrator.data.job_status import JobStatus
from orchestrator.data.parameters import Parameter
from orchestrator.data.table import Table

__all__ = ["Rows", "rows_with", "samples"]

_AT_ONCE = 2000
"""Number of rows whose cells a loop takes from the columns at once."""


class Rows:
    """Some rows of the inputs or the outputs.

    Parameters
    ----------
    columns : dict of str to Column
        The columns by name.
    space : Mapping of str to Parameter
        The parameters in the domain, by name.
    begin, end : int or None
        Positions of the first row and after the last one, if their cells are taken at once; changes of the table do not
        show in them. By default any row can be read, as it is at that time.
    """

    def __init__(
        self, columns: Columns, space: Mapping[str, Parameter], begin: int = 0, end: int | None = None
    ) -> None:
        self._begin = begin
        self._cells: list[tuple[str, Any]] = [
            (name, column if end is None else column.cells(begin, end)) for name, column in columns.items()
        ]
        self._names = list(columns)
        self._on_disk = {name: p for name, p in space.items() if p.to_disk and name in columns}
        self._with_none = {name for name, p in space.items() if p.allows_none}
        is_full = end is not None and not any(
            type(None) in set(map(type, cells)) and name not in self._with_none for name, cells in self._cells
        )
        # The quickest way from columns to rows, if no cell is missing.
        self._full_rows = list(zip(*(cells for _, cells in self._cells), strict=True)) if is_full else []

    def at(self, position: int) -> dict[str, Any]:
        """Return the row at a position of the table by name, without missing values."""
        at, with_none = position - self._begin, self._with_none
        if self._full_rows:
            values = dict(zip(self._names, self._full_rows[at], strict=True))
        else:
            values = {n: c for n, cells in self._cells if (c := cells[at]) is not None or n in with_none}
        for name, parameter in self._on_disk.items():
            if name in values:
                values[name] = parameter.refer_to(values[name])
        return values


def _reader(columns: Columns, space: Mapping[str, Parameter], begin: int) -> Callable[[int], dict[str, Any]]:
    """Return a function that returns the row at a position of the table, of some rows as they are now.

    They become Python values when the first of them is read: many loops look at few.
    """
    parts = {name: column.part(begin, begin + _AT_ONCE) for name, column in columns.items()}
    rows = cache(lambda: Rows(parts, space, 0, _AT_ONCE))
    return lambda position: rows().at(position - begin)


def rows_with(
    table: Table, spaces: tuple[Mapping[str, Parameter], Mapping[str, Parameter]], status: JobStatus
) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Yield the label, the inputs and the outputs of each row with a status; for the other parameters see `samples`."""
    end = 0
    inputs = outputs = Rows({}, {})
    for position in table.positions_with(status):
        if position >= end:
            end = position + _AT_ONCE
            inputs = Rows(table.inputs, spaces[0], position, end)
            outputs = Rows(table.outputs, spaces[1], position, end)
        yield table.labels[position], inputs.at(position), outputs.at(position)


def samples(
    table: Table,
    spaces: tuple[Mapping[str, Parameter], Mapping[str, Parameter]],
    project_dir: Path,
    store: Callable[[int, ExperimentSample], None],
) -> Iterator[tuple[int, ExperimentSample]]:
    """Yield the label and the experiment of each row.

    Parameters
    ----------
    table : Table
        The table. What the loop's body changes in it shows in the rows that follow.
    spaces : tuple of Mapping of str to Parameter
        The inputs and the outputs in the domain.
    project_dir : Path
        The project folder.
    store : callable
        ``store(position, sample)`` writes an experiment that the loop's body has changed.
    """
    version, end = -1, 0
    reader: Reader = (_reader({}, {}, 0), _reader({}, {}, 0))
    new, kind, statuses = ExperimentSample.__new__, ExperimentSample, list(JobStatus)
    for position, label in enumerate(table.labels.copy()):
        if position >= end or table.version != version:
            version, end = table.version, position + _AT_ONCE
            reader = (_reader(table.inputs, spaces[0], position), _reader(table.outputs, spaces[1], position))
        # Its inputs and outputs are read when they are used: a call for each row would take longer than the row itself.
        sample = new(kind)
        sample.job_status = status = statuses[table.status[position]]
        sample.project_dir = project_dir
        sample.id = label
        sample._reader = reader
        sample._position = position
        try:
            yield label, sample
        finally:
            is_read = sample._inputs is not None or sample._outputs is not None
            if sample.job_status is not status or (is_read and sample._has_changed()):
                is_current = table.version == version
                store(position, sample)
                if is_current:  # no other row has changed
                    version = table.version
