"""What a run's row keeps of the cluster that it was submitted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.definition.resources import SlurmCluster, SlurmResources

__all__ = ["ClusterConfig", "orchestrator_resources"]


class ClusterConfig(NamedTuple):
    """A cluster, and how this run uses it.

    Attributes
    ----------
    cluster : SlurmCluster
        As the user wrote it.
    orchestrator : mapping
        The fields of `SlurmResources` of its orchestrator jobs.
    cwd : str
        The folder that every job runs in: the submitter's.
    max_array_size : int or None
        The cluster's own: the largest index of an array is one less. None where it was not asked.
    has_accounting : bool
        Whether sacct answers there.
    """

    cluster: SlurmCluster
    orchestrator: Mapping[str, Any]
    cwd: str
    max_array_size: int | None = None
    has_accounting: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "cluster": self.cluster.to_json(),
            "orchestrator": dict(self.orchestrator),
            "cwd": self.cwd,
            "max_array_size": self.max_array_size,
            "has_accounting": self.has_accounting,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClusterConfig:
        """Read what `to_json` gave."""
        return cls(**{**values, "cluster": SlurmCluster.from_json(values["cluster"])})


def orchestrator_resources(given: SlurmResources | None) -> dict[str, Any]:
    """Give the resources of orchestrator jobs: 10 minutes, 1 GB and 1 CPU where the user says nothing."""
    return (given or SlurmResources(time="00:10:00", mem="1G")).to_json()
