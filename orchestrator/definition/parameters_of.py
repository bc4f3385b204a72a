"""The parameters of a function of the user."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

__all__ = ["parameters_of"]


def parameters_of(function: Callable[..., Any]) -> tuple[dict[str, bool], bool] | None:
    """Return the parameters of a function, each with whether it is required; and whether it has `**kwargs`.

    Returns
    -------
    tuple or None
        None for a function in C without a signature.
    """
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    named = {p.name: p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)
