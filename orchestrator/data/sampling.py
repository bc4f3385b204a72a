"""Draw the inputs of new experiments from a domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.data.domain import Domain
from orchestrator.data.parameters import (
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

__all__ = ["sample_latin", "sample_random"]


def sample_random(domain: Domain, n_samples: int, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """Draw inputs independently and uniformly.

    Parameters
    ----------
    domain : Domain
        The domain. Float inputs must have finite bounds.
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
    import numpy as np

    _check(domain, n_samples)
    return _scaled(domain, np.random.default_rng(seed).random((n_samples, len(domain))))


def sample_latin(domain: Domain, n_samples: int, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """Draw a Latin hypercube: each of the `n_samples` strata of an input gets one value.

    Parameters
    ----------
    domain : Domain
        The domain. Float inputs must have finite bounds.
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
    import numpy as np
    from scipy.stats import qmc

    _check(domain, n_samples)
    if not len(domain) or not n_samples:
        return _scaled(domain, np.empty((n_samples, len(domain))))
    sampler = qmc.LatinHypercube(len(domain), **_generator(np.random.default_rng(seed)))
    return _scaled(domain, sampler.random(n_samples))


def _generator(rng: np.random.Generator) -> dict[str, Any]:
    import inspect

    from scipy.stats import qmc

    # SciPy 1.15 renamed the keyword, and warns about the old name.
    names = inspect.signature(qmc.LatinHypercube).parameters
    return {"rng" if "rng" in names else "seed": rng}


def _check(domain: Domain, n_samples: int) -> None:
    if n_samples < 0:
        raise DefinitionError(f"n_samples={n_samples} is not valid", "Use 0 or more.")
    for name, parameter in domain.input_space.items():
        if not isinstance(
            parameter,
            ContinuousParameter | DiscreteParameter | CategoricalParameter | ConstantParameter,
        ):
            raise DefinitionError(
                f"input {name!r} of type {parameter.type_name!r} can't be sampled",
                "Use float, int, category or constant inputs.",
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
        if isinstance(parameter, ContinuousParameter):
            span = parameter.upper_bound - parameter.lower_bound
            if not span < float("inf"):
                raise DefinitionError(
                    f"input {name!r} can't be sampled: its range is infinite",
                    f"Set its bounds: domain.add_float({name!r}, low=..., high=...).",
                )


def _scaled(domain: Domain, unit: np.ndarray) -> pd.DataFrame:
    """Map points of the unit cube, with one dimension per input, to the domain."""
    import pandas as pd

    spaces = enumerate(domain.input_space.items())
    columns = {name: _scale(parameter, unit[:, at]) for at, (name, parameter) in spaces}
    return pd.DataFrame(columns, index=range(len(unit)))


def _scale(parameter: Parameter, unit: np.ndarray) -> Any:
    import numpy as np

    if isinstance(parameter, ContinuousParameter):
        low, high = parameter.lower_bound, parameter.upper_bound
        if parameter.log:
            values = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
        else:
            values = low + unit * (high - low)
        return np.clip(values, low, high)
    if isinstance(parameter, DiscreteParameter):
        count = (parameter.upper_bound - parameter.lower_bound) // parameter.step + 1
        return parameter.lower_bound + _pick(unit, count) * parameter.step
    values = (
        parameter.categories if isinstance(parameter, CategoricalParameter) else [parameter.value]  # type: ignore[attr-defined]
    )
    return _objects([values[at] for at in _pick(unit, len(values))])


def _pick(unit: np.ndarray, count: int) -> np.ndarray:
    import numpy as np

    return np.minimum((unit * count).astype(np.int64), count - 1)


def _objects(values: list[Any]) -> Any:
    """Return a column in which each value has its own type."""
    import pandas as pd

    from orchestrator.data.column import Column
    from orchestrator.data.columns import series_of

    return series_of(Column(values), pd.RangeIndex(len(values)))
