"""`PlainFunction`: experiments whose data generator is only a function, and whose values are only numbers and texts.

The function is called without an `ExperimentSample`, which takes longer than all the rest of a small experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.definition.data_generators import DataGenerator, FunctionDataGenerator
from orchestrator.handoff.manifest import Entry
from orchestrator.text import is_clean

__all__ = ["PlainFunction"]

_PLAIN = {float, int, str, bool}
"""Types whose JSON is the values themselves."""


class PlainFunction:
    """The function of a data generator.

    Parameters
    ----------
    generator : FunctionDataGenerator
        The data generator.
    kwargs : mapping of str to Any
        The kwargs of each call.
    """

    def __init__(self, generator: FunctionDataGenerator, kwargs: Mapping[str, Any]) -> None:
        self.generator = generator
        self._f, self._names = generator.f, generator.output_names
        self._kwargs = kwargs
        self._name = self._names[0] if len(self._names) == 1 else None
        self._usual: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, generator: DataGenerator, kwargs: Mapping[str, Any], expected: Sequence[str] | None
    ) -> PlainFunction | None:
        """Return the function of a data generator whose outputs need no check but that of their types; None of others.

        Parameters
        ----------
        generator : DataGenerator
            The data generator.
        kwargs : mapping of str to Any
            The kwargs of each call.
        expected : sequence of str or None
            Names of the outputs that it may store; None: all.
        """
        if type(generator) is not FunctionDataGenerator or "execute" in vars(generator):
            return None
        if generator.domain is not None or generator.needs_scratch or not generator.allow_nan:
            return None
        names = generator.output_names
        is_declared = expected is None or set(names) <= set(expected)
        are_names = all(isinstance(name, str) and name and is_clean(name) for name in names)
        return cls(generator, kwargs) if is_declared and are_names else None

    @staticmethod
    def takes(entry: Entry) -> bool:
        """Whether the values of an experiment are plain, and it has no outputs yet."""
        return not entry.outputs and _PLAIN.issuperset(map(type, entry.inputs.values()))

    def returned(self, inputs: Mapping[str, Any]) -> Any:
        """Return what the function returns for an experiment."""
        if tuple(inputs) == self._usual:
            return self._f(**{**self._kwargs, **inputs}) if self._kwargs else self._f(**inputs)
        arguments = self.generator.arguments_of(inputs, self._kwargs)
        self.generator.check_arguments(arguments)
        if self.generator.takes(list(inputs)):  # so do the next experiments with the same names
            self._usual = tuple(inputs)
        return self._f(**arguments)

    def outputs(self, returned: Any) -> dict[str, float] | None:
        """Return the outputs by name, if the function has returned floats, as many as it has outputs; else None."""
        if type(returned) is float and self._name is not None:
            return {self._name: returned}
        values = returned if type(returned) is tuple else (returned,)
        if len(values) != len(self._names) or {*map(type, values)} != {float}:
            return None
        return dict(zip(self._names, values, strict=True))
