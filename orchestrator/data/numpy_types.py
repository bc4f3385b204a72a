"""Recognise values of NumPy and pandas without an import: before they are imported, no such value exists.

Their import takes more time than the work of most jobs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["LONG", "is_array", "is_dataframe", "is_integer", "is_scalar", "is_series", "is_bool"]


LONG = 10_000
"""Number of values from which the import of NumPy is worth its time."""


def is_array(value: object) -> TypeGuard[np.ndarray]:
    """Whether a value is a NumPy array."""
    return _is_a(value, "numpy", "ndarray")


def is_scalar(value: object) -> TypeGuard[np.generic]:
    """Whether a value is a NumPy scalar."""
    return _is_a(value, "numpy", "generic")


def is_integer(value: object) -> TypeGuard[np.integer[Any]]:
    """Whether a value is a NumPy integer."""
    return _is_a(value, "numpy", "integer")


def is_bool(value: object) -> TypeGuard[np.bool_]:
    """Whether a value is a NumPy truth value."""
    return _is_a(value, "numpy", "bool_")


def is_dataframe(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether a value is a pandas DataFrame."""
    return _is_a(value, "pandas", "DataFrame")


def is_series(value: object) -> TypeGuard[pd.Series[Any]]:
    """Whether a value is a column of pandas."""
    return _is_a(value, "pandas", "Series")


def _is_a(value: object, library: str, name: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(value, getattr(module, name))
