"""Arguments of dataclasses; configurations of Hydra: recognised without OmegaConf, and converted to plain values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from typing import Any, TypeVar, cast

from orchestrator.errors import DefinitionError
from orchestrator.text import did_you_mean

__all__ = ["fill_defaults", "instantiate", "is_config", "names_unknown", "plain"]

T = TypeVar("T")


def is_config(value: Any) -> bool:
    """Whether a value is a `DictConfig` or `ListConfig` of OmegaConf."""
    omegaconf = sys.modules.get("omegaconf")
    return omegaconf is not None and isinstance(value, (omegaconf.DictConfig, omegaconf.ListConfig))


def plain(value: Any) -> Any:
    """Return a configuration as dicts and lists, with its interpolations resolved; any other value unchanged."""
    if not is_config(value):
        return value
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True)


def fill_defaults(value: Any) -> None:
    """Replace None, which a configuration may have, in fields of a dataclass whose default is a new dict or list."""
    for field in fields(value):
        if getattr(value, field.name) is None and field.default_factory is not MISSING:
            setattr(value, field.name, field.default_factory())


def names_unknown(cls: type[T]) -> type[T]:
    """Let a dataclass name the most similar field for an unknown argument, and itself as the user calls it."""
    of_dataclass = cast("Callable[..., None]", cls.__init__)
    known = [field.name for field in fields(cast("Any", cls)) if field.init]

    @wraps(of_dataclass)
    def init(self: T, *args: Any, **kwargs: Any) -> None:
        unknown = next((name for name in kwargs if name not in known), None)
        if unknown is not None:
            hint = f"{did_you_mean(unknown, known)}Its arguments are: {', '.join(known)}"
            raise TypeError(f"{type(self).__name__} has no argument {unknown!r}. {hint}")
        of_dataclass(self, *args, **kwargs)

    cast("Any", cls).__init__ = init
    return cls


def instantiate(config: Any, **arguments: Any) -> Any:
    """Create the object that a configuration describes: `_target_` names its class or function.

    Parameters
    ----------
    config : DictConfig
        The configuration.
    **arguments : Any
        Further arguments of the class or function.

    Returns
    -------
    Any
        The object.

    Raises
    ------
    DefinitionError
        If Hydra is not installed, or the configuration has no `_target_`.
    """
    if "_target_" not in config:
        raise DefinitionError(
            "The configuration of a block has no _target_.", "Add the name of a class: _target_: package.module.Class"
        )
    try:
        from hydra.utils import instantiate as instantiate_by_hydra
    except ImportError as error:
        raise DefinitionError(
            "A block can't be created from a configuration without Hydra, which is not installed.",
            "Type: pip install 'slurm-orchestrator[hydra]'",
        ) from error
    return instantiate_by_hydra(config, **arguments)
