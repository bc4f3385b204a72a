"""`==`, `repr` and the functions of `dataclasses` for classes that each task of an array imports.

`dataclasses` and `inspect`, which it imports, take a tenth of a short task. So these classes have an `__init__` of
their own, and are dataclasses only for a user who treats them as such.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import Field
    from typing import ClassVar

__all__ = ["Fields"]


class _OfDataclass:
    """An attribute that `dataclass` gives a class; it is made when it is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return vars(_as_dataclass(owner))[self._name]


class Fields:
    """A base class whose attributes are compared and shown, except those that begin with an underscore.

    `dataclasses.replace`, `fields` and `asdict` take its objects, too: a field is a parameter of `__init__`. A class
    that derives from it may be a dataclass.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    else:
        __dataclass_fields__ = _OfDataclass()
        __dataclass_params__ = _OfDataclass()

    def _compared(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __eq__(self, other: object) -> bool:
        return self._compared() == other._compared() if type(other) is type(self) else NotImplemented

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._compared().items())
        return f"{type(self).__qualname__}({shown})"


@cache
def _as_dataclass(kind: type) -> type:
    """Return a dataclass with the fields of a class."""
    from dataclasses import field, make_dataclass
    from inspect import Parameter, signature

    fields: list[Any] = []
    for parameter in signature(kind).parameters.values():
        if parameter.kind is not Parameter.VAR_POSITIONAL:
            default = {} if parameter.default is Parameter.empty else {"default": parameter.default}
            fields.append((parameter.name, parameter.annotation, field(**default)))
    return make_dataclass(kind.__name__, fields, kw_only=True)
