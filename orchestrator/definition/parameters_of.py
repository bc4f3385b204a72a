"""The parameters of a function of the user, mostly without `inspect`, whose import takes a tenth of a short task."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

__all__ = ["parameters_of"]

_HAS_KEYWORDS = 0x08
"""`inspect.CO_VARKEYWORDS`."""


def parameters_of(function: Callable[..., Any]) -> tuple[dict[str, bool], bool] | None:
    """Return the parameters of a function, each with whether it is required; and whether it has `**kwargs`.

    Returns
    -------
    tuple or None
        None for a function in C without a signature.
    """
    inner = function.__func__ if isinstance(function, MethodType) else function
    if type(inner) is not FunctionType or vars(inner).keys() & {"__wrapped__", "__signature__"}:
        return _by_signature(function)
    code, keywords = inner.__code__, inner.__kwdefaults__ or {}
    positional, n_defaults = code.co_varnames[: code.co_argcount], len(inner.__defaults__ or ())
    first_default = code.co_argcount - n_defaults
    named = {name: number < first_default for number, name in enumerate(positional)}
    for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]:
        named[name] = name not in keywords
    if inner is not function:
        if not positional:  # the object is one of *args
            return _by_signature(function)
        del named[positional[0]]
    return named, bool(code.co_flags & _HAS_KEYWORDS)


def _by_signature(function: Callable[..., Any]) -> tuple[dict[str, bool], bool] | None:
    from inspect import signature

    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    named = {p.name: p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)
