"""`~`, `$NAME` and `${NAME}` in the paths that users write, as a shell would read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from orchestrator.errors import DefinitionError

__all__ = ["VARIABLE", "expanded", "home_expanded", "unset_variables"]

VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
"""Pattern of a variable in a text."""


def expanded(path: str | os.PathLike[str], setting: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a path with `~` and variables replaced, as they are on this machine; a path that exists is not changed.

    Parameters
    ----------
    path : path-like
        As the user wrote it.
    setting : str
        Name of the setting, for the error.
    environment : mapping, optional
        Values of the variables; by default the environment of this process.

    Raises
    ------
    DefinitionError
        If a variable is not set.
    """
    values, text = os.environ if environment is None else environment, os.fspath(path)
    if os.path.lexists(text):
        return text
    missing = unset_variables(text, values)
    if missing:
        raise DefinitionError(
            f"{setting}={text!r} contains ${missing[0]}, which is not set.", f"Set it: export {missing[0]}=..."
        )
    replaced = re.sub(VARIABLE, lambda found: values[_name(found[0])], text)
    return home_expanded(replaced) if text.startswith("~") else replaced


def home_expanded(path: str) -> str:
    """Return a path with `~` or `~name` at its start replaced; an unknown home folder stays as it is written."""
    return os.path.expanduser(path)  # noqa: PTH111  # that of pathlib raises an error instead


def unset_variables(text: str, *known: Iterable[str]) -> list[str]:
    """Return the variables of a text that none of these mappings or lists of names has."""
    names = {_name(found) for found in re.findall(VARIABLE, text)}
    return sorted(names.difference(*known))


def _name(variable: str) -> str:
    return variable.strip("${}")
