"""The domain: which inputs an experiment has, where they may lie, and which outputs it gives.

Names and the JSON form are those of f3dasm's ``domain.json``. Only the standard library is imported:
a task on a node reads a domain without paying for NumPy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.data.references import Reference, freeze_function, thaw_function
from orchestrator.data.values import from_jsonable, to_jsonable
from orchestrator.errors import DataError

__all__ = [
    "ArrayParameter",
    "CategoricalParameter",
    "ConstantParameter",
    "ContinuousParameter",
    "DiscreteParameter",
    "Domain",
    "Parameter",
]


class Parameter:
    """An input or output of any kind.

    Parameters
    ----------
    to_disk : bool, default False
        Whether the values lie in files of their own; the table then holds their paths.
    store_function : callable or None, default None
        ``store_function(object, path) -> path``; only with `to_disk`.
    load_function : callable or None, default None
        ``load_function(path, **load_kwargs) -> object``; only with `to_disk`.
    load_kwargs : dict or None, default None
        Further arguments for `load_function`; only with `to_disk`.

    Raises
    ------
    ValueError
        A function is given without `to_disk`.
    """

    kind: ClassVar[str] = "object"

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
        # Read from a file they stay pickled until somebody asks: the module that they come from
        # need not be importable here.
        self._frozen = functions

    @property
    def store_function(self) -> Callable[..., Any] | None:
        """The function that writes a value, or None for the built-in ones."""
        function: Callable[..., Any] | None = thaw_function(self._frozen[0])
        return function

    @property
    def load_function(self) -> Callable[..., Any] | None:
        """The function that reads a value, or None for the built-in ones."""
        function: Callable[..., Any] | None = thaw_function(self._frozen[1])
        return function

    @property
    def load_kwargs(self) -> dict[str, Any] | None:
        """Further arguments for the load function."""
        kwargs: dict[str, Any] | None = thaw_function(self._frozen[2])
        return kwargs

    def refer_to(self, path: str) -> Reference:
        """Return the reference to an object on disk.

        Parameters
        ----------
        path : str
            Its path.

        Returns
        -------
        Reference
            The path, with this parameter's way to load what lies there.
        """
        return Reference(path, self._frozen[1], self._frozen[2])

    def to_json(self) -> dict[str, Any]:
        """Return f3dasm's JSON form of the parameter."""
        content = {
            "type": self.kind,
            "to_disk": self.to_disk,
            "store_function": freeze_function(self._frozen[0]),
            "load_function": freeze_function(self._frozen[1]),
            "load_kwargs": freeze_function(self._frozen[2]),
        }
        return content | self._own_fields()

    def _own_fields(self) -> dict[str, Any]:
        if not is_dataclass(self):
            return {}
        return {name: to_jsonable(value) for name, value in asdict(self).items()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Parameter:
        """Make a parameter of its JSON form.

        Parameters
        ----------
        content : Mapping
            What `to_json` or f3dasm returned.

        Returns
        -------
        Parameter
            The parameter, of the class that its ``type`` names.

        Raises
        ------
        DataError
            The type isn't known.
        """
        kind = content.get("type")
        if kind == Parameter.kind:
            frozen = (content.get(n) for n in ("store_function", "load_function", "load_kwargs"))
            return Parameter(bool(content.get("to_disk")), *frozen)
        if kind not in _KINDS:
            raise DataError(
                f"the domain has a parameter of the unknown type {kind!r}",
                "Known types: " + ", ".join([Parameter.kind, *_KINDS]),
            )
        cls = _KINDS[kind]
        names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: from_jsonable(content[name]) for name in names if name in content})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parameter) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Parameter) -> Parameter:
        return self

    def __repr__(self) -> str:
        own = ", ".join(f"{name}={value!r}" for name, value in self._own_fields().items())
        return f"{type(self).__name__}({own or f'to_disk={self.to_disk}'})"


@dataclass(eq=False, repr=False)
class ContinuousParameter(Parameter):
    """A float input.

    Parameters
    ----------
    lower_bound : float, default -inf
        Smallest value.
    upper_bound : float, default inf
        Largest value.
    log : bool, default False
        Whether samplers spread its logarithm evenly; wants a positive lower bound.

    Raises
    ------
    ValueError
        The bounds are no range, or not positive with `log`.
    """

    kind: ClassVar[str] = "float"
    lower_bound: float = -math.inf
    upper_bound: float = math.inf
    log: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.lower_bound = float(self.lower_bound)
        self.upper_bound = float(self.upper_bound)
        if self.log and self.lower_bound <= 0:
            raise ValueError(f"log=True needs a lower bound above 0, not {self.lower_bound}")
        _check_range(self.lower_bound, self.upper_bound)

    def __add__(self, other: Parameter) -> Parameter:
        if not isinstance(other, ContinuousParameter) or other.log != self.log:
            raise ValueError(f"{self!r} and {other!r} can't be joined to one input")
        if self.lower_bound > other.upper_bound or other.lower_bound > self.upper_bound:
            raise ValueError(f"{self!r} and {other!r} don't overlap")
        low = min(self.lower_bound, other.lower_bound)
        return ContinuousParameter(low, max(self.upper_bound, other.upper_bound), self.log)


@dataclass(eq=False, repr=False)
class DiscreteParameter(Parameter):
    """An integer input: `lower_bound`, `lower_bound` + `step`, ... up to `upper_bound`.

    Parameters
    ----------
    lower_bound : int, default 0
        Smallest value.
    upper_bound : int, default 1
        No value is above it.
    step : int, default 1
        Distance between values.

    Raises
    ------
    ValueError
        The bounds are no range, or the step isn't positive.
    """

    kind: ClassVar[str] = "int"
    lower_bound: int = 0
    upper_bound: int = 1
    step: int = 1

    def __post_init__(self) -> None:
        super().__init__()
        self.lower_bound = int(self.lower_bound)
        self.upper_bound = int(self.upper_bound)
        self.step = int(self.step)
        _check_range(self.lower_bound, self.upper_bound)
        if self.step <= 0:
            raise ValueError(f"the step must be positive, not {self.step}")

    def __add__(self, other: Parameter) -> Parameter:
        if isinstance(other, CategoricalParameter | ConstantParameter):
            return other + self
        if not isinstance(other, DiscreteParameter):
            raise ValueError(f"{self!r} and {other!r} can't be joined to one input")
        return self


@dataclass(eq=False, repr=False)
class CategoricalParameter(Parameter):
    """An input that takes one of some values.

    Parameters
    ----------
    categories : list
        The values: text, numbers, None.

    Raises
    ------
    ValueError
        A value is there twice.
    """

    kind: ClassVar[str] = "category"
    categories: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.categories = [from_jsonable(to_jsonable(value)) for value in self.categories]
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"a category is there twice: {self.categories}")

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
            raise ValueError(f"{self!r} and {other!r} can't be joined to one input")
        return CategoricalParameter(list(dict.fromkeys([*self.categories, *more])))


@dataclass(eq=False, repr=False)
class ConstantParameter(Parameter):
    """An input that never changes.

    Parameters
    ----------
    value : Any
        Its value.

    Raises
    ------
    TypeError
        The value isn't hashable.
    """

    kind: ClassVar[str] = "constant"
    value: Any = None

    def __post_init__(self) -> None:
        super().__init__()
        self.value = from_jsonable(to_jsonable(self.value))
        hash(self.value)

    def __add__(self, other: Parameter) -> Parameter:
        if isinstance(other, ConstantParameter) and self.value == other.value:
            return self
        return CategoricalParameter([self.value]) + other


@dataclass(eq=False, repr=False)
class ArrayParameter(Parameter):
    """An array of floats as one input.

    Parameters
    ----------
    shape : int or sequence of int
        The array's shape.
    lower_bound : float or nested list, default -inf
        Smallest value, of all elements or of each.
    upper_bound : float or nested list, default inf
        Largest value, of all elements or of each.

    Raises
    ------
    ValueError
        The shape is empty or has a size that isn't positive.
    """

    kind: ClassVar[str] = "array"
    shape: Any = ()
    lower_bound: Any = -math.inf
    upper_bound: Any = math.inf

    def __post_init__(self) -> None:
        super().__init__()
        sizes = [self.shape] if isinstance(self.shape, int) else self.shape
        self.shape = [int(size) for size in sizes]
        if not self.shape or min(self.shape) <= 0:
            raise ValueError(f"the shape must be positive sizes, not {self.shape}")
        self.lower_bound = _plain_bound(self.lower_bound)
        self.upper_bound = _plain_bound(self.upper_bound)


@dataclass
class Domain:
    """The inputs and outputs of a study.

    Parameters
    ----------
    input_space : dict of str to Parameter, default {}
        The inputs by name.
    output_space : dict of str to Parameter, default {}
        The outputs by name.

    Examples
    --------
    >>> domain = Domain()
    >>> domain.add_float("x", low=0.0, high=1.0)
    >>> domain.add_output("y")
    >>> domain.input_names, domain.output_names
    (['x'], ['y'])
    """

    input_space: dict[str, Parameter] = field(default_factory=dict)
    output_space: dict[str, Parameter] = field(default_factory=dict)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in the order in which they were added."""
        return list(self.input_space)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order in which they were added."""
        return list(self.output_space)

    def __len__(self) -> int:
        return len(self.input_space)

    def __bool__(self) -> bool:
        return bool(self.input_space or self.output_space)

    def __add__(self, other: Domain) -> Domain:
        inputs = dict(self.input_space)
        for name, parameter in other.input_space.items():
            inputs[name] = inputs[name] + parameter if name in inputs else parameter
        return Domain(inputs, {**self.output_space, **other.output_space})

    def copy(self) -> Domain:
        """Return a domain that can be changed without changing this one."""
        return Domain(dict(self.input_space), dict(self.output_space))

    def add_float(self, name: str, low: float = -math.inf, high: float = math.inf, log: bool = False) -> None:
        """Add a float input; with equal bounds it is a constant.

        Parameters
        ----------
        name : str
            The input's name.
        low, high : float, default -inf, inf
            Its bounds; samplers need both finite.
        log : bool, default False
            Whether samplers spread its logarithm evenly.

        Raises
        ------
        KeyError
            There is an input of that name.
        ValueError
            The bounds are no range.
        """
        if math.isclose(low, high):
            self.add_constant(name, low)
        else:
            self._add_input(name, ContinuousParameter(low, high, log))

    def add_int(self, name: str, low: int, high: int, step: int = 1) -> None:
        """Add an integer input; with equal bounds it is a constant.

        Parameters
        ----------
        name : str
            The input's name.
        low, high : int
            Its bounds, both included.
        step : int, default 1
            Distance between values, counted from `low`.

        Raises
        ------
        KeyError
            There is an input of that name.
        ValueError
            The bounds are no range, or the step isn't positive.
        """
        if low == high:
            self.add_constant(name, low)
        else:
            self._add_input(name, DiscreteParameter(low, high, step))

    def add_category(self, name: str, categories: Sequence[Any]) -> None:
        """Add an input that takes one of some values.

        Parameters
        ----------
        name : str
            The input's name.
        categories : sequence
            Its values.

        Raises
        ------
        KeyError
            There is an input of that name.
        ValueError
            A value is there twice.
        """
        self._add_input(name, CategoricalParameter(list(categories)))

    def add_constant(self, name: str, value: Any) -> None:
        """Add an input that never changes.

        Parameters
        ----------
        name : str
            The input's name.
        value : Any
            Its value.

        Raises
        ------
        KeyError
            There is an input of that name.
        """
        self._add_input(name, ConstantParameter(value))

    def add_array(
        self,
        name: str,
        shape: int | Sequence[int],
        low: Any = -math.inf,
        high: Any = math.inf,
    ) -> None:
        """Add an array of floats as one input.

        Parameters
        ----------
        name : str
            The input's name.
        shape : int or sequence of int
            The array's shape.
        low, high : float or array, default -inf, inf
            Its bounds.

        Raises
        ------
        KeyError
            There is an input of that name.
        """
        self._add_input(name, ArrayParameter(shape, low, high))

    def add_parameter(self, name: str, to_disk: bool = False, **functions: Any) -> None:
        """Add an input of any kind.

        Parameters
        ----------
        name : str
            The input's name.
        to_disk : bool, default False
            Whether its values lie in files of their own.
        **functions : Any
            `store_function`, `load_function` and `load_kwargs` as in `Parameter`.

        Raises
        ------
        KeyError
            There is an input of that name.
        """
        self._add_input(name, Parameter(to_disk, **functions))

    def add(self, name: str, type: str, **arguments: Any) -> None:
        """Add an input of the kind that `type` names.

        Parameters
        ----------
        name : str
            The input's name.
        type : {"float", "int", "category", "constant", "array"}
            Its kind.
        **arguments : Any
            Those of ``add_<type>``.

        Raises
        ------
        ValueError
            There is no such kind.
        """
        if type not in _KINDS:
            raise ValueError(f"{type!r} is no kind of input; use {', '.join(_KINDS)}")
        getattr(self, f"add_{type}")(name, **arguments)

    def add_output(self, name: str, to_disk: bool = False, exist_ok: bool = False, **functions: Any) -> None:
        """Add an output.

        Parameters
        ----------
        name : str
            The output's name.
        to_disk : bool, default False
            Whether its values lie in files of their own.
        exist_ok : bool, default False
            Whether an output of that name may be there already; it is then left as it is.
        **functions : Any
            `store_function`, `load_function` and `load_kwargs` as in `Parameter`.

        Raises
        ------
        KeyError
            There is an output of that name.
        """
        if name not in self.output_space:
            self.output_space[name] = Parameter(to_disk, **functions)
        elif not exist_ok:
            raise KeyError(f"the domain has an output {name!r} already")

    def _add_input(self, name: str, parameter: Parameter) -> None:
        if name in self.input_space:
            raise KeyError(f"the domain has an input {name!r} already")
        self.input_space[name] = parameter

    def to_json(self) -> dict[str, Any]:
        """Return what f3dasm's ``domain.json`` holds."""
        return {
            "input_space": {name: p.to_json() for name, p in self.input_space.items()},
            "output_space": {name: p.to_json() for name, p in self.output_space.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Domain:
        """Make a domain of what `to_json` returned; further keys are passed over.

        Parameters
        ----------
        content : Mapping
            The JSON object.

        Returns
        -------
        Domain
            The domain.

        Raises
        ------
        DataError
            The object is no domain.
        """
        try:
            inputs, outputs = content["input_space"], content["output_space"]
            return cls(
                {name: Parameter.from_json(value) for name, value in inputs.items()},
                {name: Parameter.from_json(value) for name, value in outputs.items()},
            )
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise DataError(f"this is no domain: {error!r}") from error

    @classmethod
    def from_file(cls, filename: Path | str) -> Domain:
        """Read a ``domain.json``.

        Parameters
        ----------
        filename : Path or str
            The file; the suffix may be left out.

        Returns
        -------
        Domain
            The domain.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        DataError
            The file holds no domain.
        """
        path = Path(filename).with_suffix(".json")
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise DataError(f"{path} is no JSON: {error}") from error

    def store(self, filename: Path | str) -> None:
        """Write a ``domain.json``, wholly or not at all.

        Parameters
        ----------
        filename : Path or str
            The file; the suffix may be left out.
        """
        path = Path(filename).with_suffix(".json")
        aside = path.with_name(path.name + ".tmp")
        aside.write_text(json.dumps(self.to_json(), indent=4), encoding="utf-8")
        aside.replace(path)


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"the upper bound must be above the lower one, not {low} .. {high}")


def _plain_bound(bound: Any) -> Any:
    if hasattr(bound, "tolist"):
        return bound.tolist()
    return bound if isinstance(bound, list | tuple) else float(bound)


_KINDS: dict[str, type[Parameter]] = {
    cls.kind: cls
    for cls in (
        ContinuousParameter,
        DiscreteParameter,
        CategoricalParameter,
        ConstantParameter,
        ArrayParameter,
    )
}
