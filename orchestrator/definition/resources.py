"""What a job asks of the cluster, and what the cluster wants to hear."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from orchestrator.errors import DefinitionError
from orchestrator.workspace import LOG_DIR

__all__ = ["SlurmCluster", "SlurmResources", "memory_in_mb", "option_name", "time_in_seconds"]


@dataclass
class SlurmResources:
    """What each job of a step asks for.

    Parameters
    ----------
    time : str, default "01:00:00"
        As SLURM writes it: minutes, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.
    mem : str, default "4G"
        Per node, with K, M, G or T; without a letter, megabytes.
    cpus_per_task, nodes, ntasks : int, default 1
    max_array_size : int, default 900
        Most tasks in one batch.
    max_concurrent : int, default 64
        Most tasks of a batch that run at once.
    max_jobs_per_task : int or None, default 1
        Experiments per task; None: one batch, however many experiments.
    extra_sbatch : dict
        Further directives; they win over ours, and None removes ours.
    mem_per_cpu : str, optional
        Instead of `mem`.

    Raises
    ------
    ValueError
        If `max_jobs_per_task` is neither None nor at least 1.
    """

    time: str = "01:00:00"
    mem: str = "4G"
    cpus_per_task: int = 1
    nodes: int = 1
    max_array_size: int = 900
    max_concurrent: int = 64
    max_jobs_per_task: int | None = 1
    extra_sbatch: dict[str, Any] = field(default_factory=dict)
    ntasks: int = 1
    mem_per_cpu: str | None = None

    def __post_init__(self) -> None:
        if self.max_jobs_per_task is not None and self.max_jobs_per_task < 1:
            raise ValueError(f"max_jobs_per_task is None or at least 1, not {self.max_jobs_per_task}")

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


@dataclass
class SlurmCluster:
    """What is the same for all jobs on a cluster.

    Parameters
    ----------
    partition, account : str or None, default "batch" and "default"
        None: left to the cluster.
    env_setup : list of str
        Shell commands before each job; each must succeed.
    env_vars : dict
        Environment variables of each job.
    runner : str, default "python"
        What runs Python on the node, such as `uv run`.
    log_dir : str, default "logs/{project_job}"
        Relative to the workspace.
    mem_per_cpu : str, optional
        The cluster's cap on memory per CPU.
    wake : str, default "both"
        Who goes on when a step has ended. "job": the orchestrator job that waits for it. "both": also the step's own
        job, at once, which saves a wait in the queue; the orchestrator job then finds nothing left to do.
    grace : float, default 90.0
        Seconds for which SLURM must not know a job, asked again, before the job counts as lost. Longer than accounting
        lags behind and than file systems need to show a file that another node wrote.
    """

    partition: str | None = "batch"
    account: str | None = "default"
    env_setup: list[str] = field(default_factory=list)
    env_vars: dict[str, str] = field(default_factory=dict)
    runner: str = "python"
    log_dir: str = LOG_DIR
    mem_per_cpu: str | None = None
    wake: str = "both"
    grace: float = 90.0

    @classmethod
    def from_yaml(cls, config: Any) -> SlurmCluster:
        """Make a cluster from configuration.

        Parameters
        ----------
        config : mapping, DictConfig or path-like
            The fields by name. A path is read as YAML. Interpolations, such as `${oc.env:USER}`, are resolved in a file
            and in a DictConfig. `enabled` is left out.

        Raises
        ------
        DefinitionError
            If it can't be read, or a key is no field.
        """
        values = dict(_mapping(config))
        values.pop("enabled", None)
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise DefinitionError(
                f"SlurmCluster has no {', '.join(map(repr, unknown))}.", f"Its keys are: {', '.join(known)}"
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SlurmCluster:
        """Make it from what `to_json` gave."""
        return cls(**values)


def _mapping(config: Any) -> Mapping[str, Any]:
    if isinstance(config, str | os.PathLike):
        config = _resolved(Path(config))
    elif type(config).__module__.startswith("omegaconf"):
        config = _resolved(config)
    if not isinstance(config, Mapping):
        raise DefinitionError(f"a cluster is a mapping of its fields, not {type(config).__name__}.")
    return config


def _resolved(config: Any) -> Any:
    """Read a YAML file or a DictConfig, with its interpolations."""
    try:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError
    except ImportError as error:
        raise DefinitionError(
            f"Reading {config} needs OmegaConf, which is not installed.", "Type: pip install 'orchestrator[hydra]'"
        ) from error
    try:
        loaded = OmegaConf.load(config) if isinstance(config, Path) else config
        return OmegaConf.to_container(loaded, resolve=True)
    except (OSError, UnicodeError, OmegaConfBaseException, YAMLError) as error:
        where = f" from {config}" if isinstance(config, Path) else ""
        raise DefinitionError(f"The cluster can't be read{where}: {error}") from error


def option_name(name: str) -> str:
    """Give an option's name as sbatch knows it, of `--mem-per-cpu`, `mem-per-cpu` or `mem_per_cpu`."""
    return name.strip().lstrip("-").replace("_", "-")


_TIME = r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?|(?P<plain>\d+(?::\d+){0,2}))"
_MEMORY = r"(?i)(\d+)([KMGT]?)B?"
_MB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}


def time_in_seconds(text: str) -> int | None:
    """Read a time limit as SLURM writes it.

    Returns
    -------
    int or None
        Seconds; None for UNLIMITED or INFINITE.

    Raises
    ------
    DefinitionError
    """
    if str(text).upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = re.fullmatch(_TIME, str(text))
    if match is None:
        raise DefinitionError(f"time={text!r} is no time", "use minutes, MM:SS, HH:MM:SS or D-HH:MM:SS")
    if match["plain"]:
        parts = [int(part) for part in match["plain"].split(":")]
        weights = {1: [60], 2: [60, 1], 3: [3600, 60, 1]}[len(parts)]
    else:
        parts = [int(match[name] or 0) for name in ("d", "dh", "dm", "ds")]
        weights = [86400, 3600, 60, 1]
    return sum(part * weight for part, weight in zip(parts, weights, strict=True))


def memory_in_mb(text: str) -> float:
    """Read an amount of memory as SLURM writes it.

    Returns
    -------
    float
        Megabytes.

    Raises
    ------
    DefinitionError
    """
    match = re.fullmatch(_MEMORY, str(text))
    if match is None:
        raise DefinitionError(f"mem={text!r} is no amount of memory", "use a number with K, M, G or T, such as 4G")
    return int(match[1]) * _MB[match[2].upper()]
