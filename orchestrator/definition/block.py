"""Blocks: the work of a step on a whole table, alone, in a chain or repeated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.configurations import instantiate, plain
from orchestrator.data.of_f3dasm import is_of_f3dasm, is_overridden, our_table, their_table

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Block", "ChainedBlock", "F3dasmBlock", "LoopBlock", "bound_kwargs", "called_function", "our_block"]


class Block(ABC):
    """Base class of blocks: the work of a step on a whole table. Override `call`.

    Examples
    --------
    >>> class KeepBest(Block):
    ...     def call(self, data, n=10, **kwargs):
    ...         return data.get_n_best_output(n, "y")
    >>> step = Step(KeepBest(), kwargs={"n": 3})
    """

    def arm(self, data: ExperimentData) -> None:  # noqa: B027 - optional to override
        """Prepare for the data. It is called once, before `call`; by default it does nothing. The name is f3dasm's.

        Parameters
        ----------
        data : ExperimentData
            The table that `call` will get.
        """

    @abstractmethod
    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Return the changed table.

        Parameters
        ----------
        data : ExperimentData
            The whole table.
        **kwargs : Any
            The arguments in `Step.kwargs`.

        Returns
        -------
        ExperimentData
            The table to store: the same object, changed, or another one.
        """

    @classmethod
    def from_yaml(cls, init_config: Any, call_config: Any = None) -> Any:
        """Create a block from a configuration of Hydra.

        Parameters
        ----------
        init_config : DictConfig
            `_target_` names the class, or a function that returns the block; the other keys are its arguments.
        call_config : DictConfig, mapping or None, default None
            Arguments of `call`, and of `execute` of a data generator. Those of the caller, or of `Step.kwargs`, replace
            them.

        Returns
        -------
        Block
            The block; one of f3dasm if `_target_` is.

        Raises
        ------
        DefinitionError
            If Hydra is not installed, or `init_config` has no `_target_`.
        TypeError
            If the target is not a block.
        """
        block = instantiate(init_config)
        if not isinstance(our_block(block), Block):
            raise TypeError(f"_target_ must be a Block, not {type(block).__name__}")
        if call_config is not None:
            block.call = partial(block.call, **plain(call_config))
        return block

    def after_store(self, project_dir: Path) -> None:  # noqa: B027 - optional to override
        """Clean up. It is called after the table that `call` returned is on disk; by default it does nothing.

        Parameters
        ----------
        project_dir : Path
            The folder that contains the table's ``experiment_data``.
        """

    def __rshift__(self, other: Block) -> ChainedBlock:
        return ChainedBlock([self, *_links(other)])

    def loop(self, n_iterations: int) -> LoopBlock:
        """Return a block that calls this one repeatedly, in one process.

        Parameters
        ----------
        n_iterations : int
            Number of calls.

        Returns
        -------
        LoopBlock
            The new block.

        Examples
        --------
        >>> class AddPoint(Block):
        ...     def call(self, data, **kwargs):
        ...         return data + ExperimentData(input_data=[{"x": float(len(data))}])
        >>> len(AddPoint().loop(3).call(ExperimentData()))
        3
        """
        return LoopBlock(self, n_iterations)


class ChainedBlock(Block):
    """Blocks that run one after the other, in one process.

    Parameters
    ----------
    blocks : sequence of Block
        The blocks, in the order in which they run.

    Examples
    --------
    >>> class AddPoint(Block):
    ...     def call(self, data, **kwargs):
    ...         return data + ExperimentData(input_data=[{"x": float(len(data))}])
    >>> chain = AddPoint() >> AddPoint()
    >>> isinstance(chain, ChainedBlock), len(chain.call(ExperimentData()))
    (True, 2)
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = [our_block(block) for block in blocks]

    def arm(self, data: ExperimentData) -> None:
        """Prepare each block for the data of the first one."""
        for block in self.blocks:
            block.arm(data)

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Call each block with the table that the block before it returned."""
        for block in self.blocks:
            data = block.call(data=data, **kwargs)
        return data

    def after_store(self, project_dir: Path) -> None:
        """Call `after_store` of each block."""
        for block in self.blocks:
            block.after_store(project_dir)

    def __rshift__(self, other: Block) -> ChainedBlock:
        return ChainedBlock([*self.blocks, *_links(other)])


class LoopBlock(Block):
    """A block that calls another one repeatedly, in one process and one step.

    Parameters
    ----------
    block : Block
        The block to call.
    n_iterations : int
        Number of calls.
    """

    def __init__(self, block: Block, n_iterations: int) -> None:
        self.block = our_block(block)
        self.n_iterations = n_iterations

    def arm(self, data: ExperimentData) -> None:
        """Prepare the block once, before the first call, so that it can keep its state between calls."""
        self.block.arm(data)

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Call the block repeatedly, each time with the table that it returned before."""
        for _ in range(self.n_iterations):
            data = self.block.call(data=data, **kwargs)
        return data

    def after_store(self, project_dir: Path) -> None:
        """Call `after_store` of the block, once."""
        self.block.after_store(project_dir)


class F3dasmBlock(Block):
    """A block of f3dasm, or one that derives from f3dasm's `Block`: it gets the table as f3dasm's.

    Parameters
    ----------
    theirs : f3dasm.Block or f3dasm.DataGenerator
        The block.
    """

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs
        self._armed: tuple[ExperimentData, Any] | None = None

    def arm(self, data: ExperimentData) -> None:
        """Prepare the block for the data."""
        self._armed = (data, their_table(data))
        self.theirs.arm(self._armed[1])

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Call the block with the data, which are the object that it was prepared for if they are the same here."""
        is_armed = self._armed is not None and self._armed[0] is data
        table = self._armed[1] if self._armed is not None and is_armed else their_table(data)
        self._armed = None
        return our_table(self.theirs.call(data=table, **kwargs), data)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_armed": None}


def _links(block: Any) -> Sequence[Any]:
    """Return the blocks of a chain; any other block alone."""
    return block.blocks if isinstance(block, ChainedBlock) else [block]


def called_function(block: Block) -> Callable[..., Any]:
    """Return the `call` of a block; that of the block of f3dasm, if it is one."""
    call: Callable[..., Any] = getattr(block, "theirs", block).call
    return call


def bound_kwargs(block: Any) -> dict[str, Any]:
    """Return the arguments of `call` that `from_yaml` has set."""
    bound = [vars(found).get("call") for found in (block, getattr(block, "theirs", None)) if hasattr(found, "__dict__")]
    return {name: value for one in bound if isinstance(one, partial) for name, value in one.keywords.items()}


def our_block(block: Any) -> Any:
    """Return a block of f3dasm as one of ours; any other value is returned unchanged.

    A chain or loop of f3dasm that contains blocks of ours becomes a chain or loop of ours.
    """
    if isinstance(block, Block) or not is_of_f3dasm(block, "Block", "DataGenerator"):
        return block
    if not any(isinstance(inner, Block) for inner in _parts(block)):
        return F3dasmBlock(block)
    if is_of_f3dasm(block, "ChainedBlock"):
        return ChainedBlock(block.blocks)
    return LoopBlock(block.block, block.n_iterations)


def _parts(block: Any) -> Iterator[Any]:
    """Yield a block, and those inside it if it is a chain or loop of f3dasm."""
    yield block
    if is_of_f3dasm(block, "ChainedBlock", "LoopBlock") and not is_overridden(block, "call"):
        for inner in block.blocks if is_of_f3dasm(block, "ChainedBlock") else [block.block]:
            yield from _parts(inner)
