"""`==`, `repr` and the functions of `dataclasses` for classes that each task of an array imports.

`dataclasses` and `inspect`, which it imports, take a tenth of a short task. So these classes have an `__init__` of
their own, and are dataclasses only for a user who treats them as such.
"""

from __future__ import annotations

from functools import cache, wraps
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import Field
    from typing import ClassVar, Self

__all__ = ["Fields"]


class _OfDataclass:
    """An attribute that `dataclass` gives a class; it is made when it is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return vars(_as_dataclass(owner))[self._name]


class Fields:
    """A base class whose attributes are compared and shown, except those that begin with an underscore.

    `dataclasses.replace`, `fields` and `asdict` take its objects, too: a field is a parameter of `__init__`. `match`
    takes them by position, and `copy.replace` changes a copy. A class that derives from it may be a dataclass. If it is
    none, and derives from none, its attributes are defaults, too, and its `__post_init__` is called.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
        __match_args__: ClassVar[tuple[str, ...]]
    else:
        __dataclass_fields__ = _OfDataclass()
        __dataclass_params__ = _OfDataclass()
        __match_args__ = _OfDataclass()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if _is_ours(cls) and "__init__" in vars(cls):
            init = vars(cls)["__init__"]
            _show_defaults(cls, init)
            cls.__init__ = _with_attributes(cls, init)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Do what the `__init__` of the base does, in an object of a derived class that is a dataclass."""
        kinds = type(self).__mro__
        made = next((number for number, kind in enumerate(kinds) if _is_made(kind)), None)
        if made is None:
            return
        base = next(kind for kind in kinds[made:] if "__init__" in vars(kind) and not _is_made(kind))
        base.__init__(self, **{name: getattr(self, name) for name in base.__match_args__})  # type: ignore[misc,attr-defined]

    def _compared(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __replace__(self, /, **changes: Any) -> Self:
        """Return a copy with other values of some fields; `copy.replace` calls this."""
        from dataclasses import replace

        return replace(self, **changes)

    def __eq__(self, other: object) -> bool:
        return self._compared() == other._compared() if type(other) is type(self) else NotImplemented

    @recursive_repr()
    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._compared().items())
        return f"{type(self).__qualname__}({shown})"


@cache
def _as_dataclass(kind: type) -> type:
    """Return a dataclass with the fields of a class."""
    from dataclasses import field, make_dataclass
    from inspect import Parameter, signature
    from typing import ClassVar

    fields: list[Any] = []
    parameters = signature(kind).parameters.values()
    for parameter in parameters:
        if parameter.kind is not Parameter.VAR_POSITIONAL:
            annotation = kind.__annotations__.get(parameter.name, parameter.annotation)
            first, _, rest = str(annotation).partition("[")
            make = {"dict": dict, "list": list}.get(first) if rest.count("|") <= 1 else None
            default: dict[str, Any] = {}
            if parameter.default is None and make is not None:  # the default of a parameter, but of no field
                default = {"default_factory": make}
            elif parameter.default is not Parameter.empty:
                default = {"default": parameter.default}
            fields.append((parameter.name, annotation, field(**default)))
    names = {name for name, _, _ in fields}
    for base in kind.__mro__[1:]:
        if issubclass(base, Fields) and base is not Fields:
            # A dataclass that derives from this class would take them, too.
            fields += [(name, ClassVar[Any]) for name in base.__match_args__ if name not in names]
    return make_dataclass(kind.__name__, fields)


def _is_made(kind: type) -> bool:
    """Whether a class is a dataclass, whose `__init__` was made for it."""
    return kind is not Fields and "__dataclass_fields__" in vars(kind)


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def _base_of(kind: type) -> type | None:
    """Return the class of ours whose `__init__` is called first."""
    return next((base for base in kind.__mro__ if "__init__" in vars(base) and _is_ours(base)), None)


def _show_defaults(kind: type, init: Any) -> None:
    """Let a class have the defaults of its fields as attributes, as a dataclass does."""
    defaults = dict(zip(reversed(_names(init)), reversed(init.__defaults__ or ()), strict=False))
    for name, default in (defaults | (init.__kwdefaults__ or {})).items():
        # None may stand for a new dict or list.
        if default is not None and not hasattr(kind, name):
            setattr(kind, name, default)


def _names(init: Any) -> list[str]:
    """Return the parameters that may be positional; those of a function with `*args` may all be."""
    return list(init.__code__.co_varnames[1 : init.__code__.co_argcount])


def _with_attributes(base: type, init: Callable[..., None]) -> Callable[..., None]:
    """Return the `__init__` of a class, which uses the attributes of derived classes that are no dataclasses."""
    positional = _names(init)
    names = {*positional, *(init.__kwdefaults__ or ())}

    @wraps(init)
    def with_attributes(self: Any, *args: Any, **kwargs: Any) -> None:
        kinds = type(self).__mro__
        derived = () if type(self) is base else kinds[: kinds.index(base)]
        if all(map(_is_ours, derived)) or any(map(_is_made, derived)) or _base_of(type(self)) is not base:
            init(self, *args, **kwargs)
            return
        own = {name for kind in derived if not _is_ours(kind) for name in names & vars(kind).keys()}
        given = {*positional[: len(args)], *kwargs}
        defaults = {name: _copied(getattr(self, name)) for name in own - given if not _is_property(type(self), name)}
        init(self, *args, **defaults, **kwargs)
        if any("__post_init__" in vars(kind) for kind in derived):
            self.__post_init__()

    return with_attributes


def _is_property(kind: type, name: str) -> bool:
    """Whether a class takes what `__init__` sets as it wants: its value may need that first."""
    return any(hasattr(type(vars(base).get(name)), "__set__") for base in kind.__mro__)


def _copied(value: Any) -> Any:
    """Return a new list, dict or set, so that no two objects share one."""
    return value.copy() if type(value) in (list, dict, set) else value
