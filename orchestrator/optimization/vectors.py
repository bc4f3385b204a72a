"""The inputs of an experiment as one vector of floats, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.data.parameters import ArrayParameter, ContinuousParameter
from orchestrator.data.values import to_jsonable
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Inputs", "domain_bounds", "optimized_names"]


@dataclass(frozen=True)
class Inputs:
    """The inputs that are optimized, and the values of all others.

    Attributes
    ----------
    names : list of str
        The inputs that are optimized, in the order of the vector.
    shapes : dict of str to tuple of int
        Shapes of those that are arrays.
    others : dict of str to Any
        The other inputs.
    """

    names: list[str]
    shapes: dict[str, tuple[int, ...]]
    others: dict[str, Any]

    @classmethod
    def of(cls, names: Sequence[str], values: Mapping[str, Any]) -> Inputs:
        """Return the inputs of an experiment that others differ from only in the optimized ones.

        Parameters
        ----------
        names : sequence of str
            The inputs that are optimized.
        values : mapping of str to Any
            The inputs of the experiment.
        """
        import numpy as np

        shapes = {name: np.shape(values[name]) for name in names if np.shape(values.get(name, 0.0))}
        return cls(list(names), shapes, {name: value for name, value in values.items() if name not in names})

    def vector(self, values: Mapping[str, Any]) -> np.ndarray:
        """Return the vector of an experiment.

        Raises
        ------
        DefinitionError
            If the experiment has no value of an input, or one that is not a number.
        """
        vector = self.vector_or_none(values)
        if vector is None:
            raise DefinitionError(
                f"The experiment to start from needs numbers as values of {', '.join(self.names)}.",
                "Set them in the last row of the table.",
            )
        return vector

    def vector_or_none(self, values: Mapping[str, Any]) -> np.ndarray | None:
        """Return the vector of an experiment; None if a value is not a number, or it differs in other inputs."""
        import numpy as np

        if to_jsonable({n: v for n, v in values.items() if n not in self.names}) != to_jsonable(self.others):
            return None
        try:
            arrays = [np.asarray(values[name], dtype=float) for name in self.names]
        except (KeyError, TypeError, ValueError):
            return None
        if any(array.shape != self.shapes.get(name, ()) for name, array in zip(self.names, arrays, strict=True)):
            return None
        return np.concatenate([array.ravel() for array in arrays])

    def sample(self, vector: np.ndarray) -> dict[str, Any]:
        """Return the inputs of an experiment, the optimized ones from a vector."""
        values, begin = dict(self.others), 0
        for name in self.names:
            shape = self.shapes.get(name)
            size = 1 if shape is None else _size(shape)
            part = vector[begin : begin + size]
            values[name] = float(part[0]) if shape is None else part.reshape(shape).copy()
            begin += size
        return values

    def argument(self, vector: np.ndarray) -> np.ndarray:
        """Return the argument of the user's gradient: the array, if only one array is optimized, else the vector."""
        return vector.reshape(self.shapes[self.names[0]]) if len(self.names) == 1 and self.shapes else vector

    @staticmethod
    def key(vector: np.ndarray) -> bytes:
        """Return a key that is the same for equal vectors."""
        return (vector + 0.0).tobytes()  # -0.0 becomes 0.0


def optimized_names(data: ExperimentData, names: str | Sequence[str] | None) -> list[str]:
    """Return the names of the inputs that are optimized.

    Parameters
    ----------
    data : ExperimentData
        The table.
    names : str, sequence of str or None
        The inputs; None for all arrays and floats of the domain.

    Raises
    ------
    DefinitionError
        If there is no such input.
    """
    space = data.domain.input_space
    if names is None:
        names = [name for name, each in space.items() if isinstance(each, ArrayParameter | ContinuousParameter)]
    chosen = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in chosen if name not in space]
    if unknown or not chosen:
        what = f"has no input {unknown[0]!r}" if unknown else "has no float or array input"
        raise DefinitionError(
            f"The domain {what} to optimize.", f"Use input_name with one of its inputs: {', '.join(space) or '(none)'}"
        )
    return chosen


def domain_bounds(data: ExperimentData, inputs: Inputs) -> list[tuple[float, float]]:
    """Return the bounds of each element of the vector in the domain; infinite ones where it has none."""
    import numpy as np

    pairs: list[tuple[float, float]] = []
    for name in inputs.names:
        parameter, shape = data.domain.input_space[name], inputs.shapes.get(name, ())
        low, high = getattr(parameter, "lower_bound", -np.inf), getattr(parameter, "upper_bound", np.inf)
        lows, highs = (np.broadcast_to(np.asarray(bound, dtype=float), shape).ravel() for bound in (low, high))
        pairs += zip(lows.tolist(), highs.tolist(), strict=True)
    return pairs


def _size(shape: Sequence[int]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size
