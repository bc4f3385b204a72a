"""Samplers: blocks that add open experiments to a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.definition.block import Block, ChainedBlock, LoopBlock
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Latin", "RandomUniform", "create_sampler", "latin", "random", "seed_optimizers", "seed_samplers"]


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
        from orchestrator.data.experiment_data import ExperimentData

        seeds = (seed, self.seed, self._generator)
        chosen = next((value for value in seeds if value is not None), None)
        inputs = getattr(sampling, self._function)(data.domain, n_samples, chosen)
        return data + ExperimentData(domain=data.domain, input_data=inputs)


class Latin(RandomUniform):
    """Draw a Latin hypercube: each of the `n_samples` strata of an input gets one value.

    Parameters
    ----------
    seed : int, optional
        Seed of the random numbers. The same seed gives the same inputs. Without a seed they differ each time, except in
        a step of a pipeline that has a seed.
    """

    _function = "sample_latin"


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


_FACTORIES = {"random": random, "latin": latin}


def create_sampler(sampler: str | Block, **parameters: Any) -> Block:
    """Create a sampler by name: a block that adds open experiments to a table.

    Parameters
    ----------
    sampler : {"random_sampler", "latin_sampler"} or Block
        Uniform samples, or a Latin hypercube. `"random"` and `"latin"` are short forms. A block is returned unchanged.
    **parameters : Any
        `seed`, an int or None (default): the same seed gives the same inputs.

    Returns
    -------
    Block
        Its `call(data, n_samples)` returns a table with `n_samples` more experiments.

    Raises
    ------
    DefinitionError
        If no sampler has this name; it is a ValueError, too.

    Examples
    --------
    >>> domain = Domain()
    >>> domain.add_float("x", low=0.0, high=1.0)
    >>> data = create_sampler("latin", seed=1).call(ExperimentData(domain=domain), n_samples=4)
    >>> len(data)
    4
    """
    if isinstance(sampler, Block):
        return sampler
    name = str(sampler).lower().translate(str.maketrans("", "", " -_")).removesuffix("sampler")
    if name not in _FACTORIES:
        known = ", ".join(f"{name}_sampler" for name in _FACTORIES)
        raise DefinitionError(f"There is no sampler {sampler!r}.", f"Use one of: {known}")
    return _FACTORIES[name](**parameters)
