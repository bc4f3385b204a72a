"""Recognise values of NumPy and pandas without loading either: where they are not loaded, there are none.

Loading them takes longer than the work of most jobs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["is_array", "is_frame", "is_integer", "is_scalar", "is_truth"]


def is_array(value: object) -> TypeGuard[np.ndarray]:
    """Tell whether a value is a NumPy array."""
    return _is_a(value, "numpy", "ndarray")


def is_scalar(value: object) -> TypeGuard[np.generic]:
    """Tell whether a value is a NumPy scalar."""
    return _is_a(value, "numpy", "generic")


def is_integer(value: object) -> TypeGuard[np.integer[Any]]:
    """Tell whether a value is an integer of NumPy."""
    return _is_a(value, "numpy", "integer")


def is_truth(value: object) -> TypeGuard[np.bool_]:
    """Tell whether a value is a truth value of NumPy."""
    return _is_a(value, "numpy", "bool_")


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Tell whether a value is a DataFrame."""
    return _is_a(value, "pandas", "DataFrame")


def _is_a(value: object, library: str, name: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(value, getattr(module, name))
