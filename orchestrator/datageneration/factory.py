"""Create a data generator of a benchmark function by its name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

from orchestrator.datageneration import functions
from orchestrator.definition.data_generators import DataGenerator, FunctionDataGenerator, datagenerator
from orchestrator.definition.f3dasm_blocks import our_step_block
from orchestrator.errors import DefinitionError
from orchestrator.text import did_you_mean

__all__ = ["create_datagenerator"]


def create_datagenerator(
    data_generator: str | DataGenerator, output_names: str | Sequence[str] = "y", **parameters: Any
) -> DataGenerator:
    """Create a data generator of a benchmark function by its name. The input of an experiment is the array `x`.

    Parameters
    ----------
    data_generator : str or DataGenerator
        Name of a function in `orchestrator.datageneration.functions`, in upper or lower case; spaces, hyphens and
        underscores don't matter. A data generator is returned unchanged, also one of f3dasm.
    output_names : str or sequence of str, default "y"
        Name of the output.
    **parameters : Any
        Parameters of the function, such as `a` of "ackley".

    Returns
    -------
    DataGenerator
        The data generator.

    Raises
    ------
    DefinitionError
        If there is no such function, or it has no such parameter; it is a ValueError, too.

    Examples
    --------
    >>> domain = Domain()
    >>> domain.add_array("x", shape=2, low=-5.0, high=5.0)
    >>> data = ExperimentData(domain=domain, input_data=[{"x": [1.0, 2.0]}])
    >>> create_datagenerator("sphere").call(data).to_pandas()[1]["y"].tolist()
    [5.0]
    """
    block = our_step_block(data_generator)
    if isinstance(block, DataGenerator):
        return block
    names = {name.replace("_", ""): name for name in functions.__all__}
    name = names.get(str(data_generator).lower().translate(str.maketrans("", "", " -_.")))
    if name is None:
        all_names = ", ".join(functions.__all__)
        hint = f"{did_you_mean(str(data_generator), functions.__all__)}Use one of: {all_names}"
        raise DefinitionError(f"There is no benchmark function {data_generator!r}.", hint)
    function = getattr(functions, name)
    if not parameters:
        return datagenerator(output_names)(function)
    known = [parameter for parameter in inspect.signature(function).parameters if parameter != "x"]
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        hint = f"{did_you_mean(unknown[0], known)}Use: {', '.join(known)}" if known else "It has none."
        raise DefinitionError(f"{name} has no parameter {unknown[0]!r}.", hint)
    with_parameters = partial(function, **parameters)
    with_parameters.__name__ = name  # type: ignore[attr-defined]
    generator: FunctionDataGenerator = datagenerator(output_names)(with_parameters)
    return generator
