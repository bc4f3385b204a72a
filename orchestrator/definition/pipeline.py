"""`Step`, `Loop` and the definition of a pipeline, as the user writes them.

The constructors make only the checks that f3dasm's make; `orchestrator.definition.validate` makes the others before
a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args, overload

from orchestrator.data.configurations import fill_defaults, names_unknown
from orchestrator.data.of_f3dasm import is_of_f3dasm
from orchestrator.data.scratch import Keep
from orchestrator.definition.block import bound_kwargs
from orchestrator.definition.data_generators import DataGenerator
from orchestrator.definition.resources import SlurmResources, time_in_seconds
from orchestrator.errors import DefinitionError
from orchestrator.text import did_you_mean

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = [
    "DEPENDENCIES",
    "Dependency",
    "Loop",
    "PipelineDefinition",
    "Step",
    "our_pipeline",
    "step_name",
    "timeout_in_seconds",
    "walk",
]

Dependency = Literal["afterok", "afterany"]
"""Whether a step needs the success of the step before it, or only its end."""

DEPENDENCIES: tuple[str, ...] = get_args(Dependency)


ABORT_EARLY = 5
"""Number of first experiments that must not all fail with the same exception.

The rule is applied in `orchestrator.worker.stopping` and `orchestrator.machine.decide` (`_why_failed`)."""


@names_unknown
@dataclass
class _StepFields:
    """The fields of a step, in the order of f3dasm."""

    block: Any
    name: str = ""
    parallel: bool = False
    resources: SlurmResources = field(default_factory=SlurmResources)
    dependency: Dependency = "afterok"
    project_dir: str = "."
    kwargs: dict[str, Any] = field(default_factory=dict)
    max_failed: int | float | None = None
    retries: int = 0
    timeout: str | float | None = None
    keep_scratch: Keep = "on_error"
    abort_early: int | bool = ABORT_EARLY

    def __post_init__(self) -> None:
        fill_defaults(self)
        if self.dependency not in DEPENDENCIES:
            raise ValueError(f"Invalid dependency {self.dependency!r}: use 'afterok' or 'afterany'.")


class Step(_StepFields):
    """A step of a pipeline.

    Parameters
    ----------
    block : Block, DataGenerator or callable
        The work of the step. A callable is called as `block(project_dir=..., **kwargs)`. In
        `Step("run", block=generator)` the first argument is the name.
    name : str, default ""
        Name of the step, unique within its pipeline or loop. By default the block's name.
    parallel : bool, default False
        Whether the experiments of a DataGenerator are evaluated in parallel.
    resources : SlurmResources, optional
        Resources of each job of the step. By default `SlurmResources()`.
    dependency : {"afterok", "afterany"}, default "afterok"
        Whether the step needs the success of the step before it, or only its end.
    project_dir : str, default "."
        Folder of the step's table, relative to the run's folder.
    kwargs : dict, default {}
        Arguments for `Block.call`, `DataGenerator.execute` or the callable.
    max_failed : int, float or None, default None
        Number (int) or fraction (float) of the experiments of the step, of whatever attempt, that may fail; with more
        the step fails. 1.0: all may fail. None: any number may fail, but not all.
    retries : int, default 0
        Number of retries of a job that ran out of memory or time, or ended for an unknown reason. An experiment whose
        process died has ``retries + 1`` tries, but at least two.
    timeout : str, float or None, default None
        Longest time for one experiment of a DataGenerator: seconds as a number, or text as in `SlurmResources.time`, so
        that 30 is 30 seconds and "30" is 30 minutes. An experiment that takes longer is ended and has failed. None: no
        limit.
    keep_scratch : {"on_error", "always", "never"}, default "on_error"
        Which `scratch_dir` of experiments are kept when they end: those of failed experiments, all, or none.
    abort_early : int or bool, default 5
        The step stops, and has failed, if its first experiments, as many as this number, all fail with the same
        exception. False: it does not. A `max_failed` that allows so many (as int), or all of them (1.0), has the same
        effect as False.

    Raises
    ------
    ValueError
        If `dependency` is another text.
    TypeError
        If there are too many positional arguments, two blocks or none.

    Examples
    --------
    >>> @datagenerator(output_names="y")
    ... def evaluate(x):
    ...     return x**2
    >>> resources = SlurmResources(time="01:00:00", max_jobs_per_task=5)
    >>> step = Step(evaluate, parallel=True, resources=resources, retries=2, timeout="00:10:00")
    >>> collect = Step(CollectArrayResults(), dependency="afterany")
    """

    @overload
    def __init__(
        self,
        block: Any,
        name: str = "",
        parallel: bool = False,
        resources: SlurmResources | None = None,
        dependency: Dependency = "afterok",
        project_dir: str = ".",
        kwargs: dict[str, Any] | None = None,
        max_failed: int | float | None = None,
        retries: int = 0,
        timeout: str | float | None = None,
        keep_scratch: Keep = "on_error",
        abort_early: int | bool = ABORT_EARLY,
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        parallel: bool = False,
        *,
        block: Any,
        resources: SlurmResources | None = None,
        dependency: Dependency = "afterok",
        project_dir: str = ".",
        kwargs: dict[str, Any] | None = None,
        max_failed: int | float | None = None,
        retries: int = 0,
        timeout: str | float | None = None,
        keep_scratch: Keep = "on_error",
        abort_early: int | bool = ABORT_EARLY,
    ) -> None: ...

    @wraps(_StepFields.__init__, assigned=())  # type: ignore[misc]  # so that `help` shows the fields
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "block" in kwargs and args and isinstance(args[0], str):
            args = (kwargs.pop("block"), *args)
        super().__init__(*args, **kwargs)


@names_unknown
@dataclass
class Loop:
    """Steps that are repeated.

    Parameters
    ----------
    n_iterations : int, default 1
        Number of iterations; with `until`, the largest number.
    steps : list of Step or Loop, default []
        The steps of one iteration.
    until : callable, optional
        `until(data) -> bool` is called with the ExperimentData after each iteration; the loop ends when it returns
        True. None is an error: a `return` is missing.

    Examples
    --------
    >>> def is_good_enough(data):
    ...     return data.to_numpy()[1].min() < 0.01
    >>> more = Step(create_sampler("random"), name="more", kwargs={"n_samples": 10})
    >>> loop = Loop(20, steps=[more], until=is_good_enough)
    """

    n_iterations: int = 1
    steps: list[Any] = field(default_factory=list)
    until: Callable[[ExperimentData], bool] | None = None

    def __post_init__(self) -> None:
        """Replace None by a new list."""
        fill_defaults(self)


class _Origin:
    """The whole pipeline that `from_step` was called on, and the index of the element to start at."""

    def __init__(self, steps: Sequence[Step | Loop], element: int) -> None:
        self.steps = steps
        self.element = element


@names_unknown
@dataclass
class PipelineDefinition:
    """The steps of a pipeline in order, without methods that run them.

    Parameters
    ----------
    name : str, default ""
        Name of the pipeline; it is part of the names of its SLURM jobs.
    steps : list of Step or Loop, default []
        The steps, in the order in which they run.
    orchestrator_resources : SlurmResources, optional
        Resources of each orchestrator job. By default 10 minutes, 1 GB and 1 CPU.
    seed : int, optional
        The seed of the whole study, from 0 to 2**64 - 1. By default seeds depend on the run's key.
    """

    # Without an annotation it is not a field.
    _origin = cast("_Origin | None", None)

    def __post_init__(self) -> None:
        """Replace None by a new list."""
        fill_defaults(self)

    name: str = ""
    steps: list[Step | Loop] = field(default_factory=list)
    orchestrator_resources: SlurmResources | None = None
    seed: int | None = None

    def from_step(self, step: int | str) -> Self:
        """Return a pipeline that begins at a later step.

        Parameters
        ----------
        step : int or str
            Index of an element of `steps`, where a negative index counts from the end; or the name of a step. A step in
            a loop selects the whole loop.

        Returns
        -------
        Pipeline
            A pipeline with the remaining steps. If it is run with the `project_job` of an earlier run, that run
            continues from this step; with a new one, the steps before are recorded as `skipped (from_step)`.

        Raises
        ------
        DefinitionError
            If there is no such step; it is a ValueError, too.

        Examples
        --------
        >>> collect = Step(CollectArrayResults(), name="collect")
        >>> pipeline = Pipeline("study", steps=[Step(create_sampler("latin"), name="sample"), collect])
        >>> len(pipeline.from_step("collect").steps)
        1
        """
        element = self._element(step)
        tail: Self = _changed(self, steps=list(self.steps[element:]))
        before = 0 if self._origin is None else self._origin.element
        tail._origin = _Origin(self.all_steps, before + element)
        return tail

    @property
    def all_steps(self) -> Sequence[Step | Loop]:
        """The steps of the whole pipeline, also after `from_step`; those of f3dasm as ours."""
        steps: Sequence[Step | Loop] = _our_elements(self.steps if self._origin is None else self._origin.steps)
        return steps

    @property
    def resources(self) -> SlurmResources | None:
        """`orchestrator_resources`; those of f3dasm as ours."""
        from orchestrator.definition.f3dasm_blocks import our_settings

        ours: SlurmResources | None = our_settings(SlurmResources, self.orchestrator_resources)
        return ours

    @property
    def first_element(self) -> int | None:
        """Index in `all_steps` of the element that `from_step` selected; None for a whole pipeline."""
        return None if self._origin is None else self._origin.element

    def _flatten(self) -> list[tuple[Step, int, int]]:
        """Return each step with its iteration, and the number of iterations of its loop, as in f3dasm.

        A loop in a loop is repeated as a whole; the numbers are those of the innermost loop.
        """
        return list(_flattened(_our_elements(self.steps), 0, 1))

    def _element(self, step: int | str) -> int:
        if not isinstance(self.steps, list | tuple):
            raise DefinitionError(
                f"The steps of a pipeline must be a list, not {type(self.steps).__name__}.", "Use steps=[...]."
            )
        if isinstance(step, str):
            ours = _our_elements(self.steps)
            named = [(step_name(found), path) for path, found in walk(ours) if isinstance(found, Step)]
            for name, path in named:
                if name == step:
                    return int(path.partition(".")[0])
            names = [name for name, _ in named]
            raise DefinitionError(
                f"from_step: no step has the name {step!r}.",
                f"{did_you_mean(step, names)}The steps are: {', '.join(names)}",
            )
        if isinstance(step, bool) or not isinstance(step, int):
            raise DefinitionError(
                f"from_step: {step!r} is neither an index nor a name.", "Use an integer, or the name of a step."
            )
        if not -len(self.steps) <= step < len(self.steps):
            raise DefinitionError(
                f"from_step: there is no element {step}; the pipeline has {len(self.steps)}.",
                f"Use 0 to {len(self.steps) - 1}, or the name of a step." if self.steps else "Add steps=[...] to it.",
            )
        return step % len(self.steps)


def our_pipeline(value: Any) -> Any:
    """Return a pipeline of f3dasm as a definition of ours; any other value is returned unchanged."""
    if isinstance(value, PipelineDefinition) or not is_of_f3dasm(value, "Pipeline"):
        return value
    return PipelineDefinition(value.name, value.steps, value.orchestrator_resources)


def _flattened(elements: Sequence[Step | Loop], iteration: int, n_iterations: int) -> Iterator[tuple[Step, int, int]]:
    for element in elements:
        if isinstance(element, Loop):
            for inner in range(element.n_iterations):
                yield from _flattened(element.steps, inner, element.n_iterations)
        else:
            yield element, iteration, n_iterations


def _our_elements(elements: Any) -> Any:
    """Return the elements of a pipeline, those of f3dasm as ours; a value that is not a list is returned unchanged."""
    return [_our_element(element) for element in elements] if isinstance(elements, list | tuple) else elements


def _our_element(element: Any) -> Any:
    if is_of_f3dasm(element, "Loop"):
        return Loop(element.n_iterations, _our_elements(element.steps))
    if is_of_f3dasm(element, "Step"):
        element = Step(**{one.name: getattr(element, one.name) for one in fields(element)})
    if isinstance(element, Loop):
        return _changed(element, steps=_our_elements(element.steps))
    if isinstance(element, Step):
        from orchestrator.definition.f3dasm_blocks import our_settings, our_step_block

        resources = our_settings(SlurmResources, element.resources)
        block = our_step_block(element.block)
        # Of a block these are in its `call`; of a data generator, `execute` is called.
        bound = bound_kwargs(block) if isinstance(block, DataGenerator) and isinstance(element.kwargs, Mapping) else {}
        bound.pop("mode", None)  # how a data generator evaluates a table: here the step decides that
        kwargs = {**bound, **element.kwargs} if bound else element.kwargs
        return _changed(element, block=block, resources=resources, kwargs=kwargs)
    return element


def _changed(element: Any, **values: Any) -> Any:
    """Return a copy of an element with other values; without a check, which `validate` makes."""
    if all(getattr(element, name) is value for name, value in values.items()):
        return element
    changed = copy(element)
    vars(changed).update(values)
    return changed


def step_name(step: Step) -> str:
    """Return the name that the user gave a step, else the name of its block."""
    if step.name:
        return step.name
    block = getattr(step.block, "theirs", step.block)
    name = getattr(getattr(block, "f", block), "__name__", None)
    if not isinstance(name, str):
        # The name of a functools.partial is that of the function that it calls.
        name = getattr(getattr(block, "func", None), "__name__", type(block).__name__)
    return "step" if name == "<lambda>" else str(name)


def timeout_in_seconds(timeout: str | float | None) -> float | None:
    """Convert the timeout of a step to seconds.

    Returns
    -------
    float or None
        Seconds; None for no limit.

    Raises
    ------
    DefinitionError
        If it is not a valid time.
    """
    seconds: float | None = math.nan
    if timeout is None or isinstance(timeout, str):
        with suppress(DefinitionError):
            seconds = None if timeout is None else time_in_seconds(timeout)
    elif isinstance(timeout, int | float) and not isinstance(timeout, bool):
        seconds = float(timeout)
    # inf is no number of seconds that a clock could reach.
    if seconds is not None and not 0 < seconds < math.inf:
        raise DefinitionError(
            f"timeout={timeout!r} is not valid",
            "use a number of seconds above 0, text such as '00:10:00' (HH:MM:SS) or '10' (minutes), or None",
        )
    return seconds


def walk(elements: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every element with its path; a loop comes before its own elements.

    Parameters
    ----------
    elements : list of Step or Loop
        The elements of a pipeline or loop. An element of another type is yielded, too, and a value that is not a list
        has no elements; `validate` reports both.
    prefix : str, default ""
        First characters of every path.

    Yields
    ------
    path : str
        Indexes of the element: `"0"`, in a loop `"1.2"`.
    element : Step or Loop
        The element.
    """
    for index, element in enumerate(elements if isinstance(elements, list | tuple) else ()):
        yield f"{prefix}{index}", element
        if isinstance(element, Loop):
            yield from walk(element.steps, f"{prefix}{index}.")
