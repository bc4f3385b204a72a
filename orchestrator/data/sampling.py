"""Draw the inputs of new experiments from a domain: the same values as f3dasm 2.4 for the same seed.

As in f3dasm, the inputs of each type are drawn from random numbers of their own, which begin with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING, Any

from orchestrator.data.domain import Domain
from orchestrator.data.parameters import (
    ArrayParameter,
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["sample_grid", "sample_latin", "sample_random", "sample_sobol"]


Points = Callable[[int, int, "np.random.Generator"], "np.ndarray"]
"""Returns points of the unit cube, for a number of points, a number of dimensions, and random numbers."""


def sample_random(domain: Domain, n_samples: int, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """Draw inputs independently and uniformly.

    Parameters
    ----------
    domain : Domain
        The domain. Float inputs and arrays must have finite bounds.
    n_samples : int
        Number of rows.
    seed : int, Generator or None, default None
        Seed of the random numbers, or what draws them. The same seed gives the same values.

    Returns
    -------
    pandas.DataFrame
        One row per experiment, one column per input, in the domain's order.

    Raises
    ------
    DefinitionError
        If `n_samples` is negative, or an input can't be sampled.
    """
    return _sampled(domain, n_samples, seed, _uniform, _uniform)


def sample_latin(domain: Domain, n_samples: int, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """Draw a Latin hypercube: each of the `n_samples` strata of a float or an element of an array gets one value.

    Other inputs are drawn uniformly. Parameters, return value and errors are those of `sample_random`.
    """
    return _sampled(domain, n_samples, seed, _latin, _latin)


def sample_sobol(domain: Domain, n_samples: int, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """Draw floats and arrays from Sobol sequences; that of the floats is always the same.

    Other inputs are drawn uniformly. Parameters, return value and errors are those of `sample_random`.
    """
    return _sampled(domain, n_samples, seed, _sobol, partial(_saltelli, seed=seed))


def sample_grid(domain: Domain, step: float | Mapping[str, float] | None = None) -> pd.DataFrame:
    """Combine all values of all inputs.

    Parameters
    ----------
    domain : Domain
        The domain. Float inputs and arrays must have finite bounds.
    step : float, mapping or None, default None
        Distance of the values of float inputs and of elements of arrays, counted from the lower bound; the upper bound
        is excluded. A mapping has one for each name.

    Returns
    -------
    pandas.DataFrame
        One row per combination, one column per input, in the domain's order; the last input changes first.

    Raises
    ------
    DefinitionError
        If an input can't be sampled, or has no step.
    """
    import pandas as pd

    _check(domain, 0)
    values = [list(_grid_values(name, parameter, step)) for name, parameter in domain.input_space.items()]
    rows = list(product(*values)) if values else []
    columns = {name: _objects([row[at] for row in rows]) for at, name in enumerate(domain.input_names)}
    return pd.DataFrame(columns, index=range(len(rows)))


def _grid_values(name: str, parameter: Parameter, step: float | Mapping[str, float] | None) -> Iterator[Any]:
    import numpy as np

    if isinstance(parameter, DiscreteParameter):
        yield from range(parameter.lower_bound, parameter.upper_bound + 1, parameter.step)
    elif isinstance(parameter, CategoricalParameter):
        yield from parameter.categories
    elif isinstance(parameter, ConstantParameter):
        yield parameter.value
    else:
        width = _step_of(name, step)
        low, high = (np.ravel(bound) for bound in _bounds(parameter))
        elements = [np.arange(*bounds, width).tolist() for bounds in zip(low, high, strict=True)]
        if isinstance(parameter, ContinuousParameter):
            yield from elements[0]
        else:
            yield from (np.reshape(each, parameter.shape) for each in product(*elements))  # type: ignore[attr-defined]


def _step_of(name: str, step: float | Mapping[str, float] | None) -> float:
    found = step.get(name) if isinstance(step, Mapping) else step
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
        raise DefinitionError(
            f"a grid of input {name!r} needs the distance of its values, a number above 0, not {found!r}",
            f"Use stepsize_continuous_parameters={{{name!r}: ...}}, or one number for all inputs.",
        )
    return found


# --- points of the unit cube ---------------------------------------------------------------------


def _uniform(n: int, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random((n, dimensions))


def _latin(n: int, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    import numpy as np

    if not n:
        return np.empty((0, dimensions))
    low = np.arange(n)[:, None] * (1 / n)
    points: np.ndarray = low + (np.arange(1, n + 1)[:, None] * (1 / n) - low) * rng.random((n, dimensions))
    for column in points.T:
        rng.shuffle(column)
    return points


def _sobol(n: int, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.stats import qmc

    return qmc.Sobol(dimensions, scramble=False).random_base2(ceil_log2(n))[:n]


def _saltelli(n: int, dimensions: int, rng: np.random.Generator, seed: Any) -> np.ndarray:
    """Return a scrambled Sobol sequence as sensitivity analyses use it: each point, and it with one other element."""
    import numpy as np
    from scipy.stats import qmc

    power = ceil_log2(ceil(n / (dimensions + 2)))
    # SciPy draws other numbers for a Generator than for the number that it begins with.
    base = qmc.Sobol(2 * dimensions, **_seeded(seed if isinstance(seed, int) else rng)).random_base2(power)
    points = np.repeat(base[:, None, :dimensions], dimensions + 2, axis=1)
    for at in range(dimensions):
        points[:, at + 1, at] = base[:, at + dimensions]
    points[:, -1] = base[:, dimensions:]
    return points.reshape(-1, dimensions)[:n]


def ceil_log2(n: int) -> int:
    """Return the smallest exponent of a power of two that is not below a number."""
    return max(n - 1, 0).bit_length()


def _seeded(seed: int | np.random.Generator) -> dict[str, Any]:
    """Return the keyword of SciPy for random numbers. A number draws as SALib draws it, only under its old name."""
    import inspect

    from scipy.stats import qmc

    names = inspect.signature(qmc.Sobol).parameters
    is_old = "rng" not in names or (isinstance(seed, int) and "seed" in names)
    return {"seed" if is_old else "rng": seed}


def _check(domain: Domain, n_samples: int) -> None:
    if n_samples < 0:
        raise DefinitionError(f"n_samples={n_samples} is not valid", "Use 0 or more.")
    for name, parameter in domain.input_space.items():
        if type(parameter) is Parameter:
            raise DefinitionError(
                f"input {name!r} of type {parameter.type_name!r} can't be sampled",
                "Use float, int, category, constant or array inputs.",
            )
        if isinstance(parameter, CategoricalParameter) and not parameter.categories:
            raise DefinitionError(
                f"input {name!r} can't be sampled: it has no values",
                f"Use domain.add_category({name!r}, [...]) with at least one value.",
            )
        if isinstance(parameter, DiscreteParameter):
            low, high = parameter.lower_bound, parameter.upper_bound
            if low < -(2**63) or high >= 2**63 or high - low >= 2**63:
                raise DefinitionError(
                    f"input {name!r} can't be sampled: its range is too large",
                    "Use bounds of 64 bits, less than 2**63 apart.",
                )
        if isinstance(parameter, ContinuousParameter | ArrayParameter) and not _is_finite(parameter):
            raise DefinitionError(
                f"input {name!r} can't be sampled: its range is infinite",
                f"Set its bounds: domain.add_{parameter.type_name}({name!r}, low=..., high=...).",
            )


def _is_finite(parameter: Any) -> bool:
    import numpy as np

    low, high = _bounds(parameter)
    return bool(np.all(np.isfinite(high - low)))


def _bounds(parameter: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of a float, or of each element of an array."""
    import numpy as np

    shape = parameter.shape if isinstance(parameter, ArrayParameter) else ()
    low, high = (np.asarray(bound, float) for bound in (parameter.lower_bound, parameter.upper_bound))
    return np.broadcast_to(low, shape), np.broadcast_to(high, shape)


def _sampled(domain: Domain, n: int, seed: Any, of_floats: Points, of_arrays: Points) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    _check(domain, n)
    # Without a seed, all inputs share one stream of random numbers.
    shared = np.random.default_rng(seed) if seed is None or isinstance(seed, np.random.Generator) else None

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed) if shared is None else shared

    columns = {
        **_floats(_of_type(domain, ContinuousParameter), n, rng, of_floats),
        **_picked(_of_type(domain, DiscreteParameter), n, rng),
        **_picked(_of_type(domain, CategoricalParameter), n, rng),
        **{name: _objects([parameter.value] * n) for name, parameter in _of_type(domain, ConstantParameter).items()},
        **_arrays(_of_type(domain, ArrayParameter), n, rng, of_arrays),
    }
    return pd.DataFrame({name: columns[name] for name in domain.input_names}, index=range(n))


def _of_type(domain: Domain, cls: type[Parameter]) -> dict[str, Any]:
    return {name: parameter for name, parameter in domain.input_space.items() if isinstance(parameter, cls)}


def _floats(space: dict[str, Any], n: int, rng: Callable[[], Any], points: Points) -> dict[str, Any]:
    unit = points(n, len(space), rng()) if space else ()
    return {name: _scale(parameter, unit[:, at]) for at, (name, parameter) in enumerate(space.items())}  # type: ignore[call-overload]


def _scale(parameter: ContinuousParameter, unit: np.ndarray) -> np.ndarray:
    import numpy as np

    low, high = parameter.lower_bound, parameter.upper_bound
    logarithm = np.log(low) + unit * (np.log(high) - np.log(low)) if parameter.log else None
    values: np.ndarray = np.clip(low + unit * (high - low) if logarithm is None else np.exp(logarithm), low, high)
    return values


def _picked(space: dict[str, Any], n: int, rng: Callable[[], Any]) -> dict[str, Any]:
    """Draw integers, and values of categories."""
    counts = [_count(parameter) for parameter in space.values()]
    if not counts:
        return {}
    indexes = rng().integers(0, counts, size=(n, len(counts)))
    return {name: _value_at(parameter, indexes[:, at]) for at, (name, parameter) in enumerate(space.items())}


def _count(parameter: Any) -> int:
    if isinstance(parameter, CategoricalParameter):
        return len(parameter.categories)
    return int((parameter.upper_bound - parameter.lower_bound) // parameter.step + 1)


def _value_at(parameter: Any, indexes: np.ndarray) -> Any:
    if isinstance(parameter, CategoricalParameter):
        return _objects([parameter.categories[index] for index in indexes])
    return parameter.lower_bound + indexes * parameter.step


def _arrays(space: dict[str, Any], n: int, rng: Callable[[], Any], points: Points) -> dict[str, Any]:
    # Uniform elements of several arrays come from one stream, row by row.
    sizes = [prod(parameter.shape) for parameter in space.values()]
    together = iter(_split(_uniform(n, sum(sizes), rng()), sizes)) if points is _uniform and space else None
    columns = {}
    for (name, parameter), size in zip(space.items(), sizes, strict=True):
        unit = points(n, size, rng()) if together is None else next(together)
        low, high = _bounds(parameter)
        columns[name] = _objects(list(low + unit.reshape(n, *parameter.shape) * (high - low)))
    return columns


def _split(unit: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    import numpy as np

    return np.split(unit, np.cumsum(sizes)[:-1], axis=1)


def _objects(values: list[Any]) -> Any:
    """Return a column in which each value has its own type."""
    import pandas as pd

    from orchestrator.data.column import Column
    from orchestrator.data.columns import series_of

    return series_of(Column(values), pd.RangeIndex(len(values)))
