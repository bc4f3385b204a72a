"""Optimizers: blocks that propose experiments. The names are those of `f3dasm.optimization`."""

from orchestrator.optimization.factory import create_optimizer
from orchestrator.optimization.optuna_blocks import tpesampler
from orchestrator.optimization.scipy_blocks import cg, lbfgsb, nelder_mead

__all__ = ["cg", "create_optimizer", "lbfgsb", "nelder_mead", "tpesampler"]
