"""The names of `f3dasm.pipeline`: a study of f3dasm changes only the first word of its imports."""

from orchestrator.api import Pipeline
from orchestrator.definition.data_generators import CollectArrayResults
from orchestrator.definition.pipeline import Loop, Step
from orchestrator.definition.resources import SlurmCluster, SlurmResources

__all__ = ["CollectArrayResults", "Loop", "Pipeline", "SlurmCluster", "SlurmResources", "Step"]
