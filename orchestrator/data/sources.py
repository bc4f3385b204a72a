"""Sources: the types of data that a table can be created from, each converted to columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.damage import read_whole
from orchestrator.data.column import Column, Columns
from orchestrator.data.columns import column_of
from orchestrator.data.csv_files import read_csv
from orchestrator.data.domain import Domain
from orchestrator.data.job_status import JobStatus
from orchestrator.data.labels import Labels
from orchestrator.data.layout import single_column
from orchestrator.data.numpy_types import is_array, is_dataframe
from orchestrator.data.parameters import Parameter
from orchestrator.data.spreadsheets import read_spreadsheet
from orchestrator.data.table import Table
from orchestrator.data.values import is_missing
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Source", "columns_of", "statuses_of", "table_of"]

Source: TypeAlias = "pd.DataFrame | np.ndarray | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Path | str"


def columns_of(data: Any, space: Mapping[str, Parameter], which: str) -> Columns:
    """Convert inputs or outputs to columns.

    Parameters
    ----------
    data : Source or None
        A list of dicts, a dict of columns, a DataFrame, a NumPy array or a CSV file.
    space : Mapping of str to Parameter
        The parameters in the domain, by name.
    which : {"input", "output"}
        Which of the two the data are.

    Returns
    -------
    dict of str to Column
        The columns by name; empty for None.

    Raises
    ------
    DataError
        If the data have another type, duplicate names, or columns of different lengths.
    """
    if data is None:
        return {}
    if isinstance(data, Path | str):
        read = read_spreadsheet(Path(data).with_suffix(".csv"), space, which)
        return {name: Column(cells) for name, cells in read.items()}
    if is_array(data):
        import pandas as pd

        data = pd.DataFrame(data if data.ndim > 1 else data.reshape(-1, 1))
        data.columns = pd.Index(_names(data.shape[1], list(space), which))
    if is_dataframe(data):
        _check_names(data.columns)
        return {str(name): column_of(data[name]) for name in data.columns}
    if isinstance(data, Mapping):
        _check_columns(data)
        return {str(name): column_of(values) for name, values in data.items()}
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        _check_names(names)
        return {str(name): column_of([row.get(name) for row in data]) for name in names}
    raise DataError(
        f"{which} data can't be of type {type(data).__name__}",
        "Use a list of dicts, a dict of columns, a DataFrame, a NumPy array or a CSV file.",
    )


def _check_columns(columns: Mapping[Any, Any]) -> None:
    _check_names(columns)
    for name, values in columns.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            found = "text" if isinstance(values, str) else repr(values)
            raise DataError(f"column {name!r} is {found}, not a list of values", "Use one value per experiment.")
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name} ({len(values)})" for name, values in columns.items())
        raise DataError(f"the columns have different lengths: {lengths}", "Use None for a missing value.")


def _check_names(names: Iterable[Any]) -> None:
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise DataError(f"two columns have the name {name!r}", "Use a unique name for each column.")
        seen.add(name)


def _names(n: int, names: list[str], which: str) -> list[str]:
    if names:
        if len(names) != n:
            raise DataError(f"the array has {n} columns, but the domain has {len(names)} {which}s")
        return names
    if which == "output" and n == 1:
        return ["y"]
    return [f"{'x' if which == 'input' else 'y'}{i}" for i in range(n)]


def table_of(domain: Domain, input_data: Source | None, output_data: Source | None, statuses: Sequence[Any]) -> Table:
    """Convert inputs, outputs and statuses to a table with the labels 0, 1, 2, ...

    Parameters
    ----------
    domain : Domain
        The domain; it is not changed.
    input_data, output_data : Source or None
        As in `columns_of`.
    statuses : sequence
        The statuses of the first rows, if they are given; a missing one is not. The others are FINISHED if the row has
        an output, else OPEN.

    Returns
    -------
    Table
        As many rows as the longest of these.

    Raises
    ------
    DataError
        As of `columns_of`.
    """
    inputs = columns_of(input_data, domain.input_space, "input")
    outputs = columns_of(output_data, domain.output_space, "output")
    lengths = [len(column) for columns in (inputs, outputs) for column in columns.values()]
    n = max([*lengths, len(statuses), _n_rows_of(input_data)], default=0)
    table = Table(Labels(range(n)), inputs, outputs, bytearray(n))
    table.status[:] = _first_statuses(table, statuses)
    return table


def _n_rows_of(data: Source | None) -> int:
    """Return the number of rows of a source whose rows may be empty, which columns don't show; 0 for other sources."""
    return len(data) if is_dataframe(data) or isinstance(data, list | tuple) else 0


def _first_statuses(table: Table, given: Sequence[Any]) -> bytearray:
    values, n = bytearray(len(table)), len(table)
    if not all(not is_missing(status) for status in given) or len(given) < n:
        for column in table.outputs.values():
            at = -1
            present = column.present()
            while (at := present.find(1, at + 1)) >= 0:
                values[at] = JobStatus.FINISHED.value
    for position, status in enumerate(given):
        if not is_missing(status):
            values[position] = JobStatus.of(status).value
    return values


def statuses_of(jobs: pd.Series[Any] | Sequence[str] | Path | str | None) -> list[Any]:
    """Return the statuses in a file or a column.

    Parameters
    ----------
    jobs : pandas.Series, sequence of str, Path, str or None
        The statuses, or the path of their CSV file.

    Returns
    -------
    list
        One per row, not converted; empty for None.

    Raises
    ------
    DataError
        If the file does not have exactly one column.
    """
    if jobs is None:
        return []
    if isinstance(jobs, Path | str):
        path = Path(jobs).with_suffix(".csv")
        return single_column(read_csv(read_whole(path), str(path))[1], path)
    return list(jobs)
