"""Resources of a step in which a user changes some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from orchestrator.definition.resources import SlurmResources, option_name
from orchestrator.definition.validate_resources import resource_problems
from orchestrator.errors import DefinitionError

__all__ = ["changed_resources", "flat_resources"]

OPTIONS = "extra_sbatch"


def changed_resources(what: str, resources: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources of a step, or of the orchestrator jobs, with changes.

    Parameters
    ----------
    what : str
        Whose resources; the subject of an error.
    resources : mapping
        The fields of `SlurmResources`.
    changes : mapping
        Fields that change; `extra_sbatch` has only the options that change.

    Raises
    ------
    DefinitionError
        If a value is not valid, or has no effect because an option of sbatch replaces it.
    """
    before = resources.get(OPTIONS, {})
    options = {option_name(name): name for name in before}
    for name in changes:
        if option_name(name) in options:
            raise DefinitionError(
                f"{what} has the sbatch option {options[option_name(name)]!r}, which replaces {name}.",
                f"Change that option: --sbatch {option_name(name)}={changes[name]}",
            )
    new = changes.get(OPTIONS, {})
    kept = {name: value for name, value in before.items() if option_name(name) not in map(option_name, new)}
    changed = {**resources, **changes, OPTIONS: {**kept, **new}}
    known = {field.name for field in fields(SlurmResources)}
    problems = list(resource_problems(SlurmResources(**{k: v for k, v in changed.items() if k in known})))
    if problems:
        raise DefinitionError(
            f"{problems[0].removeprefix('resources: ')}.",
            "Change that, then type the command again. Nothing was written.",
        )
    return changed


def flat_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return resources with the further options of sbatch among them, as `--name`."""
    own = {name: value for name, value in resources.items() if name != OPTIONS}
    return {**own, **{f"--{option_name(name)}": value for name, value in resources.get(OPTIONS, {}).items()}}
