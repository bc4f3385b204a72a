"""Resources of a job, and the SLURM cluster that it is submitted to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from orchestrator.data.configurations import fill_defaults, names_unknown
from orchestrator.errors import DefinitionError
from orchestrator.text import did_you_mean
from orchestrator.workspace import LOG_DIR

__all__ = ["SlurmCluster", "SlurmResources", "memory_in_mb", "option_name", "time_in_seconds"]


@names_unknown
@dataclass
class SlurmResources:
    """Resources that each job of a step requests from SLURM.

    Parameters
    ----------
    time : str, default "01:00:00"
        Time limit as SLURM writes it: minutes, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM`, `D-HH:MM:SS`.
    mem : str, default "4G"
        Memory per node: a number with K, M, G or T; without a letter, megabytes.
    cpus_per_task : int, default 1
        CPUs of each task. A local run gives each task the same number of threads.
    nodes : int, default 1
        Nodes of each job.
    max_array_size : int, default 900
        Largest number of tasks in one batch (SLURM array).
    max_concurrent : int, default 64
        Largest number of tasks of a batch that run at the same time.
    max_jobs_per_task : int or None, default 1
        Experiments per task. None: as many as needed for all experiments to fit into one batch.
    extra_sbatch : dict, default {}
        Further sbatch options by name, such as `comment`; not `output`, see `SlurmCluster.log_dir`. An option replaces
        the one that the orchestrator sets; None removes it.
    ntasks : int, default 1
        Processes of each job (`--ntasks`).
    mem_per_cpu : str or None, default None
        Memory per CPU, instead of `mem`.

    Raises
    ------
    ValueError
        If `max_jobs_per_task` is neither None nor at least 1.

    Examples
    --------
    >>> resources = SlurmResources(time="02:00:00", mem="8G", cpus_per_task=4, extra_sbatch={"gres": "gpu:1"})
    >>> step = Step(create_sampler("latin"), resources=resources, kwargs={"n_samples": 1000})
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
        """Check the values."""
        _make_plain(self)
        if self.max_jobs_per_task is not None and self.max_jobs_per_task < 1:
            raise ValueError(
                f"max_jobs_per_task={self.max_jobs_per_task} is not valid; use an integer, 1 or more, or None"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those that a derived class adds."""
        return {name: _plain(getattr(self, name)) for name in SlurmResources.__annotations__}


@names_unknown
@dataclass
class SlurmCluster:
    """Settings of a SLURM cluster, the same for all jobs.

    Parameters
    ----------
    partition : str or None, default "batch"
        Name of the partition. None: the cluster's default.
    account : str or None, default "default"
        Name of the account. None: the user's default.
    env_setup : list of str, default []
        Shell commands that each job runs first, such as `module load python`. The job fails if one of them fails.
    env_vars : dict of str to str, default {}
        Environment variables of each job.
    runner : str, default "python"
        Command that runs Python on a node, such as `uv run`. `~`, `$NAME` and `${NAME}` are expanded there, after
        `env_setup`. The default means the Python that submits, if `env_setup` is empty.
    log_dir : str, default "logs/{project_job}"
        Folder of the logs, absolute or relative to the workspace. `{project_job}` is replaced by the run's key; `$NAME`
        and `${NAME}` are expanded when the run is submitted.
    mem_per_cpu : str or None, default None
        The cluster's limit of memory per CPU, such as `"3968M"`. None: no limit.
    wake : {"both", "job"}, default "both"
        Which job advances the run when a step has ended. `"job"`: the orchestrator job that waits for the step.
        `"both"`: the step's own job, too, immediately and without another wait in the queue.
    grace : float, default 90.0
        Seconds for which a job must be missing from SLURM's answers before it counts as lost. It must be longer than
        the delay of accounting, and longer than the shared file system needs to show a file of another node.

    Examples
    --------
    >>> cluster = SlurmCluster(partition="compute", account="my-group", env_setup=["module load python"])
    >>> key = pipeline.run(mode="slurm", cluster=cluster)  # doctest: +SKIP
    """

    partition: str | None = "batch"
    account: str | None = "default"
    env_setup: list[str] = field(default_factory=list)
    env_vars: dict[str, str] = field(default_factory=dict)
    runner: str = "python"
    log_dir: str = LOG_DIR
    mem_per_cpu: str | None = None
    wake: Literal["both", "job"] = "both"
    grace: float = 90.0

    def __post_init__(self) -> None:
        """Use dicts and lists of Python."""
        _make_plain(self)

    @classmethod
    def from_yaml(cls, config: Any) -> SlurmCluster:
        """Create a cluster from a configuration.

        Parameters
        ----------
        config : mapping, DictConfig or path-like
            The fields by name. A path names a YAML file. Interpolations, such as `${oc.env:USER}`, are resolved in a
            file and in a DictConfig by OmegaConf, which must be installed then. In a file, `${NAME}` in `env_setup`,
            `env_vars`, `log_dir` and `runner` is an environment variable, unless `NAME` is a key. The
            key `enabled` is ignored.

        Returns
        -------
        SlurmCluster
            The cluster.

        Raises
        ------
        DefinitionError
            If the file can't be read, needs OmegaConf, which is not installed, or has a key that is not a field.

        Examples
        --------
        >>> cluster = SlurmCluster.from_yaml({"partition": "compute", "account": "my-group"})
        >>> cluster.partition
        'compute'
        """
        values = dict(_mapping(config))
        values.pop("enabled", None)
        known = [one.name for one in fields(cls)]
        unknown = sorted(set(values) - set(known), key=str)
        if unknown:
            raise DefinitionError(
                f"SlurmCluster has no field {', '.join(map(repr, unknown))}.",
                f"{did_you_mean(str(unknown[0]), known)}Its fields are: {', '.join(known)}",
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those that a derived class adds."""
        return {name: _plain(getattr(self, name)) for name in SlurmCluster.__annotations__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SlurmCluster:
        """Create a cluster from the return value of `to_json`.

        Parameters
        ----------
        values : mapping of str to Any
            The fields by name.

        Returns
        -------
        SlurmCluster
            The cluster.
        """
        return cls(**values)


def _make_plain(settings: SlurmResources | SlurmCluster) -> None:
    """Replace containers, such as those of a Hydra configuration, by dicts and lists, which are stored as JSON."""
    fill_defaults(settings)
    for name, value in vars(settings).items():
        setattr(settings, name, _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    return value


def _mapping(config: Any) -> Mapping[str, Any]:
    if isinstance(config, str | os.PathLike):
        from orchestrator.definition.cluster_file import read_cluster_file
        from orchestrator.expansion import expanded

        config = read_cluster_file(Path(expanded(config, "cluster")))
    elif type(config).__module__.startswith("omegaconf"):
        from orchestrator.definition.cluster_file import resolve

        config = resolve(config)
    if not isinstance(config, Mapping):
        from orchestrator.definition.cluster_file import HINT

        raise DefinitionError(f"The configuration of a cluster must be a mapping, not {type(config).__name__}.", HINT)
    return config


def option_name(name: str) -> str:
    """Return an option's name as sbatch spells it: `mem-per-cpu` for `--mem-per-cpu` or `mem_per_cpu`."""
    return name.strip().lstrip("-").replace("_", "-")


_TIME = r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?|(?P<plain>\d+(?::\d+){0,2}))"
_MEMORY = r"(?i)(\d+)([KMGT]?)B?"
_MB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}


def time_in_seconds(text: str) -> int | None:
    """Convert a time limit of SLURM to seconds.

    Parameters
    ----------
    text : str
        Minutes, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`; or `UNLIMITED` or `INFINITE`.

    Returns
    -------
    int or None
        Seconds; None for no limit.

    Raises
    ------
    DefinitionError
        If the text is not a valid time.
    """
    if str(text).upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = re.fullmatch(_TIME, str(text))
    if match is None:
        raise DefinitionError(f"time={text!r} is not a valid time", "use minutes, MM:SS, HH:MM:SS or D-HH:MM:SS")
    if match["plain"]:
        parts = [int(part) for part in match["plain"].split(":")]
        weights = {1: [60], 2: [60, 1], 3: [3600, 60, 1]}[len(parts)]
    else:
        parts = [int(match[name] or 0) for name in ("d", "dh", "dm", "ds")]
        weights = [86400, 3600, 60, 1]
    return sum(part * weight for part, weight in zip(parts, weights, strict=True))


def memory_in_mb(text: str) -> float:
    """Convert an amount of memory of SLURM to megabytes.

    Parameters
    ----------
    text : str
        A number, with K, M, G or T; without a letter, megabytes.

    Returns
    -------
    float
        Megabytes.

    Raises
    ------
    DefinitionError
        If the text is not a valid amount of memory.
    """
    match = re.fullmatch(_MEMORY, str(text))
    if match is None:
        raise DefinitionError(
            f"mem={text!r} is not a valid amount of memory", "use a number with K, M, G or T, such as 4G"
        )
    return int(match[1]) * _MB[match[2].upper()]
