"""What a step runs: blocks that change the table, and generators that evaluate its experiments."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.data.experiment_sample import ExperimentSample

if TYPE_CHECKING:
    from orchestrator.data.domain import Domain
    from orchestrator.data.experiment_data import ExperimentData

__all__ = [
    "Block",
    "ChainedBlock",
    "CollectArrayResults",
    "DataGenerator",
    "FunctionDataGenerator",
    "LoopBlock",
    "datagenerator",
    "evaluate",
    "needs_table",
]

_LOG = logging.getLogger("orchestrator")


class Block(ABC):
    """A step's work on a whole table: override `call`.

    Examples
    --------
    >>> class KeepBest(Block):
    ...     def call(self, data, n=10, **kwargs):
    ...         return data.get_n_best_output(n, "y")
    >>> step = Step(KeepBest(), kwargs={"n": 3})
    """

    def arm(self, data: ExperimentData) -> None:  # noqa: B027 - optional to override
        """Prepare for the data; called once, before `call`.

        Parameters
        ----------
        data : ExperimentData
            The table that `call` will get.
        """

    @abstractmethod
    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Do the work.

        Parameters
        ----------
        data : ExperimentData
            The whole table.
        **kwargs : Any
            `Step.kwargs`.

        Returns
        -------
        ExperimentData
            What is stored as the table: the same object, changed, or another one.
        """

    def after_store(self, project_dir: Path) -> None:  # noqa: B027 - optional to override
        """Clean up; called after the table that `call` returned is safely on disk.

        Parameters
        ----------
        project_dir : Path
            The folder that holds the table's ``experiment_data``.
        """

    def __rshift__(self, other: Block) -> ChainedBlock:
        return ChainedBlock([self, other])

    def loop(self, n_iterations: int) -> LoopBlock:
        """Make a block that calls this one repeatedly, in one process.

        Parameters
        ----------
        n_iterations : int
            How often.

        Returns
        -------
        LoopBlock
            The new block.
        """
        return LoopBlock(self, n_iterations)


class ChainedBlock(Block):
    """Blocks one after the other, in one process.

    Parameters
    ----------
    blocks : sequence of Block
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = list(blocks)

    def arm(self, data: ExperimentData) -> None:
        """Prepare each block for the data that the first one gets."""
        for block in self.blocks:
            block.arm(data)

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Call each block on what the one before it gave."""
        for block in self.blocks:
            data = block.call(data=data, **kwargs)
        return data

    def after_store(self, project_dir: Path) -> None:
        """Let each block clean up."""
        for block in self.blocks:
            block.after_store(project_dir)

    def __rshift__(self, other: Block) -> ChainedBlock:
        return ChainedBlock([*self.blocks, other])


class LoopBlock(Block):
    """A block that calls another one repeatedly, in one process and one step.

    Parameters
    ----------
    block : Block
        The block to call.
    n_iterations : int
        How often.
    """

    def __init__(self, block: Block, n_iterations: int) -> None:
        self.block = block
        self.n_iterations = n_iterations

    def arm(self, data: ExperimentData) -> None:
        """Prepare the block, once for all iterations: what it learns in one is there in the next."""
        self.block.arm(data)

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Call the block on what it gave before."""
        for _ in range(self.n_iterations):
            data = self.block.call(data=data, **kwargs)
        return data

    def after_store(self, project_dir: Path) -> None:
        """Let the block clean up."""
        self.block.after_store(project_dir)


class DataGenerator(Block):
    """A step's work on one experiment at a time: override `execute`. Only such a step can be parallel.

    Examples
    --------
    >>> class Parabola(DataGenerator):
    ...     def execute(self, experiment_sample, **kwargs):
    ...         experiment_sample.store("y", experiment_sample.input_data["x"] ** 2)
    ...         return experiment_sample
    >>> step = Step(Parabola(), name="evaluate", parallel=True)
    """

    @abstractmethod
    def execute(self, experiment_sample: ExperimentSample, **kwargs: Any) -> ExperimentSample:
        """Evaluate one experiment.

        Parameters
        ----------
        experiment_sample : ExperimentSample
            The experiment with its inputs. Set an output with `experiment_sample.store(name, value)`.
        **kwargs : Any
            `Step.kwargs`.

        Returns
        -------
        ExperimentSample
            The same object, or another one with the outputs. None means the same object.
        """

    def call(
        self, data: ExperimentData, mode: Literal["sequential"] = "sequential", pass_id: bool = False, **kwargs: Any
    ) -> ExperimentData:
        """Evaluate all open experiments in this process, outside of a pipeline.

        Parameters
        ----------
        data : ExperimentData
            The table; it is not changed.
        mode : {"sequential"}, default "sequential"
            The only mode; to evaluate in parallel, use a pipeline.
        pass_id : bool, default False
            Whether `execute` gets the experiment's label as `id`.
        **kwargs : Any
            Passed to `execute`.

        Returns
        -------
        ExperimentData
            A copy with results; an experiment that raised has the status ERROR.

        Raises
        ------
        ValueError
            If `mode` is anything else.
        """
        if mode != "sequential":
            raise ValueError(f"mode={mode!r} is not a mode of call; use 'sequential', or a step with parallel=True")
        result = data.copy()
        for label, inputs, outputs in data.open_rows():
            sample = ExperimentSample(inputs, outputs, project_dir=data.project_dir, id=label)
            try:
                sample = evaluate(self, sample, {**kwargs, "id": label} if pass_id else kwargs)
            except Exception:
                _LOG.exception("experiment %s failed", label)
                sample.mark("error")
            result.store_experimentsample(sample, label)
        return result


class FunctionDataGenerator(DataGenerator):
    """A generator made of a function by `datagenerator`.

    Parameters
    ----------
    f : callable
    output_names : list of str
    domain : Domain, optional
        Says which outputs go to disk.
    """

    def __init__(self, f: Callable[..., Any], output_names: list[str], domain: Domain | None = None) -> None:
        self.f = f
        self.output_names = output_names
        self.domain = domain
        self._parameters = _parameters(f)
        self.__doc__ = f.__doc__

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.f, "__name__", "step")

    def execute(self, experiment_sample: ExperimentSample, **kwargs: Any) -> ExperimentSample:
        """Call the function with the experiment's inputs; they win over `kwargs`, which win over defaults."""
        names, takes_all = self._parameters
        inputs = experiment_sample.input_data
        # What the step passes has to have a place; of the inputs, the function takes those that it names.
        arguments = {**kwargs, **{name: value for name, value in inputs.items() if takes_all or name in names}}
        missing = [name for name, required in names.items() if required and name not in arguments]
        if missing:
            raise ValueError(f"{self.name} needs {', '.join(missing)}: neither an input of the domain nor in kwargs")
        outputs = self.f(**arguments)
        values = outputs if isinstance(outputs, tuple) else (outputs,)
        if len(values) != len(self.output_names):
            raise ValueError(f"{self.name} gave {len(values)} outputs for {len(self.output_names)} names")
        for name, value in zip(self.output_names, values, strict=True):
            experiment_sample.store(name, value, **self._to_disk(name))
        return experiment_sample

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.f(*args, **kwargs)

    def _to_disk(self, name: str) -> dict[str, Any]:
        parameter = None if self.domain is None else self.domain.output_space.get(name)
        if parameter is None or not parameter.to_disk:
            return {}
        return {key: getattr(parameter, key) for key in ("to_disk", "store_function", "load_function", "load_kwargs")}


def datagenerator(
    output_names: str | Sequence[str], domain: Domain | None = None
) -> Callable[[Callable[..., Any]], FunctionDataGenerator]:
    """Make a data generator of a function whose parameters are the names of inputs.

    A parameter that is not an input is filled from `Step.kwargs`, else from its default. A function without named
    parameters and with `**kwargs` gets all inputs.

    Parameters
    ----------
    output_names : str or sequence of str
        Names of what the function returns, in order.
    domain : Domain, optional
        Its outputs with `to_disk` are written to files of their own.

    Returns
    -------
    callable
        A decorator. What it returns is a `DataGenerator` that can still be called as the function.

    Raises
    ------
    ValueError
        If a name is missing.

    Examples
    --------
    >>> @datagenerator(output_names=["y", "z"])
    ... def powers(x, offset=0.0):
    ...     return x**2 + offset, x**3
    >>> powers(2.0)
    (4.0, 8.0)
    >>> step = Step(powers, parallel=True, kwargs={"offset": 1.0})
    """
    names = [output_names] if isinstance(output_names, str) else list(output_names)
    if not all(names) or not names:
        raise ValueError("datagenerator needs output_names: a name for each value that the function returns")
    return lambda f: FunctionDataGenerator(f, names, domain)


class CollectArrayResults(Block):
    """Bring the results of a parallel step into the table, as in f3dasm.

    Results of the orchestrator's own tasks are in the table before any block is called. What remains to be collected
    are files that f3dasm's tasks leave in ``experiment_sample/``. A file fills only the experiment of its number, and
    only if that has the same inputs and no result yet. Other files stay where they are, and a warning and `status` name
    them. A file that can't be read fails the step.

    A step with its defaults needs no job on the cluster. With resources that are not the defaults, or with
    `cleanup=False`, it has one.

    Parameters
    ----------
    cleanup : bool, default True
        Whether the files are deleted once the table that holds their results is stored.

    Examples
    --------
    >>> step = Step(CollectArrayResults(), name="collect")
    """

    def __init__(self, cleanup: bool = True) -> None:
        self.cleanup = cleanup

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Put each file's result into the row that its name says."""
        # Loaded here: an array's tasks load this module, too.
        from orchestrator.data.sample_files import put_sample_files, read_sample_files

        for found, why in put_sample_files(data, read_sample_files(data.project_dir or ".")).misfits:
            _LOG.warning("%s is left where it is: %s.", found.path, why)
        return data

    def after_store(self, project_dir: Path) -> None:
        """Delete the files whose result the table holds."""
        from orchestrator.data.sample_files import put_sample_files, read_sample_files, remove_collected

        sample_files = read_sample_files(project_dir) if self.cleanup else []
        if sample_files:
            from orchestrator.data.experiment_data import ExperimentData

            # What the stored table does not have, stays.
            remove_collected(put_sample_files(ExperimentData.from_file(project_dir), sample_files).known)


def evaluate(generator: DataGenerator, sample: ExperimentSample, kwargs: Mapping[str, Any]) -> ExperimentSample:
    """Evaluate one experiment, and mark it finished unless the generator marked it itself.

    Raises
    ------
    Exception
        Whatever the user's code raises.
    """
    result = generator.execute(experiment_sample=sample, **kwargs)
    result = sample if result is None else result
    if not isinstance(result, ExperimentSample):
        raise TypeError(f"execute returns an ExperimentSample, not {type(result).__name__}")
    if not result.is_status("error"):
        result.mark("finished")
    return result


def needs_table(generator: DataGenerator) -> bool:
    """Whether evaluating needs the whole table: when `arm` or `call` are not the library's own."""
    kind = type(generator)
    return kind.arm is not Block.arm or kind.call is not DataGenerator.call


def _parameters(f: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Name a function's parameters, each with whether it is required, and tell whether it takes all inputs."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return {}, True
    named = {p.name: p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    # One that names some inputs gets no others, though it could take them.
    return named, not named and any(p.kind is p.VAR_KEYWORD for p in parameters)
