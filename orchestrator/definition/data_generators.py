"""Data generators, which evaluate the experiments of a table, and the block that collects their results."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus
from orchestrator.data.of_f3dasm import is_of_f3dasm, is_overridden, our_table, their_table
from orchestrator.data.values import check_name
from orchestrator.definition.block import Block
from orchestrator.definition.expected_outputs import check_declared, check_outputs, check_values
from orchestrator.definition.parameters_of import parameters_of

if TYPE_CHECKING:
    from logging import Logger

    from orchestrator.data.domain import Domain
    from orchestrator.data.experiment_data import ExperimentData

__all__ = [
    "CollectArrayResults",
    "DataGenerator",
    "FunctionDataGenerator",
    "datagenerator",
    "decorated_function",
    "evaluate",
    "evaluates_one_by_one",
    "executed_function",
    "kwargs_of",
    "needs_table",
]


class DataGenerator(Block):
    """Base class of data generators: they evaluate one experiment at a time. Override `execute`.

    Only a step with a data generator can be parallel.

    Examples
    --------
    >>> class Parabola(DataGenerator):
    ...     def execute(self, experiment_sample, **kwargs):
    ...         experiment_sample.store("y", experiment_sample.input_data["x"] ** 2)
    ...         return experiment_sample
    >>> step = Step(Parabola(), name="evaluate", parallel=True)

    Attributes
    ----------
    allow_nan : bool, default True
        Whether an output may be a missing value (None, NaN), or an array, list or dict with NaN. With False, it fails.
    """

    allow_nan: bool = True

    @abstractmethod
    def execute(self, experiment_sample: ExperimentSample, **kwargs: Any) -> ExperimentSample:
        """Evaluate one experiment.

        Parameters
        ----------
        experiment_sample : ExperimentSample
            The experiment with its inputs. `experiment_sample.store(name, value)` sets an output.
        **kwargs : Any
            The arguments in `Step.kwargs`.

        Returns
        -------
        ExperimentSample
            The same object, or another one with the outputs. None means the same object.
        """

    def call(
        self, data: ExperimentData, mode: str = "sequential", pass_id: bool = False, **kwargs: Any
    ) -> ExperimentData:
        """Evaluate all open experiments, outside of a pipeline.

        Parameters
        ----------
        data : ExperimentData
            The table; it is not changed.
        mode : {"sequential", "parallel"}, default "sequential"
            Whether this process evaluates them, or several processes of this machine, which are forks of it. Nothing is
            recorded: a step with `parallel=True` can be resumed, and continues without an experiment that crashes.
        pass_id : bool, default False
            Whether `execute` gets the experiment's label as `id`.
        **kwargs : Any
            Passed to `execute`; in the mode "parallel" except `nodes`, the number of processes.

        Returns
        -------
        ExperimentData
            A copy with the results. An experiment that raised an exception has the status ERROR.

        Raises
        ------
        ValueError
            If there is no such mode; if the domain declares outputs, but not the generator's; or if a parameter of its
            function has no value.
        """
        if is_of_f3dasm(data, "ExperimentData"):
            return their_table(self.call(our_table(data), mode, pass_id, **kwargs))  # type: ignore[no-any-return]
        if mode not in ("sequential", "parallel"):
            raise ValueError(
                f"mode={mode!r} is not available here. Use 'sequential' or 'parallel'; on a cluster, a pipeline with "
                "Step(generator, parallel=True), which 'orchestrator submit' submits as a job array"
            )
        if isinstance(self, FunctionDataGenerator):
            self.arm(data)
            self.check_arguments([*data.domain.input_names, *kwargs, *(["id"] if pass_id else [])])
        result = data.copy()
        rows = list(data.open_rows())
        nodes = kwargs.pop("nodes", None) if mode == "parallel" else None

        def evaluated(number: int) -> tuple[ExperimentSample, str | None]:
            label, inputs, outputs = rows[number]
            sample = ExperimentSample(inputs, outputs, project_dir=data.project_dir, id=label)
            more = {**kwargs, "id": label} if pass_id else kwargs
            return _evaluated_or_failed(self, sample, more, data.domain.expected_outputs)

        for (label, _, _), (sample, failure) in zip(rows, _all_of(evaluated, len(rows), mode, nodes), strict=True):
            if failure is not None:
                _logger().error("experiment %s failed\n%s", label, failure)
            result.store_experimentsample(sample, label)
        return result


class FunctionDataGenerator(DataGenerator):
    """A data generator that calls a function; `datagenerator` creates it.

    Parameters
    ----------
    f : callable
        The function. Its parameters are names of inputs.
    output_names : list of str
        Names of the values that it returns, in order.
    domain : Domain, optional
        Its outputs with `to_disk` are written to their own files.
    allow_nan : bool, default True
        Whether an output may be a missing value.
    """

    def __init__(
        self, f: Callable[..., Any], output_names: list[str], domain: Domain | None = None, allow_nan: bool = True
    ) -> None:
        self.f = f
        self.output_names = output_names
        self.domain = domain
        self.allow_nan = allow_nan
        self._parameters = _parameters(f)
        self._required = [name for name, is_required in self._parameters[0].items() if is_required]
        self.__doc__ = f.__doc__

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.f, "__name__", "step")

    def arm(self, data: ExperimentData) -> None:
        """Check that the domain of the table declares the outputs, unless it declares none.

        Raises
        ------
        ValueError
            If it does not.
        """
        check_declared(self.name, self.output_names, data.domain.expected_outputs)

    def takes(self, names: Sequence[str]) -> bool:
        """Whether the function gets inputs of these names."""
        parameters, takes_all = self._parameters
        return takes_all or all(name in parameters for name in names)

    def execute(self, experiment_sample: ExperimentSample, **kwargs: Any) -> ExperimentSample:
        """Call the function. An input replaces a value in `kwargs`, which replaces a default of the function."""
        arguments = self.arguments_of(experiment_sample.input_data, kwargs)
        if self.needs_scratch and "scratch_dir" not in arguments:
            arguments["scratch_dir"] = experiment_sample.scratch_dir
        self.check_arguments(arguments)
        return self.store_returned(experiment_sample, self.f(**arguments))

    @property
    def needs_scratch(self) -> bool:
        """Whether the function has a parameter `scratch_dir` without a default."""
        return self._parameters[0].get("scratch_dir", False)

    def arguments_of(self, inputs: Mapping[str, Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function for an experiment."""
        names, takes_all = self._parameters
        # All kwargs are passed, so that one without a parameter is an error; of the inputs only those with a parameter.
        return {**kwargs, **{name: value for name, value in inputs.items() if takes_all or name in names}}

    def store_returned(self, experiment_sample: ExperimentSample, outputs: Any) -> ExperimentSample:
        """Store what the function has returned."""
        if outputs is None:
            raise ValueError(
                f"{self.name} returned None: a return statement is missing. It returns one value for each of its "
                f"output_names, {', '.join(map(repr, self.output_names))}; float('nan') is a missing value"
            )
        values = outputs if isinstance(outputs, tuple) else (outputs,)
        if len(values) != len(self.output_names):
            raise ValueError(
                f"{self.name} returned {len(values)} outputs, but output_names has {len(self.output_names)}"
            )
        named = dict(zip(self.output_names, values, strict=True))
        for name, value in named.items():
            experiment_sample.store(name, value, **self._to_disk(name))
        if not self.allow_nan:  # here, because of an output on disk only the path is known later
            check_values(self.name, named)
        return experiment_sample

    def check_arguments(self, names: Collection[str]) -> None:
        """Check that each parameter of the function that has no default gets a value.

        Parameters
        ----------
        names : collection of str
            Names of the values.

        Raises
        ------
        ValueError
            If one does not.
        """
        missing = [name for name in self._required if name not in names and name != "scratch_dir"]
        if missing:
            raise ValueError(f"{self.name} needs {', '.join(missing)}: add an input of this name, or a value in kwargs")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.f(*args, **kwargs)

    def _to_disk(self, name: str) -> dict[str, Any]:
        parameter = None if self.domain is None else self.domain.output_space.get(name)
        if parameter is None or not parameter.to_disk:
            return {}
        return {key: getattr(parameter, key) for key in ("to_disk", "store_function", "load_function", "load_kwargs")}


def datagenerator(
    output_names: str | Sequence[str], domain: Domain | None = None, allow_nan: bool = True
) -> Callable[[Callable[..., Any]], FunctionDataGenerator]:
    """Turn a function whose parameters are names of inputs into a data generator.

    A parameter that is not an input gets its value from `Step.kwargs`, else its default. A parameter `scratch_dir`
    without a default gets `ExperimentSample.scratch_dir`. A function that has only `**kwargs` gets all inputs.

    Parameters
    ----------
    output_names : str or sequence of str
        Names of the values that the function returns, in order.
    domain : Domain, optional
        Its outputs with `to_disk` are written to their own files.
    allow_nan : bool, default True
        Whether an output may be a missing value (None, NaN), or an array, list or dict with NaN. With False, it fails.

    Returns
    -------
    callable
        A decorator. The decorated function is a `DataGenerator`, and can still be called as a function.

    Raises
    ------
    ValueError
        If `output_names` is empty, has a name twice, or a name that can't be written to a file.
    TypeError
        If `output_names` is neither text nor a sequence, as in `@datagenerator` without parentheses; or a name is not
        text.

    Examples
    --------
    >>> @datagenerator(output_names=["y", "z"])
    ... def powers(x, offset=0.0):
    ...     return x**2 + offset, x**3
    >>> powers(2.0)
    (4.0, 8.0)
    >>> step = Step(powers, parallel=True, kwargs={"offset": 1.0})
    """
    if not isinstance(output_names, Iterable):
        above = f" above {output_names.__name__}" if hasattr(output_names, "__name__") else ""
        raise TypeError(
            "datagenerator needs output_names, the names of the values that the function returns: "
            f'write @datagenerator(output_names="y"){above}'
        )
    names = [output_names] if isinstance(output_names, str) else list(output_names)
    if not all(names) or not names:
        raise ValueError("datagenerator needs output_names: one name for each value that the function returns")
    for name in names:
        check_name(name, "output")
    if len(set(names)) < len(names):
        raise ValueError(f"datagenerator needs different output_names, not {names}: one value would replace another")
    return lambda f: FunctionDataGenerator(f, names, domain, allow_nan)


class CollectArrayResults(Block):
    """Collect the results of a parallel step in the table, as in f3dasm.

    The results of the orchestrator's own tasks are in the table before any block is called. This block collects the
    files that f3dasm's tasks write to ``experiment_sample/``. The result in a file is written only to the experiment
    with the file's number, and only if that has the same inputs and no result. Other files are not changed; a warning
    and `status` report them. The step fails if a file can't be read.

    With default resources and `cleanup=True` the step needs no job on the cluster; otherwise it has one.

    Parameters
    ----------
    cleanup : bool, default True
        Whether the files are deleted after the table with their results is stored.

    Examples
    --------
    >>> step = Step(CollectArrayResults(), name="collect")
    """

    def __init__(self, cleanup: bool = True) -> None:
        self.cleanup = cleanup

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Write the result of each file to the experiment with the file's number."""
        # Imported here, because array tasks import this module, too.
        from orchestrator.data.sample_files import collect_and_warn

        collect_and_warn(data)
        return data

    def after_store(self, project_dir: Path) -> None:
        """Delete the files whose results are in the stored table."""
        from orchestrator.data.sample_files import collect_sample_files, read_sample_files, remove_collected

        sample_files = read_sample_files(project_dir) if self.cleanup else []
        if sample_files:
            from orchestrator.data.experiment_data import ExperimentData

            # A file whose result is not in the stored table is not deleted.
            remove_collected(collect_sample_files(ExperimentData.from_file(project_dir), sample_files).known)


def evaluate(
    generator: DataGenerator,
    sample: ExperimentSample,
    kwargs: Mapping[str, Any],
    expected: Sequence[str] | None = None,
    execute: Callable[..., Any] | None = None,
) -> ExperimentSample:
    """Evaluate one experiment, and mark it as finished unless the generator marked it as an error.

    Parameters
    ----------
    generator : DataGenerator
        The data generator.
    sample : ExperimentSample
        The experiment.
    kwargs : mapping of str to Any
        Further arguments for `execute`.
    expected : sequence of str or None, default None
        Names of the outputs that it may store, at least one of them; None: all, or none.
    execute : callable, optional
        Called in place of the generator's `execute`.

    Returns
    -------
    ExperimentSample
        The experiment with its outputs and status.

    Raises
    ------
    TypeError
        If `execute` returns something else than an ExperimentSample or None.
    ValueError
        If the outputs are not the expected ones.
    Exception
        Any exception that `execute` raises.
    """
    if isinstance(generator, FunctionDataGenerator):
        who = generator.name
        check_declared(who, generator.output_names, expected)
    else:
        who = f"{type(getattr(generator, 'theirs', generator)).__name__}.execute"
    before = dict(sample._output_data)
    result = (execute or generator.execute)(experiment_sample=sample, **kwargs)
    result = sample if result is None else result
    if not isinstance(result, ExperimentSample):
        raise TypeError(f"execute must return an ExperimentSample, not {type(result).__name__}")
    if result.job_status is not JobStatus.ERROR:
        check_outputs(who, result, before if result is sample else {}, expected)
        if not generator.allow_nan:
            check_values(who, result._output_data)
        result.mark(JobStatus.FINISHED)
    return result


def _evaluated_or_failed(
    generator: DataGenerator, given: ExperimentSample, kwargs: Mapping[str, Any], expected: Sequence[str] | None
) -> tuple[ExperimentSample, str | None]:
    """Return an experiment after its evaluation, and the traceback if that raised an exception."""
    sample, failure = given, None
    try:
        sample = evaluate(generator, given, kwargs, expected)
    except Exception:
        import traceback

        failure = traceback.format_exc()
        sample.mark("error")
        if expected is not None:
            for name in sample._output_data.keys() - set(expected):
                del sample._output_data[name]
    if given._scratch is not None:
        given._scratch.end(has_failed=sample.is_status("error"))
        sample._scratch = None
    return sample, failure


def _all_of(
    evaluated: Callable[[int], tuple[ExperimentSample, str | None]], n: int, mode: str, nodes: int | None
) -> Iterable[tuple[ExperimentSample, str | None]]:
    if mode == "sequential":
        return map(evaluated, range(n))
    from orchestrator.definition.parallel_call import in_processes

    return in_processes(evaluated, n, nodes)


def needs_table(generator: DataGenerator) -> bool:
    """Whether a data generator needs the whole table: it overrides `arm` or `call`."""
    cls = type(generator)
    # Tasks know the expected outputs without the table.
    return cls.arm not in (Block.arm, FunctionDataGenerator.arm) or cls.call is not DataGenerator.call


def evaluates_one_by_one(generator: DataGenerator) -> bool:
    """Whether `execute` of a data generator is called for each experiment: it does not override `call`."""
    return type(generator).call is DataGenerator.call


def decorated_function(block: Any) -> Callable[..., Any] | None:
    """Return the function that a data generator was made of by `datagenerator`, ours or f3dasm's; None for others."""
    theirs = getattr(block, "theirs", None)
    if theirs is not None and is_overridden(theirs, "execute"):
        return None
    made_of: Callable[..., Any] | None = getattr(block if theirs is None else theirs, "f", None)
    return made_of if theirs is not None or isinstance(block, FunctionDataGenerator) else None


def executed_function(generator: DataGenerator) -> Callable[..., Any]:
    """Return the function of the user that gets the kwargs of a step: the decorated one, or `execute`."""
    execute: Callable[..., Any] = getattr(generator, "theirs", generator).execute
    return decorated_function(generator) or execute


def kwargs_of(kwargs: Mapping[str, Any], label: int) -> dict[str, Any]:
    """Return the kwargs of a step as `execute` gets them: for `pass_id=True` the label of the experiment as `id`.

    Parameters
    ----------
    kwargs : mapping of str to Any
        The kwargs of the step.
    label : int
        Label of the experiment.

    Returns
    -------
    dict of str to Any
        The kwargs of one call.
    """
    own = {name: value for name, value in kwargs.items() if name != "pass_id"}
    return {**own, "id": label} if kwargs.get("pass_id") else own


def _parameters(f: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Return a function's parameters, each with whether it is required; and whether it takes all inputs."""
    found = parameters_of(f)
    if found is None:
        return {}, True
    named, has_kwargs = found
    # A function that names some inputs gets only these, even if it has **kwargs.
    return named, has_kwargs and not named


def _logger() -> Logger:
    from logging import getLogger  # Each task imports its study and this module, and few tasks log.

    return getLogger("orchestrator")
