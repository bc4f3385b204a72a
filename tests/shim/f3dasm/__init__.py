"""Stands for f3dasm while its own tests run: each module of f3dasm has our objects under f3dasm's names.

A name that only f3dasm has can be imported, and raises `NotOurs` when it is used: only the tests that need it fail.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

OURS = {
    "f3dasm": ["orchestrator"],
    "f3dasm.datageneration": ["orchestrator.datageneration"],
    "f3dasm.datageneration.functions": ["orchestrator.datageneration.functions"],
    "f3dasm.design": ["orchestrator.design"],
    "f3dasm.hydra_tools": ["orchestrator.hydra_tools"],
    "f3dasm.optimization": ["orchestrator.optimization"],
    "f3dasm.pipeline": ["orchestrator.pipeline"],
    "f3dasm.pipeline.count_open": ["orchestrator.pipeline.count_open"],
    "f3dasm.pipeline.run_step": [],
    "f3dasm._src": [],
    "f3dasm._src._io": ["orchestrator.data.f3dasm_names", "orchestrator.data.references"],
    "f3dasm._src.core": ["orchestrator"],
    "f3dasm._src.datageneration": [],
    "f3dasm._src.datageneration.benchmarkfunctions": ["orchestrator.datageneration.functions"],
    "f3dasm._src.datageneration.datagenerator_factory": ["orchestrator.datageneration", "orchestrator"],
    "f3dasm._src.datagenerator": [],
    "f3dasm._src.design": ["orchestrator.design"],
    "f3dasm._src.design.domain": ["orchestrator.design"],
    "f3dasm._src.design.parameter": ["orchestrator.data.parameters"],
    "f3dasm._src.errors": ["orchestrator.errors"],
    "f3dasm._src.experimentdata": ["orchestrator"],
    "f3dasm._src.experimentsample": ["orchestrator", "orchestrator.data.job_status"],
    "f3dasm._src.hydra_utils": ["orchestrator.hydra_tools"],
    "f3dasm._src.mpi_utils": [],
    "f3dasm._src.optimization": ["orchestrator.optimization"],
    "f3dasm._src.optimization._imports": [],
    "f3dasm._src.optimization.errors": [],
    "f3dasm._src.optimization.optimizer_factory": ["orchestrator.optimization"],
    "f3dasm._src.optimization.optuna_implementations": ["orchestrator.optimization"],
    "f3dasm._src.optimization.scipy_implementations": ["orchestrator.optimization"],
    "f3dasm._src.pipeline": ["orchestrator.pipeline"],
    "f3dasm._src.pipeline.blocks": ["orchestrator"],
    "f3dasm._src.pipeline.count_open": ["orchestrator.pipeline.count_open"],
    "f3dasm._src.pipeline.executors": [],
    "f3dasm._src.pipeline.executors.base": [],
    "f3dasm._src.pipeline.executors.local": [],
    "f3dasm._src.pipeline.executors.slurm": [],
    "f3dasm._src.pipeline.loop": ["orchestrator"],
    "f3dasm._src.pipeline.pipeline": ["orchestrator"],
    "f3dasm._src.pipeline.resources": ["orchestrator"],
    "f3dasm._src.pipeline.run_step": [],
    "f3dasm._src.samplers": ["orchestrator.definition.samplers"],
}
RENAMED = {
    ("f3dasm._src._io", "EXPERIMENTSAMPLE_SUBFOLDER"): ("orchestrator.data.experiment_sample", "SAMPLE_FOLDER"),
    ("f3dasm._src._io", "ReferenceValue"): ("orchestrator.data.references", "Reference"),
    ("f3dasm._src.pipeline.pipeline", "VALID_DEPENDENCIES"): ("orchestrator.definition.pipeline", "DEPENDENCIES"),
    ("f3dasm._src.optimization.scipy_implementations", "ScipyOptimizer"): (
        "orchestrator.optimization",
        "ScipyOptimizer",
    ),
}


class NotOurs(Exception):
    """What is used exists only in f3dasm."""


def _missing(module: str, name: str) -> type:
    """Return a class that stands for a missing name."""

    class Meta(type):
        def __call__(cls, *args: object, **kwargs: object) -> object:
            raise NotOurs(f"{module}.{name}")

        def __getattr__(cls, attribute: str) -> object:
            if attribute.startswith(("__", "pytest")):
                raise AttributeError(attribute)
            raise NotOurs(f"{module}.{name}.{attribute}")

    return Meta(name, (Exception,), {})


def _find(module: str, name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    if name == "BENCHMARK_FUNCTIONS":
        functions = import_module("orchestrator.datageneration.functions")
        return {public: getattr(functions, public) for public in functions.__all__}
    if (module, name) in RENAMED:
        ours, own = RENAMED[module, name]
        return getattr(import_module(ours), own)
    for ours in OURS[module]:
        try:
            return getattr(import_module(ours), name)
        except (AttributeError, ImportError):
            continue
    return _missing(module, name)


def _make(name: str) -> ModuleType:
    module = sys.modules.get(name) or ModuleType(name)
    module.__path__ = []
    module.__getattr__ = lambda attribute, name=name: _find(name, attribute)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


for _name in OURS:
    _make(_name)
