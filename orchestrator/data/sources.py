"""Sources: what a table can be made of, each turned into columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.data.columns import Columns, cells_of, decode_column, plain_cells, read_csv
from orchestrator.data.layout import single_column
from orchestrator.data.numpy_types import is_array, is_frame
from orchestrator.data.parameters import Parameter
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Source", "columns_of", "n_rows_of", "statuses_of"]

Source: TypeAlias = "pd.DataFrame | np.ndarray | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Path | str"


def columns_of(data: Any, space: Mapping[str, Parameter], which: str) -> Columns:
    """Turn inputs or outputs into columns.

    Parameters
    ----------
    data : Source or None
        A list of dicts, a dict of columns, a DataFrame, a NumPy array or a CSV file.
    space : Mapping of str to Parameter
        What the domain knows of them.
    which : {"input", "output"}
        Which of the two they are.

    Returns
    -------
    dict of str to list
        The cells by column; none of nothing.

    Raises
    ------
    DataError
        The data have no form that is known, or would lose something in a table.
    """
    if data is None:
        return {}
    if isinstance(data, Path | str):
        path = Path(data).with_suffix(".csv")
        columns = read_csv(path.read_bytes(), str(path))[1]
        return {name: decode_column(c, None, space.get(name)) for name, c in columns.items()}
    if is_array(data):
        import pandas as pd

        data = pd.DataFrame(data if data.ndim > 1 else data.reshape(-1, 1))
        data.columns = pd.Index(_names(data.shape[1], list(space), which))
    if is_frame(data):
        _check_names(data.columns)
        return {str(name): cells_of(data[name]) for name in data.columns}
    if isinstance(data, Mapping):
        _check_columns(data)
        return {str(name): plain_cells(values) for name, values in data.items()}
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        _check_names(names)
        return {str(name): plain_cells(row.get(name) for row in data) for name in names}
    raise DataError(
        f"{which} data of type {type(data).__name__} can't be read",
        "Give a list of dicts, a dict of columns, a DataFrame, a NumPy array or a CSV file.",
    )


def _check_columns(columns: Mapping[Any, Any]) -> None:
    _check_names(columns)
    for name, values in columns.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            found = "text" if isinstance(values, str) else repr(values)
            raise DataError(f"column {name!r} is {found}, not a list of values", "Give one value per experiment.")
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name} ({len(values)})" for name, values in columns.items())
        raise DataError(f"the columns have different lengths: {lengths}", "Give None where a value is missing.")


def _check_names(names: Iterable[Any]) -> None:
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise DataError(f"two columns are named {name!r}", "Give each a name of its own.")
        seen.add(name)


def _names(n: int, names: list[str], which: str) -> list[str]:
    if names:
        if len(names) != n:
            raise DataError(f"the array has {n} columns, but the domain {len(names)} {which}s")
        return names
    if which == "output" and n == 1:
        return ["y"]
    return [f"{'x' if which == 'input' else 'y'}{i}" for i in range(n)]


def n_rows_of(data: Source | None) -> int:
    """Count the rows of a source whose rows may be empty: columns don't show those; 0 for another source."""
    return len(data) if is_frame(data) or isinstance(data, list | tuple) else 0


def statuses_of(jobs: pd.Series[Any] | Sequence[str] | Path | str | None) -> list[Any]:
    """Return the statuses that a file or a column holds.

    Parameters
    ----------
    jobs : pandas.Series, sequence of str, Path, str or None
        The statuses, or the file that holds them.

    Returns
    -------
    list
        One per row, as it was given; none of nothing.

    Raises
    ------
    DataError
        The file holds something else.
    """
    if jobs is None:
        return []
    if isinstance(jobs, Path | str):
        path = Path(jobs).with_suffix(".csv")
        return single_column(read_csv(path.read_bytes(), str(path))[1], path)
    return list(jobs)
