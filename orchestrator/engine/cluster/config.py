"""The cluster that a run was submitted to, as its row stores it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.definition.resources import SlurmCluster, SlurmResources
from orchestrator.definition.validate_resources import cluster_problems
from orchestrator.sha256 import sha256_of
from orchestrator.slurm.script import exports
from orchestrator.text import to_bytes
from orchestrator.workspace import RunFolder

__all__ = ["ClusterConfig", "orchestrator_resources"]


class ClusterConfig(NamedTuple):
    """A cluster, and how a run uses it.

    The records contain the SHA-256 of the files that jobs are started with, so that a changed one is not used.

    Attributes
    ----------
    cluster : SlurmCluster
        As the user wrote it. In the records it has no `env_vars`: these may be secrets, and are in a private file.
    orchestrator : mapping
        The resources of its orchestrator jobs, as the fields of `SlurmResources`.
    cwd : str
        The folder that every job runs in: the current one when the run was submitted.
    max_array_size : int or None
        SLURM's MaxArraySize: the largest index of an array is one less. None if SLURM was not queried.
    has_accounting : bool
        Whether the cluster has accounting, so that sacct answers.
    env_vars : str or None
        SHA-256 of the file with the `env_vars`.
    environment : str or None
        SHA-256 of the file with the environment of the jobs.
    scripts : mapping
        SHA-256 of each script, by the name of its file.
    """

    cluster: SlurmCluster
    orchestrator: Mapping[str, Any]
    cwd: str
    max_array_size: int | None = None
    has_accounting: bool = False
    env_vars: str | None = None
    environment: str | None = None
    # This default is never modified.
    scripts: Mapping[str, str] = {}

    def stored(self, folder: RunFolder) -> ClusterConfig:
        """Write the `env_vars` to a private file, and return the configuration for the records."""
        if not self.cluster.env_vars:
            return self
        content = self.env_vars_content()
        digest = sha256_of(content)
        write_atomically(folder.env_vars(digest), content, PRIVATE)
        return self._replace(cluster=replace(self.cluster, env_vars={}), env_vars=digest)

    def env_vars_content(self) -> bytes:
        """Return the content of a file with the `env_vars`: commands of the shell.

        The first line is random, so that no value can be guessed from the digest, which other users may see.
        """
        return to_bytes("\n".join([f"# {os.urandom(16).hex()}", *exports(self.cluster.env_vars)]))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "cluster": self.cluster.to_json(),
            "orchestrator": dict(self.orchestrator),
            "cwd": self.cwd,
            "max_array_size": self.max_array_size,
            "has_accounting": self.has_accounting,
            "env_vars": self.env_vars,
            "environment": self.environment,
            "scripts": dict(self.scripts),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClusterConfig:
        """Return the configuration that `to_json` wrote.

        Raises
        ------
        TypeError, ValueError, LookupError, AttributeError
            If the values are damaged.
        """
        config = cls(**{**values, "cluster": SlurmCluster.from_json(values["cluster"])})
        for name, kind in _TYPES.items():
            if not isinstance(getattr(config, name), kind):
                raise TypeError(f"its {name} is {getattr(config, name)!r:.40}")
        for problem in cluster_problems(config.cluster):
            raise ValueError(problem)
        return config


_TYPES: dict[str, Any] = {
    "orchestrator": dict,
    "cwd": str,
    "max_array_size": int | None,
    "has_accounting": bool,
    "env_vars": str | None,
    "environment": str | None,
    "scripts": dict,
}
"""The types that JSON gives the fields."""


def orchestrator_resources(given: SlurmResources | None) -> dict[str, Any]:
    """Return the resources of orchestrator jobs; by default 10 minutes, 1 GB and 1 CPU."""
    return (given or SlurmResources(time="00:10:00", mem="1G")).to_json()
