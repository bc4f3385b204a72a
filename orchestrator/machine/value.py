"""What makes a NamedTuple a value of its own kind.

The machine speaks in some thirty kinds of values, and every `advance` and `status` makes all these classes anew: named
tuples are made much faster than frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

__all__ = ["NOTHING", "value"]

Kind = TypeVar("Kind", bound=type)

NOTHING: Final[Mapping[Any, Any]] = {}
"""A default; its type lets nobody fill it."""


def value(kind: Kind) -> Kind:
    """Let a NamedTuple equal only those of its own class; by itself it equals every tuple with the same content."""
    kind.__eq__, kind.__ne__, kind.__hash__ = _equal, _not_equal, tuple.__hash__  # type: ignore[assignment]
    return kind


def _equal(one: tuple[Any, ...], other: object) -> bool:
    return type(one) is type(other) and tuple.__eq__(one, other)


def _not_equal(one: tuple[Any, ...], other: object) -> bool:
    return not _equal(one, other)
