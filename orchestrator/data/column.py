"""`Column`: the cells of one input or output. Numbers of one type are an array of NumPy, other cells a list.

A cell is a Python value; None is a missing one. Which of the two holds the cells changes no value and no type. A short
column stays a list while NumPy is not loaded: its import takes more time than the work of most jobs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.data.numpy_types import LONG

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Column", "Columns", "Numbers", "may_have_changed"]

_TYPES = {"f": float, "i": int, "b": bool}
_PLAIN = {float, int, bool, str, type(None)}
_DTYPES = {float: "float64", int: "int64", bool: "bool"}


_MOST_ONE_BY_ONE = 100
"""If fewer than one in so many cells are set, they are set one by one, else in a list of all."""


class Numbers:
    """Numbers of one type in an array.

    Attributes
    ----------
    values : numpy.ndarray
        Floats of 64 bits, integers of 64 bits, or truth values.
    missing : numpy.ndarray or None
        Whether each is missing, for integers and truth values; None if none is. A missing float is NaN.
    """

    __slots__ = ("kind", "missing", "values")

    def __init__(self, values: np.ndarray, missing: np.ndarray | None = None) -> None:
        self.values = values
        self.missing = missing
        self.kind: type = _TYPES[values.dtype.kind]

    @classmethod
    def of(cls, cells: Sequence[Any]) -> Numbers | None:
        """Return the numbers in a list of cells; None if they are not of one type, or don't fit into 64 bits."""
        import numpy as np

        types = set(map(type, cells))
        has_missing = type(None) in types
        types.discard(type(None))
        if len(types) != 1 or (kind := types.pop()) not in _DTYPES:
            return None
        if kind is float:  # a missing one becomes NaN
            return cls(np.array(cells, dtype=np.float64))
        try:
            present = [0 if cell is None else cell for cell in cells] if has_missing else cells
            values = np.array(present, dtype=_DTYPES[kind])
        except OverflowError:
            return None
        missing = np.fromiter((cell is None for cell in cells), bool, len(cells)) if has_missing else None
        return cls(values, missing)

    @classmethod
    def missing_ones(cls, n: int, kind: type) -> Numbers:
        """Return missing numbers of a type."""
        import numpy as np

        if kind is float:
            return cls(np.full(n, np.nan))
        return cls(np.zeros(n, _DTYPES[kind]), np.ones(n, bool))

    def __len__(self) -> int:
        return len(self.values)

    def is_missing(self) -> np.ndarray:
        """Return whether each cell is missing."""
        import numpy as np

        if self.kind is float:
            missing: np.ndarray = np.isnan(self.values)
            return missing
        return np.zeros(len(self.values), bool) if self.missing is None else self.missing

    def cell(self, position: int) -> Any:
        """Return a cell."""
        value = self.values.item(position)
        is_missing = value != value or (self.missing is not None and self.missing.item(position))
        return None if is_missing else value

    def cells(self, begin: int = 0, end: int | None = None) -> list[Any]:
        """Return the cells between two positions."""
        part = self.values[begin:end]
        cells: list[Any] = part.tolist()
        if self.kind is float:
            holes = (part != part).nonzero()[0]
        elif self.missing is None:
            return cells
        else:
            holes = self.missing[begin:end].nonzero()[0]
        for position in holes.tolist():
            cells[position] = None
        return cells

    def accepts(self, cell: Any) -> bool:
        """Whether a cell can be among these numbers, so that it is read as it was written."""
        kind = type(cell)
        return cell is None or (kind is self.kind and (kind is not int or -(2**63) <= cell < 2**63))

    def put(self, position: int, cell: Any) -> None:
        """Write a cell that is accepted."""
        if self.kind is float:
            self.values[position] = float("nan") if cell is None else cell
            return
        if cell is None and self.missing is None:
            self.missing = self.is_missing()
        if self.missing is not None:
            self.missing[position] = cell is None
        self.values[position] = 0 if cell is None else cell

    def take(self, positions: Any) -> Numbers:
        """Return the numbers at an array of positions, or in a slice."""
        return Numbers(self.values[positions], None if self.missing is None else self.missing[positions])

    def joined(self, other: Numbers) -> Numbers | None:
        """Return the numbers of both, one after the other; None if they are not of the same type."""
        import numpy as np

        if self.kind is not other.kind:
            return None
        missing = None
        if self.missing is not None or other.missing is not None:
            missing = np.concatenate([self.is_missing(), other.is_missing()])
        return Numbers(np.concatenate([self.values, other.values]), missing)

    def part(self, begin: int, end: int) -> Numbers:
        """Return a copy of the numbers between two positions."""
        missing = None if self.missing is None else self.missing[begin:end].copy()
        return Numbers(self.values[begin:end].copy(), missing)

    def copy(self) -> Numbers:
        """Return a copy."""
        return Numbers(self.values.copy(), None if self.missing is None else self.missing.copy())


class Column:
    """The cells of one column. A copy shares them until one of the two changes.

    Parameters
    ----------
    cells : sequence or Numbers
        One Python value per row, None for a missing one.
    """

    __slots__ = ("_data", "_is_shared")

    def __init__(self, cells: Sequence[Any] | Numbers = ()) -> None:
        self._data: list[Any] | Numbers = cells if isinstance(cells, list | Numbers) else list(cells)
        self._is_shared = False
        if isinstance(self._data, list) and (len(self._data) >= LONG or "numpy" in sys.modules):
            self._data = Numbers.of(self._data) or self._data

    @classmethod
    def missing(cls, n: int) -> Column:
        """Return a column of missing cells."""
        column = cls()
        column._data = [None] * n
        return column

    @classmethod
    def of_series(cls, series: pd.Series[Any]) -> Column | None:
        """Return the numbers in a column of pandas; None if it has another type."""
        import numpy as np
        import pandas as pd

        dtype = series.dtype
        if isinstance(dtype, np.dtype):
            return cls.of_array(series.to_numpy())
        if not isinstance(dtype, pd.Int64Dtype | pd.BooleanDtype):
            return None
        missing = np.array(series.isna())
        if missing.all():
            return cls.missing(len(missing))
        values = np.array(series.fillna(0), dtype="int64" if isinstance(dtype, pd.Int64Dtype) else "bool")
        return cls(Numbers(values, missing if missing.any() else None))

    @classmethod
    def of_array(cls, array: np.ndarray) -> Column | None:
        """Return the numbers in an array of one dimension; None if they have another type, or don't fit."""
        import numpy as np

        if type(array) is not np.ndarray or array.ndim != 1:
            return None
        if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
            return cls(Numbers(array.astype("float64")))
        if array.dtype.kind == "i" or (array.dtype.kind == "u" and array.dtype.itemsize < 8):
            return cls(Numbers(array.astype("int64")))
        return cls(Numbers(array.copy())) if array.dtype.kind == "b" else None

    @property
    def numbers(self) -> Numbers | None:
        """The numbers, if an array holds them."""
        return self._data if isinstance(self._data, Numbers) else None

    # -- reading -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, position: int) -> Any:
        return self._data[position] if isinstance(self._data, list) else self._data.cell(position)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cells())

    def __repr__(self) -> str:
        return f"Column({self.cells()!r})"

    def cells(self, begin: int = 0, end: int | None = None) -> list[Any]:
        """Return the cells between two positions, as a new list."""
        return self._data[begin:end] if isinstance(self._data, list) else self._data.cells(begin, end)

    def is_empty(self) -> bool:
        """Whether every cell is missing."""
        if isinstance(self._data, list):
            return all(cell is None for cell in self._data)
        return bool(self._data.is_missing().all())

    def has_objects(self) -> bool:
        """Whether a cell is neither missing nor a number, a truth value or text."""
        return isinstance(self._data, list) and not set(map(type, self._data)) <= _PLAIN

    def present(self) -> bytearray:
        """Return for each cell 1 if it is present, 0 if it is missing."""
        if isinstance(self._data, list):
            return bytearray(cell is not None for cell in self._data)
        return bytearray((~self._data.is_missing()).tobytes())

    def take(self, positions: Sequence[int]) -> Column:
        """Return the cells at these positions."""
        if isinstance(self._data, list):
            return Column([self._data[position] for position in positions])
        import numpy as np

        return Column(self._data.take(np.asarray(positions, dtype=np.intp)))

    def copy(self) -> Column:
        """Return a copy."""
        copy = Column()
        copy._data = self._data
        copy._is_shared = self._is_shared = True
        return copy

    def part(self, begin: int, end: int) -> Column:
        """Return a copy of the cells between two positions."""
        part = Column()
        data = self._data
        part._data = data[begin:end] if isinstance(data, list) else data.part(begin, end)
        return part

    # -- changing ------------------------------------------------------------------------------

    def _own(self) -> None:
        if self._is_shared:
            self._data = self._data.copy()
            self._is_shared = False

    def _as_list(self) -> list[Any]:
        self._own()
        if not isinstance(self._data, list):
            self._data = self._data.cells()
        return self._data

    def __setitem__(self, position: int, cell: Any) -> None:
        self._own()
        if isinstance(self._data, list):
            self._data[position] = cell
        elif self._data.accepts(cell):
            self._data.put(position, cell)
        else:
            self._as_list()[position] = cell

    def put(self, positions: Sequence[int], cells: Sequence[Any]) -> None:
        """Set the cells at these positions."""
        if len(cells) * _MOST_ONE_BY_ONE < len(self):
            for position, cell in zip(positions, cells, strict=True):
                self[position] = cell
            return
        changed = self.cells()
        for position, cell in zip(positions, cells, strict=True):
            changed[position] = cell
        self._data, self._is_shared = Column(changed)._data, False

    def append(self, cell: Any) -> None:
        """Add a cell at the end."""
        self._as_list().append(cell)

    def extend(self, other: Column) -> None:
        """Add the cells of another column at the end."""
        mine, theirs = self._data, other._data
        if isinstance(mine, Numbers) and isinstance(theirs, list) and other.is_empty():
            theirs = Numbers.missing_ones(len(theirs), mine.kind)
        elif isinstance(theirs, Numbers) and isinstance(mine, list) and self.is_empty():
            mine = Numbers.missing_ones(len(mine), theirs.kind)
        if isinstance(mine, Numbers) and isinstance(theirs, Numbers):
            joined = mine.joined(theirs)
            if joined is not None:
                self._data, self._is_shared = joined, False
                return
        self._as_list().extend(other.cells())

    def mapped(self, change: Callable[[Any], Any]) -> Column:
        """Return a column of `change(cell)` for each cell."""
        return Column([change(cell) for cell in self.cells()])


Columns: TypeAlias = dict[str, Column]
"""The columns of the inputs or the outputs by their names."""


def may_have_changed(columns: Columns) -> bool:
    """Whether a cell is an object that the user's code can change without the table, such as a list."""
    return any(column.has_objects() for column in columns.values())
