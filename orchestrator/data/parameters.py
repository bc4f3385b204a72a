"""Parameters: the type and the bounds of an input or output, and how its values are stored on disk.

Names and JSON are those of f3dasm's ``domain.json``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from orchestrator.data.configurations import plain
from orchestrator.data.load_functions import decode_function, encode_function
from orchestrator.data.references import Reference
from orchestrator.data.values import from_jsonable, is_missing, to_jsonable
from orchestrator.errors import DataError

__all__ = [
    "PARAMETER_TYPES",
    "ArrayParameter",
    "CategoricalParameter",
    "ConstantParameter",
    "ContinuousParameter",
    "DiscreteParameter",
    "Parameter",
]


class Parameter:
    """An input or output of any type.

    Parameters
    ----------
    to_disk : bool, default False
        Whether each value is stored in its own file; the table then contains the path.
    store_function : callable or None, default None
        ``store_function(object, path) -> path`` writes a file; only with `to_disk=True`.
    load_function : callable or None, default None
        ``load_function(path, **load_kwargs) -> object`` reads a file; only with `to_disk=True`.
    load_kwargs : dict or None, default None
        Further arguments of `load_function`; only with `to_disk=True`.

    Raises
    ------
    ValueError
        If a function or `load_kwargs` is given without `to_disk=True`.
    """

    type_name: ClassVar[str] = "object"
    own_fields: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that only parameters of this type have."""
    to_disk = False
    _functions: tuple[Any, Any, Any] = (None, None, None)

    def __init__(
        self,
        to_disk: bool = False,
        store_function: Callable[..., Any] | str | None = None,
        load_function: Callable[..., Any] | str | None = None,
        load_kwargs: dict[str, Any] | str | None = None,
    ) -> None:
        functions = (store_function, load_function, load_kwargs)
        if not to_disk and any(function is not None for function in functions):
            raise ValueError("store_function, load_function and load_kwargs need to_disk=True")
        self.to_disk = to_disk
        # Functions from a file are unpickled only when they are used: perhaps this process can't import their module.
        self._functions = functions

    @property
    def allows_none(self) -> bool:
        """Whether an experiment gets None where the table has no value."""
        return False

    @property
    def store_function(self) -> Callable[..., Any] | None:
        """The function that writes a value; None for the default ones."""
        function: Callable[..., Any] | None = decode_function(self._functions[0])
        return function

    @store_function.setter
    def store_function(self, function: Callable[..., Any] | str | None) -> None:
        self._functions = (function, *self._functions[1:])

    @property
    def load_function(self) -> Callable[..., Any] | None:
        """The function that reads a value; None for the default ones."""
        function: Callable[..., Any] | None = decode_function(self._functions[1])
        return function

    @load_function.setter
    def load_function(self, function: Callable[..., Any] | str | None) -> None:
        self._functions = (self._functions[0], function, self._functions[2])

    @property
    def load_kwargs(self) -> dict[str, Any] | None:
        """Further arguments of the load function."""
        kwargs: dict[str, Any] | None = decode_function(self._functions[2])
        return kwargs

    @load_kwargs.setter
    def load_kwargs(self, kwargs: dict[str, Any] | str | None) -> None:
        self._functions = (*self._functions[:2], kwargs)

    def refer_to(self, path: str) -> Reference:
        """Return the reference to an object on disk.

        Parameters
        ----------
        path : str
            Path of its file.

        Returns
        -------
        Reference
            The path, with this parameter's load function.
        """
        return Reference(path, self._functions[1], self._functions[2])

    def to_json(self) -> dict[str, Any]:
        """Return the parameter as f3dasm's JSON."""
        content = {
            "type": self.type_name,
            "to_disk": self.to_disk,
            "store_function": encode_function(self._functions[0]),
            "load_function": encode_function(self._functions[1]),
            "load_kwargs": encode_function(self._functions[2]),
        }
        return content | self._own_fields()

    def _own_fields(self) -> dict[str, Any]:
        return {name: to_jsonable(getattr(self, name)) for name in self.own_fields}

    def _copy(self) -> Parameter:
        """Return the parameter, which does not change."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the parameter as f3dasm's JSON: the same as `to_json`."""
        return self.to_json()

    @staticmethod
    def from_dict(param_dict: Mapping[str, Any]) -> Parameter:
        """Create a parameter from the return value of `to_dict`: the same as `from_json`."""
        return Parameter.from_json(param_dict)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Parameter:
        """Create a parameter from its JSON.

        Parameters
        ----------
        content : Mapping
            The return value of `to_json`, or f3dasm's JSON.

        Returns
        -------
        Parameter
            The parameter, of the class that its ``type`` names.

        Raises
        ------
        DataError
            If the type is unknown.
        """
        type_name = content.get("type")
        if type_name == Parameter.type_name:
            functions = (content.get(n) for n in ("store_function", "load_function", "load_kwargs"))
            return Parameter(bool(content.get("to_disk")), *functions)
        if type_name not in PARAMETER_TYPES:
            raise DataError(
                f"the domain has a parameter of the unknown type {type_name!r}",
                "Known types: " + ", ".join([Parameter.type_name, *PARAMETER_TYPES]),
            )
        cls = PARAMETER_TYPES[type_name]
        return cls(**{name: from_jsonable(content[name]) for name in cls.own_fields if name in content})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parameter) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Parameter) -> Parameter:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}(to_disk={self.to_disk})"


@dataclass(eq=False)
class ContinuousParameter(Parameter):
    """A float input.

    Parameters
    ----------
    lower_bound : float, default -inf
        Smallest value.
    upper_bound : float, default inf
        Largest value.
    log : bool, default False
        Whether samplers draw its logarithm uniformly; this needs a positive lower bound.

    Raises
    ------
    ValueError
        If the upper bound is not above the lower bound, or `log` is True and the lower bound is not positive.
    """

    type_name: ClassVar[str] = "float"
    own_fields: ClassVar[tuple[str, ...]] = ("lower_bound", "upper_bound", "log")

    lower_bound: float = -math.inf
    upper_bound: float = math.inf
    log: bool = False

    def __post_init__(self) -> None:
        """Check the bounds."""
        self.lower_bound = float(self.lower_bound)
        self.upper_bound = float(self.upper_bound)
        if self.log and self.lower_bound <= 0:
            raise ValueError(f"log=True needs a lower bound above 0, not {self.lower_bound}")
        _check_range(self.lower_bound, self.upper_bound)

    def to_discrete(self, step: int = 1) -> DiscreteParameter:
        """Return an integer input with the same bounds, which must be integers."""
        return DiscreteParameter(self.lower_bound, self.upper_bound, step)  # type: ignore[arg-type]

    def __add__(self, other: Parameter) -> Parameter:
        if not isinstance(other, ContinuousParameter) or other.log != self.log:
            raise ValueError(f"{self!r} and {other!r} can't be merged into one input")
        if self.lower_bound > other.upper_bound or other.lower_bound > self.upper_bound:
            raise ValueError(f"{self!r} and {other!r} don't overlap")
        low = min(self.lower_bound, other.lower_bound)
        return ContinuousParameter(low, max(self.upper_bound, other.upper_bound), self.log)


@dataclass(eq=False)
class DiscreteParameter(Parameter):
    """An integer input: `lower_bound`, `lower_bound` + `step`, ... up to `upper_bound`.

    Parameters
    ----------
    lower_bound : int, default 0
        Smallest value.
    upper_bound : int, default 1
        Largest value, if it is a multiple of `step` above `lower_bound`.
    step : int, default 1
        Distance between values.

    Raises
    ------
    ValueError
        If the upper bound is not above the lower bound, the step is not positive, or one of them is not an integer.
    """

    type_name: ClassVar[str] = "int"
    own_fields: ClassVar[tuple[str, ...]] = ("lower_bound", "upper_bound", "step")

    lower_bound: int = 0
    upper_bound: int = 1
    step: int = 1

    def __post_init__(self) -> None:
        """Check the bounds and the step."""
        self.lower_bound = _whole(self.lower_bound)
        self.upper_bound = _whole(self.upper_bound)
        self.step = _whole(self.step)
        _check_range(self.lower_bound, self.upper_bound)
        if self.step <= 0:
            raise ValueError(f"the step must be positive, not {self.step}")

    def __add__(self, other: Parameter) -> Parameter:
        if isinstance(other, CategoricalParameter | ConstantParameter):
            return other + self
        if not isinstance(other, DiscreteParameter):
            raise ValueError(f"{self!r} and {other!r} can't be merged into one input")
        return self


@dataclass(eq=False)
class CategoricalParameter(Parameter):
    """An input that has one of several values.

    Parameters
    ----------
    categories : list
        The values: text, numbers, truth values or None.

    Raises
    ------
    ValueError
        If a value occurs twice, or is NaN.
    TypeError
        If a value has another type, or if `categories` is a text, or no list at all.
    """

    type_name: ClassVar[str] = "category"
    own_fields: ClassVar[tuple[str, ...]] = ("categories",)

    categories: Sequence[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the values."""
        given: Any = self.categories
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise TypeError(f"the categories must be a list of values, not {given!r}: write [{given!r}]")
        self.categories = [_stored_value(value, "category") for value in given]
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"the categories have a duplicate value: {self.categories}")

    @property
    def allows_none(self) -> bool:
        """Whether None is one of the values."""
        return None in self.categories

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CategoricalParameter) and (set(self.categories) == set(other.categories))

    def __add__(self, other: Parameter) -> Parameter:
        if isinstance(other, CategoricalParameter):
            more = other.categories
        elif isinstance(other, ConstantParameter):
            more = [other.value]
        elif isinstance(other, DiscreteParameter):
            more = list(range(other.lower_bound, other.upper_bound + 1, other.step))
        else:
            raise ValueError(f"{self!r} and {other!r} can't be merged into one input")
        return CategoricalParameter(list(dict.fromkeys([*self.categories, *more])))


@dataclass(eq=False)
class ConstantParameter(Parameter):
    """An input with a constant value.

    Parameters
    ----------
    value : Any
        The value.

    Raises
    ------
    TypeError
        If the value is not hashable, or can't be stored in a table.
    ValueError
        If the value is NaN.
    """

    type_name: ClassVar[str] = "constant"
    own_fields: ClassVar[tuple[str, ...]] = ("value",)

    value: Any = None

    def __post_init__(self) -> None:
        """Check the value."""
        self.value = _stored_value(self.value, "constant")

    def to_categorical(self) -> CategoricalParameter:
        """Return an input whose only value is this one."""
        return CategoricalParameter([self.value])

    @property
    def allows_none(self) -> bool:
        """Whether the value is None."""
        return self.value is None

    def __add__(self, other: Parameter) -> Parameter:
        if isinstance(other, ConstantParameter) and self.value == other.value:
            return self
        return CategoricalParameter([self.value]) + other


@dataclass(eq=False)
class ArrayParameter(Parameter):
    """An array of floats as one input.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the array.
    lower_bound : float or nested list, default -inf
        Smallest value, of all elements or of each.
    upper_bound : float or nested list, default inf
        Largest value, of all elements or of each.

    Raises
    ------
    ValueError
        If the shape is empty, or has a size that is not positive.
    """

    type_name: ClassVar[str] = "array"
    own_fields: ClassVar[tuple[str, ...]] = ("shape", "lower_bound", "upper_bound")

    shape: Any = ()
    lower_bound: Any = -math.inf
    upper_bound: Any = math.inf

    def __post_init__(self) -> None:
        """Check the shape and the bounds."""
        sizes = [self.shape] if isinstance(self.shape, int) else self.shape
        self.shape = tuple(int(size) for size in sizes)
        if not self.shape or min(self.shape) <= 0:
            raise ValueError(f"the shape must consist of positive sizes, not {list(self.shape)}")
        self.lower_bound = _plain_bound(self.lower_bound)
        self.upper_bound = _plain_bound(self.upper_bound)

    def _own_fields(self) -> dict[str, Any]:
        return {**super()._own_fields(), "shape": list(self.shape)}


def _stored_value(value: Any, what: str) -> Any:
    """Return a value as an experiment gets it."""
    try:
        stored = from_jsonable(to_jsonable(value))
        hash(stored)
    except (TypeError, ValueError) as error:
        raise type(error)(f"the {what} is not valid: {error}") from error
    if is_missing(value) and value is not None:
        raise ValueError(f"the {what} {value!r} is not valid: it means a missing value; use None or text")
    return stored


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"the upper bound must be above the lower bound, not {low} .. {high}")


def _whole(number: Any) -> int:
    try:
        whole = int(number)
    except OverflowError:
        whole = None
    if whole is None or whole != number:
        raise ValueError(f"the bounds and the step of an integer input must be integers, not {number!r}")
    return whole


def _plain_bound(bound: Any) -> Any:
    if hasattr(bound, "tolist"):
        return bound.tolist()
    bound = plain(bound)
    return bound if isinstance(bound, list | tuple) else float(bound)


PARAMETER_TYPES: dict[str, type[Parameter]] = {
    cls.type_name: cls
    for cls in (
        ContinuousParameter,
        DiscreteParameter,
        CategoricalParameter,
        ConstantParameter,
        ArrayParameter,
    )
}
