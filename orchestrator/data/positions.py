"""Positions: the rows that an index of a table selects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.data.numpy_types import LONG, is_array, is_bool, is_integer

__all__ = ["positions_of", "positions_of_smallest"]


def positions_of(key: int | slice | Iterable[int], n: int) -> Sequence[int]:
    """Return the positions of rows.

    Parameters
    ----------
    key : int, slice, or iterable of int or bool
        Positions from 0, or from the end if they are negative; or one truth value per row.
    n : int
        Number of rows of the table.

    Returns
    -------
    sequence of int
        The positions, from 0.

    Raises
    ------
    IndexError
        If there is no row at a position.
    ValueError
        If the number of truth values is not `n`.
    """
    rows = range(n)
    if isinstance(key, slice):
        return rows[key]
    if isinstance(key, int) or is_integer(key):
        return [rows[key]]
    keys: Any = key if is_array(key) else list(key)
    if len(keys) >= LONG and (found := _of_many(keys, n)) is not None:
        return found
    if len(keys) and (isinstance(keys[0], bool) or is_bool(keys[0])):
        return [position for position, is_wanted in zip(rows, keys, strict=True) if is_wanted]
    return [rows[int(key)] for key in keys]


def _of_many(keys: Any, n: int) -> Sequence[int] | None:
    """Return the positions as an array; None if they are something else than integers in the table."""
    import numpy as np

    array = np.asarray(keys)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < -n or array.max() >= n:
        return None
    found: Sequence[int] = np.where(array < 0, array + n, array)  # type: ignore[assignment]
    return found


def positions_of_smallest(cells: Sequence[Any], n: int) -> list[int]:
    """Return the positions of the smallest cells, the smallest first; missing ones are skipped."""
    present = [position for position, cell in enumerate(cells) if cell is not None]
    return sorted(present, key=cells.__getitem__)[:n]
