"""A column of pandas whose objects are on disk: each is loaded when it is looked at."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take

from orchestrator.data.references import Reference
from orchestrator.errors import NotAllowed

__all__ = ["ObjectsOnDisk"]

Load = Callable[[Reference], Any]


class OnDisk(ExtensionDtype):
    """The type of a column of objects on disk."""

    name = "object on disk"
    type = object
    kind = "O"
    na_value = None

    @classmethod
    def construct_array_type(cls) -> Any:
        """Return the class of the columns."""
        return ObjectsOnDisk


class ObjectsOnDisk(ExtensionArray):
    """References to objects on disk. An item is the object, which is loaded then; nothing keeps it.

    Parameters
    ----------
    items : sequence
        References; None for a missing object; anything else is an object in memory.
    load : callable
        ``load(reference)`` returns the object.
    """

    def __init__(self, items: Sequence[Any], load: Load) -> None:
        self._items = np.empty(len(items), dtype=object)
        for position, item in enumerate(items):  # NumPy would unpack lists of equal length
            self._items[position] = item
        self._load = load

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Any:
        return cls(list(scalars), lambda reference: reference)

    def _with(self, items: np.ndarray) -> Any:
        new = object.__new__(type(self))
        new._items, new._load = items, self._load
        return new

    @property
    def dtype(self) -> Any:
        """The type of the column."""
        return OnDisk()

    @property
    def nbytes(self) -> int:
        """Size of the references in bytes."""
        return int(self._items.nbytes)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, key: Any) -> Any:
        from pandas.api.indexers import check_array_indexer

        key = check_array_indexer(self, key)
        found = self._items[key]
        if isinstance(key, slice | np.ndarray):
            return self._with(found)
        return self._object(found)

    def _object(self, item: Any) -> Any:
        if type(item) is not Reference:
            return item
        try:
            return self._load(item)
        except NotAllowed as error:
            warnings.warn(f"The object {item.path} was not loaded: {error}", stacklevel=3)
            return item.path

    def __setitem__(self, key: Any, value: Any) -> None:
        from pandas.api.indexers import check_array_indexer

        self._items[check_array_indexer(self, key)] = value._items if isinstance(value, ObjectsOnDisk) else value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._objects()

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = None) -> np.ndarray:
        """Return all objects in an array."""
        return self._objects()

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Return the objects as another type."""
        if isinstance(dtype, OnDisk) or dtype == OnDisk.name:
            return self.copy() if copy else self
        return self._objects().astype(dtype)

    def _objects(self) -> np.ndarray:
        objects = np.empty(len(self), dtype=object)
        for position, item in enumerate(self._items):
            objects[position] = self._object(item)
        return objects

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, ObjectsOnDisk):
            return np.array([one == two for one, two in zip(self._items, other._items, strict=True)], dtype=bool)
        return np.array([self._object(item) == other for item in self._items], dtype=object)

    def isna(self) -> Any:
        """Return whether each object is missing; no object is loaded."""
        return np.array([item is None for item in self._items], dtype=bool)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Any:
        """Return the column at other positions."""
        taken: Any = take(self._items, indices, allow_fill=allow_fill, fill_value=None)
        return self._with(taken)

    def copy(self) -> Self:
        """Return a copy; no object is loaded."""
        copied: Self = self._with(self._items.copy())
        return copied

    @classmethod
    def _concat_same_type(cls, to_concat: Any) -> Any:
        return to_concat[0]._with(np.concatenate([each._items for each in to_concat]))
