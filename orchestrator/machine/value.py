"""Named tuples that equal only those of their own class.

The machine has about thirty classes of values, and every `advance` and `status` creates these classes: that is much
faster for named tuples than for frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

__all__ = ["NOTHING", "value"]

ValueClass = TypeVar("ValueClass", bound=type)

NOTHING: Final[Mapping[Any, Any]] = {}
"""An empty mapping as a default; its type does not allow items to be set."""


def value(cls: ValueClass) -> ValueClass:
    """Make a NamedTuple equal only to those of its own class; otherwise it equals any tuple of the same content."""
    cls.__eq__, cls.__ne__, cls.__hash__ = _equal, _not_equal, tuple.__hash__  # type: ignore[assignment]
    return cls


def _equal(one: tuple[Any, ...], other: object) -> bool:
    return type(one) is type(other) and tuple.__eq__(one, other)


def _not_equal(one: tuple[Any, ...], other: object) -> bool:
    return not _equal(one, other)
