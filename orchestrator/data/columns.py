"""Cells, columns and the values of NumPy and pandas: conversion between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.data.column import Column, Numbers
from orchestrator.data.configurations import plain
from orchestrator.data.numpy_types import is_array, is_scalar, is_series
from orchestrator.data.values import is_missing, plain_base

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_of", "plain_cell", "plain_cells", "series_of"]


def column_of(values: Any) -> Column:
    """Return a column of any values: NumPy scalars become equal Python values, missing values None.

    Parameters
    ----------
    values : pandas.Series, numpy.ndarray or iterable
        The values.

    Returns
    -------
    Column
        The column.
    """
    column = None
    if is_array(values):
        column = Column.of_array(values)
    elif is_series(values):
        column = Column.of_series(values)
        values = values.tolist() if column is None else values
    return Column(plain_cells(values)) if column is None else column


def plain_cells(values: Iterable[Any]) -> list[Any]:
    """Replace NumPy scalars by equal Python values, and missing values by None.

    Parameters
    ----------
    values : iterable
        Any values.

    Returns
    -------
    list
        The cells.
    """
    cells = list(values)
    types = set(map(type, cells))
    if types <= {int, bool, str, type(None)}:
        return cells
    if types <= {float, type(None)}:
        return [None if cell != cell else cell for cell in cells]
    return [plain_cell(cell) for cell in cells]


def plain_cell(value: Any) -> Any:
    """Return the cell of a value: see `plain_cells`."""
    kind = type(value)
    if kind is float:
        return value if value == value else None
    if kind is int or kind is str or kind is bool:
        return value
    if is_missing(value):
        return None
    if is_scalar(value) and value.dtype.kind in "fiubSU":
        item = value.item()
        return value if is_scalar(item) else item
    return plain_base(plain(value))


def series_of(column: Column, index: pd.Index[Any]) -> pd.Series[Any]:
    """Return a column as one of pandas.

    Parameters
    ----------
    column : Column
        The column.
    index : pandas.Index
        Labels of the rows.

    Returns
    -------
    pandas.Series
        The dtype is float64, int64 or bool; Int64 or boolean if values are missing; else object, with None for a
        missing value. Integers among floats become floats if each is exactly equal to its float.
    """
    import numpy as np
    import pandas as pd

    if column.numbers is not None and not column.is_empty():
        return _series_of_numbers(column.numbers, index)
    cells = column.cells()
    types = set(map(type, cells))
    has_missing = type(None) in types
    types.discard(type(None))
    if types <= {float} or (types == {int, float} and all(_fits_float(cell) for cell in cells)):
        return pd.Series(np.array(cells, dtype=np.float64), index=index)
    if types == {int} and all(cell is None or -(2**63) <= cell < 2**63 for cell in cells):
        return pd.Series(cells, index=index, dtype="Int64" if has_missing else "int64")
    if types == {bool}:
        return pd.Series(cells, index=index, dtype="boolean" if has_missing else "bool")
    objects = np.empty(len(cells), dtype=object)
    for position, cell in enumerate(cells):  # NumPy would unpack lists of equal length
        objects[position] = cell
    return pd.Series(objects, index=index, dtype=object)


def _series_of_numbers(numbers: Numbers, index: pd.Index[Any]) -> pd.Series[Any]:
    import pandas as pd

    values = numbers.values.copy()
    if numbers.missing is None or not numbers.missing.any():
        return pd.Series(values, index=index)
    masked = pd.arrays.IntegerArray if numbers.kind is int else pd.arrays.BooleanArray
    return pd.Series(masked(values, numbers.missing.copy()), index=index)


def _fits_float(cell: Any) -> bool:
    return cell is None or (-(2**1023) < cell < 2**1023 and float(cell) == cell)
