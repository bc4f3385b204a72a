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

    def __post_init__(self) -> None:
        """Do what the `__init__` of the base does, in an object of a derived class that is a dataclass."""
        base = next(kind for kind in type(self).__mro__ if "__init__" in vars(kind) and not _is_made(kind))
        base.__init__(self, **{name: getattr(self, name) for name in _as_dataclass(base).__dataclass_fields__})  # type: ignore[misc,attr-defined]

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
    parameters = signature(kind).parameters.values()
    for parameter in parameters:
        if parameter.kind is not Parameter.VAR_POSITIONAL:
            annotation = kind.__annotations__.get(parameter.name, parameter.annotation)
            make = {"dict": dict, "list": list}.get(str(annotation).partition("[")[0])
            default: dict[str, Any] = {}
            if parameter.default is None and make is not None:  # the default of a parameter, but of no field
                default = {"default_factory": make}
            elif parameter.default is not Parameter.empty:
                default = {"default": parameter.default}
            fields.append((parameter.name, annotation, field(**default)))
    has_many = any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters)
    return make_dataclass(kind.__name__, fields, kw_only=has_many)


def _is_made(kind: type) -> bool:
    """Whether a class is a dataclass, whose `__init__` was made for it."""
    return "__dataclass_fields__" in vars(kind)
