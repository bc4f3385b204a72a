"""`Domain`: the inputs and outputs of the experiments of a study, by name.

Names and JSON are those of f3dasm's ``domain.json``. This module imports only the standard library, so that a task can
read a domain without the import of NumPy.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.atomic import write_atomically
from orchestrator.damage import read_whole
from orchestrator.data.configurations import fill_defaults, plain
from orchestrator.data.of_f3dasm import our_domain, their_domain
from orchestrator.data.parameters import (
    PARAMETER_TYPES,
    ArrayParameter,
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.data.values import check_name
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import numpy as np

# Studies import the parameters from the same module as the domain.
__all__ = [
    "ArrayParameter",
    "CategoricalParameter",
    "ConstantParameter",
    "ContinuousParameter",
    "DiscreteParameter",
    "Domain",
    "Parameter",
    "make_nd_continuous_domain",
]


@dataclass
class Domain:
    """The inputs and outputs of a study.

    Parameters
    ----------
    input_space : dict of str to Parameter, default {}
        The inputs by name.
    output_space : dict of str to Parameter, default {}
        The outputs by name.
    found_outputs : set of str, default {}
        Names of the outputs that were not declared: the table has columns of these names.
    notes : dict of str to Any, default {}
        What blocks keep with the table, as JSON values: for example where an optimizer has started.

    Examples
    --------
    >>> domain = Domain()
    >>> domain.add_float("x", low=0.0, high=1.0)
    >>> domain.add_category("method", ["a", "b"])
    >>> domain.add_output("y")
    >>> domain.input_names, domain.output_names
    (['x', 'method'], ['y'])
    """

    input_space: dict[str, Parameter] = field(default_factory=dict)
    output_space: dict[str, Parameter] = field(default_factory=dict)
    found_outputs: set[str] = field(default_factory=set, compare=False, repr=False)
    notes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Replace None by a new dict or set."""
        fill_defaults(self)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in the order in which they were added."""
        return list(self.input_space)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order in which they were added."""
        return list(self.output_space)

    @property
    def expected_outputs(self) -> list[str] | None:
        """Names of the outputs that a data generator may store; None if the domain declares none, so that all may."""
        return list(self.output_space) if self.output_space.keys() - self.found_outputs else None

    def __len__(self) -> int:
        return len(self.input_space)

    def __bool__(self) -> bool:
        return bool(self.input_space or self.output_space)

    def __add__(self, other: Domain) -> Domain:
        other = our_domain(other)
        inputs = dict(self.input_space)
        for name, parameter in other.input_space.items():
            inputs[name] = inputs[name] + parameter if name in inputs else parameter
        outputs = {**self.output_space, **other.output_space}
        declared = (self.output_space.keys() - self.found_outputs) | (other.output_space.keys() - other.found_outputs)
        return Domain(inputs, outputs, set(outputs.keys() - declared), {**other.notes, **self.notes})

    def _copy(self) -> Any:
        """Return a domain of f3dasm, for f3dasm's samplers, which make tables of f3dasm with it."""
        return their_domain(self)

    def _filter(self, type: type) -> Any:
        """Return a domain of f3dasm with the inputs of one type, for f3dasm's samplers."""
        return their_domain(self)._filter(type)

    def copy(self) -> Domain:
        """Return a copy. Changes to the copy do not change this domain."""
        return Domain(dict(self.input_space), dict(self.output_space), set(self.found_outputs), dict(self.notes))

    def add_float(self, name: str, low: float = -math.inf, high: float = math.inf, log: bool = False) -> None:
        """Add a float input. With equal bounds it is a constant.

        Parameters
        ----------
        name : str
            Name of the input.
        low, high : float, default -inf, inf
            The bounds, both included; samplers need finite ones.
        log : bool, default False
            Whether samplers draw its logarithm uniformly; this needs a positive `low`.

        Raises
        ------
        KeyError
            If an input of this name exists.
        ValueError
            If `low` is larger than `high`, or `log` is True and `low` is not positive.

        Examples
        --------
        >>> domain = Domain()
        >>> domain.add_float("rate", low=1e-5, high=1e-1, log=True)
        >>> domain.input_names
        ['rate']
        """
        if math.isclose(low, high):
            self.add_constant(name, low)
        else:
            self._add_input(name, ContinuousParameter(low, high, log))

    def add_int(self, name: str, low: int, high: int, step: int = 1) -> None:
        """Add an integer input. With equal bounds it is a constant.

        Parameters
        ----------
        name : str
            Name of the input.
        low, high : int
            The bounds, both included.
        step : int, default 1
            Distance between values, counted from `low`.

        Raises
        ------
        KeyError
            If an input of this name exists.
        ValueError
            If `low` is larger than `high`, the step is not positive, or one of them is not an integer.
        """
        if low == high:
            self.add_constant(name, low)
        else:
            self._add_input(name, DiscreteParameter(low, high, step))

    def add_category(self, name: str, categories: Sequence[Any]) -> None:
        """Add an input that has one of several values.

        Parameters
        ----------
        name : str
            Name of the input.
        categories : sequence
            The values: text, numbers, truth values or None. A member of an enum that is text or a number becomes the
            equal text or number. With None, an input of this name that has no value is None in each experiment.

        Raises
        ------
        KeyError
            If an input of this name exists.
        ValueError
            If a value occurs twice, or is NaN.
        TypeError
            If a value has another type, or if `categories` is a text, or no list at all.
        """
        self._add_input(name, CategoricalParameter(categories))

    def add_constant(self, name: str, value: Any) -> None:
        """Add an input with a constant value.

        Parameters
        ----------
        name : str
            Name of the input.
        value : Any
            The value.

        Raises
        ------
        KeyError
            If an input of this name exists.
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
            Name of the input.
        shape : int or sequence of int
            Shape of the array.
        low, high : float or array, default -inf, inf
            The bounds, of all elements or of each.

        Raises
        ------
        KeyError
            If an input of this name exists.
        """
        self._add_input(name, ArrayParameter(shape, low, high))

    def add_parameter(self, name: str, to_disk: bool = False, **functions: Any) -> None:
        """Add an input of any type.

        Parameters
        ----------
        name : str
            Name of the input.
        to_disk : bool, default False
            Whether each value is stored in its own file; the table then contains the path.
        **functions : Any
            `store_function`, `load_function` and `load_kwargs` as in `Parameter`.

        Raises
        ------
        KeyError
            If an input of this name exists.
        """
        self._add_input(name, Parameter(to_disk, **functions))

    def add(self, name: str, type: str, **arguments: Any) -> None:
        """Add an input of a type given by name.

        Parameters
        ----------
        name : str
            Name of the input.
        type : {"float", "int", "category", "constant", "array"}
            Its type.
        **arguments : Any
            Arguments of the method ``add_<type>``.

        Raises
        ------
        ValueError
            If there is no such type.
        KeyError
            If an input of this name exists.

        Examples
        --------
        >>> domain = Domain()
        >>> domain.add("n", "int", low=1, high=10)
        """
        if type not in PARAMETER_TYPES:
            raise ValueError(f"{type!r} is not a type of input; use {', '.join(PARAMETER_TYPES)}")
        getattr(self, f"add_{type}")(name, **arguments)

    def add_output(self, name: str, to_disk: bool = False, exist_ok: bool = False, **functions: Any) -> None:
        """Add an output.

        Parameters
        ----------
        name : str
            Name of the output.
        to_disk : bool, default False
            Whether each value is stored in its own file; the table then contains the path.
        exist_ok : bool, default False
            Whether an existing output of this name is accepted; it is then not changed.
        **functions : Any
            `store_function`, `load_function` and `load_kwargs` as in `Parameter`.

        Raises
        ------
        KeyError
            If an output of this name exists.

        Warns
        -----
        UserWarning
            If an input has this name.
        """
        check_name(name, "output")
        if name not in self.output_space:
            _warn_if_shared(name, self.input_space)
            self.output_space[name] = Parameter(to_disk, **functions)
        elif not exist_ok:
            raise KeyError(f"the domain already has an output {name!r}")
        self.found_outputs.discard(name)

    def add_found_output(self, name: str) -> None:
        """Add an output that a table has, and the domain does not declare. An existing one is not changed.

        Parameters
        ----------
        name : str
            Name of the output.
        """
        if name not in self.output_space:
            check_name(name, "output")
            self.output_space[name] = Parameter()
            self.found_outputs.add(name)

    def _add_input(self, name: str, parameter: Parameter) -> None:
        check_name(name, "input")
        if name in self.input_space:
            raise KeyError(f"the domain already has an input {name!r}")
        _warn_if_shared(name, self.output_space)
        self.input_space[name] = parameter

    def to_json(self) -> dict[str, Any]:
        """Return the content of f3dasm's ``domain.json``."""
        content: dict[str, Any] = {
            "input_space": {name: p.to_json() for name, p in self.input_space.items()},
            "output_space": {name: p.to_json() for name, p in self.output_space.items()},
        }
        if self.found_outputs:
            content["found_outputs"] = sorted(self.found_outputs)
        if self.notes:
            content["notes"] = self.notes
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Domain:
        """Create a domain from the return value of `to_json`. Other keys are ignored.

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
            If the object is not a valid domain.
        """
        try:
            inputs, outputs = content["input_space"], content["output_space"]
            return cls(
                {name: Parameter.from_json(value) for name, value in inputs.items()},
                {name: Parameter.from_json(value) for name, value in outputs.items()},
                {name for name in content.get("found_outputs", ()) if name in outputs},
                dict(content.get("notes", {})),
            )
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise DataError(f"this is not a valid domain: {error!r}") from error

    @classmethod
    def from_file(cls, filename: Path | str) -> Domain:
        """Read a ``domain.json``.

        Parameters
        ----------
        filename : Path or str
            Path of the file; the suffix ``.json`` is optional.

        Returns
        -------
        Domain
            The domain.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        DataError
            If the file is not valid JSON, or not a valid domain.
        """
        path = Path(filename).with_suffix(".json")
        try:
            return cls.from_json(json.loads(read_whole(path).decode()))
        except (ValueError, RecursionError) as error:  # JSON or UTF-8
            raise DataError(f"{path} is not valid JSON: {error}") from error

    @classmethod
    def from_data(
        cls, input_data: Iterable[Mapping[str, Any]], output_data: Iterable[Mapping[str, Any]] = ()
    ) -> Domain:
        """Create a domain from the names in experiments.

        Parameters
        ----------
        input_data, output_data : iterable of mapping
            The inputs and outputs of each experiment by name.

        Returns
        -------
        Domain
            Inputs and outputs of any type, sorted by name.
        """
        inputs, outputs = ({name for row in rows for name in row} for rows in (input_data, output_data))
        return cls({name: Parameter() for name in sorted(inputs)}, {name: Parameter() for name in sorted(outputs)})

    def get_bounds(self) -> np.ndarray:
        """Return the bounds of the inputs, which must be floats or integers.

        Returns
        -------
        numpy.ndarray
            An array of shape (inputs, 2): lower and upper bounds.

        Raises
        ------
        TypeError
            If an input has no bounds, or is an array.
        """
        import numpy as np

        for name, parameter in self.input_space.items():
            if not isinstance(parameter, ContinuousParameter | DiscreteParameter):
                raise TypeError(f"input {name!r} of type {parameter.type_name!r} has no lower and upper bound")
        bounds = [[p.lower_bound, p.upper_bound] for p in self.input_space.values()]  # type: ignore[attr-defined]
        return np.array(bounds)

    @classmethod
    def from_yaml(cls, cfg: Mapping[str, Any]) -> Domain:
        """Create a domain from a configuration of Hydra.

        Parameters
        ----------
        cfg : DictConfig or mapping
            Under `input`, each input by name: its `type` and the arguments of the method `add_<type>`. Under `output`,
            each output by name, with the arguments of `add_output`. Without `input`, the inputs themselves.

        Returns
        -------
        Domain
            The domain.

        Raises
        ------
        ValueError
            If an input has no type, or an unknown one.

        Examples
        --------
        >>> Domain.from_yaml({"input": {"x": {"type": "float", "low": 0.0, "high": 1.0}}}).input_names
        ['x']
        """
        content = plain(cfg)
        domain = cls()
        inputs = content.get("input", {name: value for name, value in content.items() if name != "output"})
        for name, arguments in inputs.items():
            domain.add(name, **{"type": None, **(arguments or {})})
        for name, arguments in content.get("output", {}).items():
            domain.add_output(name, **(arguments or {}))
        return domain

    def store(self, filename: Path | str) -> None:
        """Write a ``domain.json``, completely or not at all.

        Parameters
        ----------
        filename : Path or str
            Path of the file; the suffix ``.json`` is optional.
        """
        path = Path(filename).with_suffix(".json")
        write_atomically(path, json.dumps(self.to_json(), indent=4).encode())


def _warn_if_shared(name: str, others: Mapping[str, Parameter]) -> None:
    """Warn of an input and an output of one name, which f3dasm allows."""
    if name in others:
        warnings.warn(
            f"{name!r} is both an input and an output: experiment_sample.get({name!r}) returns the input. "
            "Give the output another name.",
            stacklevel=3,
        )


def make_nd_continuous_domain(bounds: Any, dimensionality: int | None = None) -> Domain:
    """Create a domain of float inputs ``x0``, ``x1``, ...

    Parameters
    ----------
    bounds : array or list of list
        The lower and the upper bound of each input: of the shape (inputs, 2).
    dimensionality : int or None, default None
        Number of inputs. It is not needed: `bounds` has one row for each.

    Returns
    -------
    Domain
        The domain.

    Raises
    ------
    ValueError
        If `bounds` has another shape, or another number of rows than `dimensionality`.

    Examples
    --------
    >>> make_nd_continuous_domain([[0.0, 1.0], [-5.0, 5.0]]).input_names
    ['x0', 'x1']
    """
    rows = [[float(bound) for bound in row] for row in bounds]
    if any(len(row) != 2 for row in rows) or dimensionality not in (None, len(rows)):
        raise ValueError(f"bounds must have two numbers for each of the {dimensionality or len(rows)} inputs")
    return Domain({f"x{at}": ContinuousParameter(low, high) for at, (low, high) in enumerate(rows)})
