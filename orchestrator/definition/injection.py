"""Values that a block gets if it has a parameter of their name: iteration, project_job, seed.

Which samplers and optimizers get the seed, too, is decided in `orchestrator.definition.samplers`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from orchestrator.definition.parameters_of import parameters_of
from orchestrator.sha256 import sha256_of

__all__ = ["INJECTED", "injected", "is_seed", "seed_for"]

INJECTED = ("iteration", "project_job", "seed")
"""Names of the parameters that get a value."""


def injected(function: Callable[..., Any], supplied: Container[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a function has a parameter for.

    Parameters
    ----------
    function : callable
        The function that will be called.
    supplied : container of str
        Names of the arguments that the step's kwargs or the domain supply. They are not replaced.
    values : mapping of str to Any
        `iteration`, `project_job` and `seed`.

    Returns
    -------
    dict of str to Any
        The values of parameters that have no default and are not supplied.
    """
    named, _ = parameters_of(function) or ({}, True)
    required = [name for name, is_required in named.items() if is_required]
    return {name: values[name] for name in required if name in values and name not in supplied}


def is_seed(value: Any) -> bool:
    """Whether a value can be the seed of a pipeline: an integer from 0 to 2**64 - 1, or None."""
    if value is None:
        return True
    from numbers import Integral  # A task does not check a pipeline.

    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 2**64


def seed_for(base: int | str, step: str, iteration: str) -> int:
    """Return the seed of a step at an iteration.

    Parameters
    ----------
    base : int or str
        The pipeline's seed; if it has none, the key of the run.
    step : str
        Name of the step.
    iteration : str
        The iteration, from 0, in nested loops `"3.1"`; empty outside loops.

    Returns
    -------
    int
        The first 31 bits of the SHA-256 of the three texts, separated by NUL. So it is below 2**31, and every random
        number generator accepts it, also one that takes a signed integer of 32 bits.
    """
    digest = sha256_of("\0".join((str(base), step, iteration)).encode())
    return int(digest[:8], 16) >> 1
