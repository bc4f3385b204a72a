"""Values that a block gets if it has a parameter of their name: iteration, project_job, seed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Container, Mapping
from typing import Any

__all__ = ["injected", "seed_for"]


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
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a C function without a signature
        return {}
    names = [p.name for p in parameters if p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {name: values[name] for name in names if name in values and name not in supplied}


def seed_for(project_job: str, step: str, iteration: str) -> int:
    """Return the seed of a step at an iteration.

    Parameters
    ----------
    project_job : str
        Key of the run.
    step : str
        Name of the step.
    iteration : str
        The iteration, from 0; empty outside loops.

    Returns
    -------
    int
        The first 63 bits of the SHA-256 of the three texts, separated by NUL.
    """
    digest = hashlib.sha256("\0".join((project_job, step, iteration)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
