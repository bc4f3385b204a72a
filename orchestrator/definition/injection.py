"""What a block may ask for by naming a parameter: the iteration, the run's key, a seed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Container, Mapping
from typing import Any

__all__ = ["injected", "seed_for"]


def injected(function: Callable[..., Any], supplied: Container[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the values that a function asks for.

    Parameters
    ----------
    function : callable
    supplied : container of str
        Names that the step's kwargs or the domain supply already: they win.
    values : mapping
        `iteration`, `project_job` and `seed`.

    Returns
    -------
    dict
        Only what the function has a parameter for, without a default, and nobody supplies.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return {}
    wanted = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return {name: values[name] for name in wanted if name in values and name not in supplied}


def seed_for(project_job: str, step: str, iteration: str) -> int:
    """Derive the seed of a step at an iteration: 63 bits of the SHA-256 over the three, which NUL separates."""
    digest = hashlib.sha256("\0".join((project_job, step, iteration)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
