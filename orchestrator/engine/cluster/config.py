"""The cluster that a run was submitted to, as its row stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.definition.resources import SlurmCluster, SlurmResources

__all__ = ["ClusterConfig", "orchestrator_resources"]


class ClusterConfig(NamedTuple):
    """A cluster, and how a run uses it.

    Attributes
    ----------
    cluster : SlurmCluster
        As the user wrote it.
    orchestrator : mapping
        The resources of its orchestrator jobs, as the fields of `SlurmResources`.
    cwd : str
        The folder that every job runs in: the current one when the run was submitted.
    max_array_size : int or None
        SLURM's MaxArraySize: the largest index of an array is one less. None if SLURM was not queried.
    has_accounting : bool
        Whether the cluster has accounting, so that sacct answers.
    """

    cluster: SlurmCluster
    orchestrator: Mapping[str, Any]
    cwd: str
    max_array_size: int | None = None
    has_accounting: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "cluster": self.cluster.to_json(),
            "orchestrator": dict(self.orchestrator),
            "cwd": self.cwd,
            "max_array_size": self.max_array_size,
            "has_accounting": self.has_accounting,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClusterConfig:
        """Return the configuration that `to_json` wrote."""
        return cls(**{**values, "cluster": SlurmCluster.from_json(values["cluster"])})


def orchestrator_resources(given: SlurmResources | None) -> dict[str, Any]:
    """Return the resources of orchestrator jobs; by default 10 minutes, 1 GB and 1 CPU."""
    return (given or SlurmResources(time="00:10:00", mem="1G")).to_json()
