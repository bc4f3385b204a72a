"""A persistent state-machine pipeline orchestrator for SLURM, backed by SQLite.

A public name is imported when it is first used, so that `import orchestrator` takes almost no time.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # not from `typing`: a worker imports that later, when it no longer collects garbage
if TYPE_CHECKING:
    from typing import Any

_MODULES = {
    "Block": "definition.block",
    "ChainedBlock": "definition.block",
    "CollectArrayResults": "definition.data_generators",
    "CommandFailed": "definition.programs",
    "CommandGenerator": "definition.programs",
    "DataGenerator": "definition.data_generators",
    "Domain": "data.domain",
    "ExperimentData": "data.experiment_data",
    "ExperimentSample": "data.experiment_sample",
    "Loop": "definition.pipeline",
    "LoopBlock": "definition.block",
    "OrchestratorError": "errors",
    "Pipeline": "api",
    "SlurmCluster": "definition.resources",
    "SlurmResources": "definition.resources",
    "Step": "definition.pipeline",
    "create_datagenerator": "datageneration.factory",
    "create_optimizer": "optimization.factory",
    "create_sampler": "definition.samplers",
    "datagenerator": "definition.data_generators",
    "run_command": "definition.programs",
}

__all__ = [*sorted(_MODULES)]

_MODULES["__version__"] = "version"

if TYPE_CHECKING:
    from orchestrator.api import Pipeline as Pipeline
    from orchestrator.data.domain import Domain as Domain
    from orchestrator.data.experiment_data import ExperimentData as ExperimentData
    from orchestrator.data.experiment_sample import ExperimentSample as ExperimentSample
    from orchestrator.datageneration.factory import create_datagenerator as create_datagenerator
    from orchestrator.definition.block import Block as Block
    from orchestrator.definition.block import ChainedBlock as ChainedBlock
    from orchestrator.definition.block import LoopBlock as LoopBlock
    from orchestrator.definition.data_generators import CollectArrayResults as CollectArrayResults
    from orchestrator.definition.data_generators import DataGenerator as DataGenerator
    from orchestrator.definition.data_generators import datagenerator as datagenerator
    from orchestrator.definition.pipeline import Loop as Loop
    from orchestrator.definition.pipeline import Step as Step
    from orchestrator.definition.programs import CommandFailed as CommandFailed
    from orchestrator.definition.programs import CommandGenerator as CommandGenerator
    from orchestrator.definition.programs import run_command as run_command
    from orchestrator.definition.resources import SlurmCluster as SlurmCluster
    from orchestrator.definition.resources import SlurmResources as SlurmResources
    from orchestrator.definition.samplers import create_sampler as create_sampler
    from orchestrator.errors import OrchestratorError as OrchestratorError
    from orchestrator.optimization.factory import create_optimizer as create_optimizer
    from orchestrator.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    value = getattr(import_module(f"orchestrator.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
