"""The names of `f3dasm.design`: a study of f3dasm changes only the first word of its imports.

Also the types of the inputs in a domain, which f3dasm has inside only, and which its page on Optuna imports from there.
"""

from orchestrator.data.domain import Domain, make_nd_continuous_domain
from orchestrator.data.parameters import (
    ArrayParameter,
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.definition.samplers import grid, latin, random, sobol

__all__ = [
    "ArrayParameter",
    "CategoricalParameter",
    "ConstantParameter",
    "ContinuousParameter",
    "DiscreteParameter",
    "Domain",
    "Parameter",
    "grid",
    "latin",
    "make_nd_continuous_domain",
    "random",
    "sobol",
]
