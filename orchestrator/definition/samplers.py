"""Samplers: blocks that add open experiments to a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.data.configurations import instantiate, is_config
from orchestrator.data.of_f3dasm import is_of_f3dasm, our_table, their_table
from orchestrator.definition.block import Block, ChainedBlock, LoopBlock, our_block
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.data.experiment_data import ExperimentData

__all__ = [
    "Grid",
    "Latin",
    "RandomUniform",
    "Sobol",
    "create_sampler",
    "grid",
    "latin",
    "random",
    "seed_optimizers",
    "seed_samplers",
    "sobol",
]


class RandomUniform(Block):
    """Draw inputs independently and uniformly.

    Parameters
    ----------
    seed : int, optional
        Seed of the random numbers. The same seed gives the same inputs. Without a seed they differ each time, except in
        a step of a pipeline that has a seed.
    """

    _function = "sample_random"
    _generator: np.random.Generator | None = None

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def call(  # type: ignore[override]
        self, data: ExperimentData, n_samples: int, seed: int | None = None, **kwargs: Any
    ) -> ExperimentData:
        """Add experiments.

        Parameters
        ----------
        data : ExperimentData
            The table. Its domain has the names and bounds of the inputs.
        n_samples : int
            Number of experiments to add.
        seed : int, optional
            Replaces the sampler's own seed.
        **kwargs : Any
            Ignored. Other blocks of a chain may use them.

        Returns
        -------
        ExperimentData
            A new table: the experiments of `data`, and the new ones with status OPEN.

        Raises
        ------
        DefinitionError
            If `n_samples` is negative, or an input can't be sampled; it is a ValueError, too.
        """
        from orchestrator.data import sampling

        seeds = (seed, self.seed, self._generator)
        chosen = next((value for value in seeds if value is not None), None)
        ours = our_table(data)
        return _with_more(data, ours, getattr(sampling, self._function)(ours.domain, n_samples, chosen))


class Latin(RandomUniform):
    """Draw a Latin hypercube: each of the `n_samples` strata of an input gets one value.

    Parameters
    ----------
    seed : int, optional
        Seed of the random numbers. The same seed gives the same inputs. Without a seed they differ each time, except in
        a step of a pipeline that has a seed.
    """

    _function = "sample_latin"


class Sobol(RandomUniform):
    """Take floats and arrays from Sobol sequences, which fill the space evenly; other inputs are uniform.

    The sequence of the floats does not depend on the seed: a second call gives the same floats.

    Parameters
    ----------
    seed : int, optional
        Seed of the random numbers for the other inputs.
    """

    _function = "sample_sobol"


class Grid(Block):
    """Combine all values of all inputs.

    Parameters
    ----------
    stepsize_continuous_parameters : float, dict of str to float or None, default None
        Distance of the values of float inputs and of elements of arrays, counted from the lower bound; the upper bound
        is excluded. A dict has one for each of these inputs.
    """

    def __init__(self, stepsize_continuous_parameters: float | Mapping[str, float] | None = None) -> None:
        self.stepsize_continuous_parameters = stepsize_continuous_parameters

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Add experiments.

        Parameters
        ----------
        data : ExperimentData
            The table. Its domain has the names, bounds and values of the inputs.
        **kwargs : Any
            Ignored. Other blocks of a chain may use them.

        Returns
        -------
        ExperimentData
            A new table: the experiments of `data`, and one with status OPEN for each combination.

        Raises
        ------
        DefinitionError
            If an input can't be sampled, or has no step; it is a ValueError, too.
        """
        from orchestrator.data.sampling import sample_grid

        ours = our_table(data)
        return _with_more(data, ours, sample_grid(ours.domain, self.stepsize_continuous_parameters))


def _with_more(given: Any, ours: ExperimentData, inputs: Any) -> ExperimentData:
    """Return a table with more experiments; one of f3dasm if such a table was given."""
    from orchestrator.data.experiment_data import ExperimentData

    more = ours + ExperimentData(domain=ours.domain, input_data=inputs, project_dir=ours.project_dir)
    return their_table(more) if is_of_f3dasm(given, "ExperimentData") else more


def seed_samplers(block: Block, seed: int) -> None:
    """Let all samplers of a block that have no seed draw from one generator of random numbers.

    Parameters
    ----------
    block : Block
        A sampler, or a block that calls samplers.
    seed : int
        Seed of the generator.
    """
    samplers = [found for found in _parts(block) if isinstance(found, RandomUniform)]
    if samplers:
        import numpy as np

        generator = np.random.default_rng(seed)
        for sampler in samplers:
            sampler._generator = generator


def seed_optimizers(block: Block, seed: int) -> None:
    """Give all optimizers of a block the seed of their step, which those without one use.

    Parameters
    ----------
    block : Block
        An optimizer, or a block that calls optimizers.
    seed : int
        The seed.
    """
    for found in _parts(block):
        if hasattr(found, "step_seed"):
            found.step_seed = seed


def _parts(block: Block) -> Iterator[Block]:
    yield block
    inner = block.blocks if isinstance(block, ChainedBlock) else [block.block] if isinstance(block, LoopBlock) else []
    for part in inner:
        yield from _parts(part)


def random(seed: int | None = None, **parameters: Any) -> RandomUniform:
    """Create a `RandomUniform`."""
    return RandomUniform(seed=seed, **parameters)


def latin(seed: int | None = None, **parameters: Any) -> Latin:
    """Create a `Latin`."""
    return Latin(seed=seed, **parameters)


def sobol(seed: int | None = None, **parameters: Any) -> Sobol:
    """Create a `Sobol`."""
    return Sobol(seed=seed, **parameters)


def grid(stepsize_continuous_parameters: float | Mapping[str, float] | None = None, **parameters: Any) -> Grid:
    """Create a `Grid`."""
    return Grid(stepsize_continuous_parameters, **parameters)


_FACTORIES: dict[str, Any] = {"random": random, "latin": latin, "sobol": sobol, "grid": grid}


def create_sampler(sampler: Any, **parameters: Any) -> Block:
    """Create a sampler by name: a block that adds open experiments to a table.

    The same seed gives the same inputs as in f3dasm 2.4.

    Parameters
    ----------
    sampler : {"random_sampler", "latin_sampler", "sobol_sampler", "grid_sampler"}, Block or DictConfig
        Uniform samples, a Latin hypercube, a Sobol sequence or a grid. `"random"`, `"latin"`, `"sobol"` and `"grid"`
        are short forms. A block is returned unchanged. Hydra instantiates a `DictConfig`.
    **parameters : Any
        `seed`, an int or None (default). Of a grid: `stepsize_continuous_parameters`.

    Returns
    -------
    Block
        Its `call(data, n_samples)` returns a table with `n_samples` more experiments. That of a grid needs no
        `n_samples`.

    Raises
    ------
    DefinitionError
        If no sampler has this name; it is a ValueError, too.
    TypeError
        If the sampler has no such parameter, or `sampler` has another type.

    Examples
    --------
    >>> domain = Domain()
    >>> domain.add_float("x", low=0.0, high=1.0)
    >>> data = create_sampler("latin", seed=1).call(ExperimentData(domain=domain), n_samples=4)
    >>> len(data)
    4
    """
    block = our_block(instantiate(sampler, **parameters) if is_config(sampler) else sampler)
    if isinstance(block, Block):
        return block
    if not isinstance(block, str):
        raise TypeError(f"sampler must be a name, a Block or a DictConfig, not {type(block).__name__}")
    name = block.lower().translate(str.maketrans("", "", " -_")).removesuffix("sampler")
    if name not in _FACTORIES:
        known = ", ".join(f"{name}_sampler" for name in _FACTORIES)
        raise DefinitionError(f"There is no sampler {sampler!r}.", f"Use one of: {known}")
    setting = "stepsize_continuous_parameters" if name == "grid" else "seed"
    wrong = [key for key in parameters if key != setting]
    if wrong:
        raise TypeError(f"the sampler {sampler!r} has no parameter {wrong[0]!r}; its only one is {setting!r}")
    created: Block = _FACTORIES[name](**parameters)
    return created
