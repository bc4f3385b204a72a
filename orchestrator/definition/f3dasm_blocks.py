"""Blocks, generators and settings of f3dasm as ours, so that a study may import them from f3dasm.

What an object of f3dasm is, and how tables, experiments and domains are converted: `orchestrator.data.of_f3dasm`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.data.of_f3dasm import copy_values, is_of_f3dasm, is_overridden, our_table, their_sample, their_table
from orchestrator.definition.block import ChainedBlock, our_block
from orchestrator.definition.data_generators import CollectArrayResults, DataGenerator
from orchestrator.definition.resources import SlurmCluster, SlurmResources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.experiment_sample import ExperimentSample

__all__ = ["F3dasmGenerator", "our_settings", "our_step_block"]

Settings = TypeVar("Settings", SlurmResources, SlurmCluster)


class F3dasmGenerator(DataGenerator):
    """A data generator that derives from f3dasm's: `execute` gets an experiment of f3dasm.

    Parameters
    ----------
    theirs : f3dasm.DataGenerator
        The data generator.
    """

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs

    def execute(self, experiment_sample: ExperimentSample, **kwargs: Any) -> ExperimentSample:
        """Evaluate an experiment, and take the outputs over, also if it raises an exception."""
        given = their_sample(experiment_sample)
        with _taken_over(experiment_sample, given):
            result = self.theirs.execute(experiment_sample=given, **kwargs)
        if result is not None and result is not given:
            _check_sample(result)
            copy_values(experiment_sample, result)
        return experiment_sample


class _ArmedGenerator(F3dasmGenerator):
    """One that prepares itself for the table."""

    def arm(self, data: ExperimentData) -> None:
        self.theirs.arm(their_table(data))


class _TableGenerator(_ArmedGenerator):
    """One that evaluates a whole table in its own way."""

    def call(self, data: ExperimentData, *args: Any, **kwargs: Any) -> ExperimentData:
        return our_table(self.theirs.call(their_table(data), *args, **kwargs), data)


@contextmanager
def _taken_over(ours: ExperimentSample, theirs: Any) -> Iterator[None]:
    try:
        yield
    finally:
        copy_values(ours, theirs)


def _check_sample(result: Any) -> None:
    if not all(hasattr(result, name) for name in ("_input_data", "_output_data", "job_status")):
        raise TypeError(f"execute must return an ExperimentSample, not {type(result).__name__}")


def our_step_block(block: Any) -> Any:
    """Return the block of a step as one of ours.

    Parameters
    ----------
    block : Any
        What the user wrote as `Step.block`.

    Returns
    -------
    Any
        A block of ours for one of f3dasm; any other value unchanged.
    """
    if isinstance(block, type):
        return block
    if is_of_f3dasm(block, "CollectArrayResults") and not is_overridden(block, "call"):
        # Ours deletes the files only after the table with their results is stored.
        return CollectArrayResults(block.cleanup)
    if is_of_f3dasm(block, "ChainedBlock") and not is_overridden(block, "call"):
        blocks = [inner if is_of_f3dasm(inner, "DataGenerator") else our_step_block(inner) for inner in block.blocks]
        return ChainedBlock(blocks) if _collects(blocks) else our_block(block)
    if is_of_f3dasm(block, "DataGenerator"):
        return _our_generator(block)
    return our_block(block)


def _collects(blocks: Iterable[Any]) -> bool:
    return any(isinstance(block, CollectArrayResults) for block in blocks)


def _our_generator(theirs: Any) -> F3dasmGenerator:
    """Return a data generator as one of ours; if its class has a `call` of its own, that gets the whole table."""
    if is_overridden(theirs, "call"):
        return _TableGenerator(theirs)
    return _ArmedGenerator(theirs) if is_overridden(theirs, "arm") else F3dasmGenerator(theirs)


def our_settings(cls: type[Settings], settings: Any) -> Any:
    """Return f3dasm's `SlurmResources` or `SlurmCluster` as ours; any other value is returned unchanged."""
    if not is_of_f3dasm(settings, cls.__name__):
        return settings
    return cls(**{name: getattr(settings, name) for name in vars(cls()) if hasattr(settings, name)})
