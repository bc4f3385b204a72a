"""The names of `f3dasm.design`: a study of f3dasm changes only the first word of its imports."""

from orchestrator.data.domain import Domain, make_nd_continuous_domain
from orchestrator.definition.samplers import grid, latin, random, sobol

__all__ = ["Domain", "grid", "latin", "make_nd_continuous_domain", "random", "sobol"]
