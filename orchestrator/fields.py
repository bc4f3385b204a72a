"""`==` and `repr` of dataclasses that each command or each task of an array imports.

`dataclass` generates both for each class, when its module is imported: that takes longer than a short experiment.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

__all__ = ["Fields"]


class Fields:
    """A base class for `@dataclass(eq=False, repr=False)`, with the methods that are not generated then."""

    def __eq__(self, other: object) -> bool:
        return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented

    def __repr__(self) -> str:
        shown: list[Any] = [field.name for field in fields(self) if field.repr]  # type: ignore[arg-type]
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, field.name) for field in fields(value) if field.compare)
