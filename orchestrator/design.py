"""The names of `f3dasm.design`: a study of f3dasm changes only the first word of its imports."""

from orchestrator.data.domain import Domain
from orchestrator.definition.samplers import grid, latin, random, sobol

__all__ = ["Domain", "grid", "latin", "random", "sobol"]
