"""The names of `f3dasm.hydra_tools`: a study of f3dasm changes only the first word of its imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.data.experiment_sample import ExperimentSample

__all__ = ["update_config_with_experiment_sample"]


def update_config_with_experiment_sample(
    config: Any, experiment_sample: ExperimentSample, force_add: bool = False
) -> Any:
    """Return a copy of a configuration with the inputs and outputs of an experiment.

    Parameters
    ----------
    config : DictConfig
        The configuration; it is not changed.
    experiment_sample : ExperimentSample
        The experiment. A name with dots, such as `solver.mesh.size`, is a key in a key.
    force_add : bool, default False
        Whether names that the configuration does not have are added. By default they are omitted.

    Returns
    -------
    DictConfig
        The changed copy.

    Examples
    --------
    >>> from omegaconf import OmegaConf
    >>> config = OmegaConf.create({"x": 0.0, "solver": {"size": 1}})
    >>> sample = ExperimentSample({"x": 2.0, "solver.size": 3, "other": 4})
    >>> update_config_with_experiment_sample(config, sample)
    {'x': 2.0, 'solver': {'size': 3}}
    """
    from copy import deepcopy

    from omegaconf import OmegaConf

    updated = deepcopy(config)
    for name, value in experiment_sample.to_dict().items():
        if force_add or _has(updated, name):
            OmegaConf.update(updated, name, value, force_add=force_add)
    return updated


def _has(config: Any, name: str) -> bool:
    from omegaconf import DictConfig

    first, _, rest = name.partition(".")
    if not isinstance(config, DictConfig) or first not in config:
        return False
    return not rest or _has(config[first], rest)
