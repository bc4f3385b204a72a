"""The domain: which inputs an experiment has and which outputs it gives, by name.

Names and the JSON form are those of f3dasm's ``domain.json``. Only the standard library is imported:
a task on a node reads a domain without paying for NumPy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.data.parameters import (
    KINDS,
    ArrayParameter,
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.errors import DataError

# A study names the parameters together with the domain that they are in.
__all__ = [
    "ArrayParameter",
    "CategoricalParameter",
    "ConstantParameter",
    "ContinuousParameter",
    "DiscreteParameter",
    "Domain",
    "Parameter",
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
            `low` is larger than `high`, or `log` is set and `low` is not positive.
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
            `low` is larger than `high`, or the step isn't positive.
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
        if type not in KINDS:
            raise ValueError(f"{type!r} is no kind of input; use {', '.join(KINDS)}")
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
        """Make a domain from what `to_json` returned; other keys are ignored.

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
            The object does not describe a domain.
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
            The file is not JSON, or does not describe a domain.
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
        write_atomically(path, json.dumps(self.to_json(), indent=4).encode())
