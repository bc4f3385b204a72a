"""Create an optimizer by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.data.configurations import instantiate, is_config
from orchestrator.definition.block import Block, our_block
from orchestrator.errors import DefinitionError
from orchestrator.optimization.optuna_blocks import tpesampler
from orchestrator.optimization.scipy_blocks import cg, lbfgsb, nelder_mead

__all__ = ["create_optimizer"]

_FACTORIES: dict[str, Callable[..., Block]] = {
    "tpesampler": tpesampler,
    "cg": cg,
    "lbfgsb": lbfgsb,
    "nelder_mead": nelder_mead,
}


def create_optimizer(optimizer: Any, **hyperparameters: Any) -> Block:
    """Create an optimizer by name: a block that proposes experiments, from the results that the table has.

    An optimizer keeps nothing in memory: what it proposes follows from the table and its seed. So a run that is
    resumed continues with the same experiments. In a `Loop`, a parallel step evaluates what it proposes.

    Parameters
    ----------
    optimizer : {"tpesampler", "cg", "lbfgsb", "nelder_mead"}, Block or DictConfig
        The tree-structured Parzen estimator of Optuna; the conjugate gradients, L-BFGS-B or Nelder-Mead of SciPy. A
        block is returned unchanged, also one of f3dasm. Hydra instantiates a `DictConfig`.
    **hyperparameters : Any
        `output_name`, the output to minimize, by default "y"; `n_samples`, `seed` and the options of the sampler for
        "tpesampler"; `input_name`, `bounds`, `grad_f`, `data_generator` and the options of the method for the others.

    Returns
    -------
    Block
        Its `call(data)` returns the table with the proposed experiments, which are open.

    Raises
    ------
    DefinitionError
        If no optimizer has this name, or a package that it needs is not installed; it is a ValueError, too.

    Examples
    --------
    >>> optimizer, generator = create_optimizer("nelder_mead", output_name="y"), create_datagenerator("sphere")
    >>> steps = [Step(generator, name="evaluate", parallel=True), Step(optimizer, name="propose")]
    >>> loop = Loop(50, steps, until=optimizer.has_converged)
    """
    block = our_block(instantiate(optimizer, **hyperparameters) if is_config(optimizer) else optimizer)
    if isinstance(block, Block):
        return block
    names = {name.replace("_", ""): name for name in _FACTORIES}
    name = names.get(str(optimizer).lower().translate(str.maketrans("", "", " -_")))
    if name is None:
        raise DefinitionError(f"There is no optimizer {optimizer!r}.", f"Use one of: {', '.join(_FACTORIES)}")
    return _FACTORIES[name](**hyperparameters)
