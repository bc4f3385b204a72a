"""A dict whose objects on disk are loaded when they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.data.references import Reference

__all__ = ["LoadedOnUse"]


class LoadedOnUse(dict[str, Any]):
    """The inputs or outputs of an experiment. A reference in it is replaced by its object when that is first asked for.

    Parameters
    ----------
    data : mapping of str to Any
        The values; some are references.
    load : callable
        ``load(reference)`` returns the object.
    """

    def __init__(self, data: Mapping[str, Any], load: Callable[[Reference], Any]) -> None:
        super().__init__(data)
        self._load = load

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if type(value) is Reference:
            value = self._load(value)
            super().__setitem__(name, value)
        return value

    def __iter__(self) -> Iterator[str]:
        # Not the one of dict: then `dict(data)` and `{**data}` ask for each value, instead of taking the references.
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is `get`

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a value, and return it."""
        if name in self:
            self[name]
        return super().pop(name, *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return a value; set it to the default if there is none."""
        return self[name] if name in self else super().setdefault(name, default)

    def values(self) -> Any:
        """Return all values."""
        return self._all().values()

    def items(self) -> Any:
        """Return all names and values."""
        return self._all().items()

    def copy(self) -> LoadedOnUse:
        """Return a copy, whose objects are loaded when they are used, too."""
        return LoadedOnUse({name: super(LoadedOnUse, self).__getitem__(name) for name in self}, self._load)

    def _all(self) -> dict[str, Any]:
        return {name: self[name] for name in self}

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, LoadedOnUse) else other)

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        return self._all() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._all()

    def __repr__(self) -> str:
        return repr(self._all())

    def __reduce__(self) -> Any:
        return dict, (self._all(),)
