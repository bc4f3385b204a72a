"""Check pipelines, clusters and keys before anything is written, and report all problems at once."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from orchestrator.addresses import parse_address
from orchestrator.data.scratch import KEEP
from orchestrator.definition.block import Block, ChainedBlock, LoopBlock, called_function
from orchestrator.definition.data_generators import (
    DataGenerator,
    decorated_function,
    evaluates_one_by_one,
    executed_function,
    kwargs_of,
)
from orchestrator.definition.injection import INJECTED, is_seed
from orchestrator.definition.pipeline import DEPENDENCIES, Loop, Step, step_name, timeout_in_seconds, walk
from orchestrator.definition.resources import SlurmCluster
from orchestrator.definition.validate_resources import cluster_problems, resource_problems
from orchestrator.errors import DefinitionError
from orchestrator.machine.plan import UNTIL
from orchestrator.table_folder import DATA_FOLDER, SAMPLE_FOLDER

__all__ = ["check_cluster", "check_key", "check_pipeline"]

RESERVED_KEYS = ("logs",)

# A key is part of commands that the user types or copies: it contains no character that a shell interprets.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def check_pipeline(name: str, steps: Sequence[Any], orchestrator_resources: Any = None, seed: Any = None) -> None:
    """Check a whole pipeline.

    Parameters
    ----------
    name : str
        Name of the pipeline; it may be empty.
    steps : sequence of Step or Loop
        The elements of the pipeline, as the user wrote them.
    orchestrator_resources : SlurmResources or None, default None
        What the orchestrator jobs ask for; None means the defaults.
    seed : int or None, default None
        The pipeline's seed.

    Raises
    ------
    DefinitionError
        If there are problems: one line for each, with the place, the problem and what to change.
    """
    problems = [f"the pipeline's name {problem}" for problem in _name_problems(name)] if name else []
    if not isinstance(name, str):
        problems = [f"the pipeline's name must be text, not {type(name).__name__}"]
    problems += _problems(steps)
    if orchestrator_resources is not None:
        found = resource_problems(orchestrator_resources)
        problems += (f"orchestrator_resources: {problem.removeprefix('resources: ')}" for problem in found)
    if not is_seed(seed):
        problems.append(f"seed={_shown(seed)} is not valid; use an integer from 0 to 2**64 - 1, or omit it")
    _refuse("The pipeline can't run", problems)


def check_cluster(cluster: Any) -> None:
    """Check the definition of a cluster.

    Parameters
    ----------
    cluster : SlurmCluster
        The cluster, as the user wrote it.

    Raises
    ------
    DefinitionError
        If there are problems: one line for each.
    """
    if not isinstance(cluster, SlurmCluster):
        raise DefinitionError(
            f"cluster must be a SlurmCluster, not {type(cluster).__name__}.",
            "Use SlurmCluster(...), or SlurmCluster.from_yaml(...) for a mapping or a file.",
        )
    _refuse("The cluster can't be used", list(cluster_problems(cluster)))


def _shown(value: Any) -> str:
    """Return the `repr` of a value of the user, which may be long or raise."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(what: str, problems: Sequence[str]) -> None:
    if problems:
        n = f"{len(problems)} things" if len(problems) > 1 else "one thing"
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DefinitionError(
            f"{what}: {n} must change.\n{listed}", "Change that, then type the command again. Nothing was written."
        )


def check_key(project_job: str) -> None:
    """Check the key of a run; it is also the name of the run's folder.

    Parameters
    ----------
    project_job : str
        The key.

    Raises
    ------
    DefinitionError
        If the key is not a valid name, or is reserved.
    """
    if not isinstance(project_job, str) or not _KEY.fullmatch(project_job):
        raise DefinitionError(
            f"project_job={project_job!r} can't be the name of a run's folder.",
            "Use only letters, digits and . _ - (at most 128 characters), with a letter, a digit or _ first.",
        )
    if project_job in RESERVED_KEYS or project_job.startswith("orchestrator.db"):
        raise DefinitionError(
            f"project_job={project_job!r} is reserved for the workspace's own files.", "Use another key."
        )


def _problems(steps: Any) -> Iterator[str]:
    yield from _level_problems(steps, "the pipeline")
    places: dict[str, list[str]] = {}  # of each problem: steps with the same resources have the same ones
    for path, element in walk(steps):
        if isinstance(element, Loop):
            places |= {f"loop {path}: {problem}": [] for problem in _loop_problems(element)}
            places |= {problem: [] for problem in _level_problems(element.steps, f"loop {path}")}
        elif isinstance(element, Step):
            for problem in dict.fromkeys(_step_problems(element)):
                places.setdefault(problem, []).append(f"{path} ({step_name(element)!r})")
        else:
            places[f"element {path} is a {type(element).__name__}, not a Step or Loop: wrap it in Step(...)"] = []
    for problem, steps_with_it in places.items():
        steps_of = f"step{'s' if len(steps_with_it) > 1 else ''} {', '.join(steps_with_it)}: " if steps_with_it else ""
        yield f"{steps_of}{problem}"


def _level_problems(steps: Any, owner: str) -> Iterator[str]:
    if not isinstance(steps, list | tuple):
        yield f"the steps of {owner} must be a list, not {type(steps).__name__}"
    else:
        for name, n in Counter(_names(steps)).items():
            if n > 1:
                yield f"{n} steps of {owner} have the name {name!r}: give each step a unique name"


def _loop_problems(loop: Loop) -> Iterator[str]:
    n = loop.n_iterations
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        yield f"n_iterations={n!r} is not valid; use an integer, 0 or more"
    if loop.until is not None:
        yield from (f"until{problem}" for problem in _until_problems(loop.until))
        if UNTIL in _names(loop.steps):
            yield f"a step is named {UNTIL!r}, which is reserved in a loop with until=...: give it another name"


def _names(steps: Any) -> list[str]:
    elements = steps if isinstance(steps, list | tuple) else ()
    return [str(step_name(element)) for element in elements if isinstance(element, Step)]


def _until_problems(until: Any) -> Iterator[str]:
    if not callable(until):
        yield f"={until!r} is not callable; use a function of the data"
        return
    yield from (f": {problem}" for problem in _async_problems(until))
    try:
        inspect.signature(until).bind(None)
    except TypeError as error:
        yield f" is called with one argument, the data: {error}"
    except ValueError:  # a C function without a signature
        pass


def _step_problems(step: Step) -> Iterator[str]:
    yield from (f"its name {problem}" for problem in _name_problems(step_name(step)))
    yield from _block_problems(step)
    yield from _number_problems(step)
    yield from _folder_problems(step.project_dir)
    if not isinstance(step.kwargs, Mapping) or not all(isinstance(key, str) for key in step.kwargs):
        yield "kwargs must be a dict with text as keys"
    if step.dependency not in DEPENDENCIES:
        yield f"dependency={step.dependency!r} is not valid; use 'afterok' or 'afterany'"
    if step.keep_scratch not in KEEP:
        yield f"keep_scratch={step.keep_scratch!r} is not valid; use 'on_error', 'always' or 'never'"
    yield from resource_problems(step.resources)


def _name_problems(name: Any) -> Iterator[str]:
    if not isinstance(name, str):
        yield f"must be text, not {type(name).__name__}"
    elif not name.isprintable() or "/" in name or name != name.strip() or len(name) > 128:
        yield f"{name!r} is not valid: use at most 128 printable characters, no '/', and no space at the start or end"
    elif parse_address(name) != (name, ""):
        yield f"{name!r} looks like the address of an iteration: it must not end in '@' and digits"


def _block_problems(step: Step) -> Iterator[str]:
    block = step.block
    if isinstance(block, type):
        yield f"its block is the class {block.__name__}: use an instance, {block.__name__}(...)"
    elif not isinstance(block, Block) and not callable(block):
        yield f"its block is {_shown(block)}: use a Block, a DataGenerator or a function of project_dir"
    elif not isinstance(step.parallel, bool):
        yield f"parallel={step.parallel!r} is not valid; use True or False"
    elif step.parallel and not isinstance(block, DataGenerator):
        above = ': write @datagenerator(output_names="y") above it' if inspect.isfunction(block) else ""
        yield f"parallel=True needs a DataGenerator; any other block would run in every task{above}"
    elif isinstance(step.kwargs, Mapping):
        yield from _argument_problems(step)


def _argument_problems(step: Step) -> Iterator[str]:
    """Compare the kwargs with the signatures of the functions that will get them."""
    for function, first, is_injected in _called_functions(step.block, True):
        yield from _async_problems(function)
        kwargs = step.kwargs if first == "data" else kwargs_of(step.kwargs, 0)
        problem = _call_problem(function, first, kwargs, INJECTED if is_injected else ())
        if problem is not None:
            yield problem


def _async_problems(function: Any) -> Iterator[str]:
    """Report a function whose body a plain call would not run: the step would do nothing and succeed."""
    name = getattr(function, "__qualname__", type(function).__name__).rpartition("<locals>.")[2]
    inner = function.func if isinstance(function, partial) else function
    inner = inner if inspect.isroutine(inner) else type(inner).__call__
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        yield f"{name} is an async function, which a step does not await; use one without async"
    elif inspect.isgeneratorfunction(inner):
        yield f"{name} is a generator function (it has a yield), which a step does not run; use one without yield"


def _called_functions(block: Any, is_injected: bool) -> Iterator[tuple[Any, str, bool]]:
    """Yield each function that is called, the keyword of its data, and whether `INJECTED` values are passed to it."""
    if isinstance(block, ChainedBlock | LoopBlock):
        for inner in block.blocks if isinstance(block, ChainedBlock) else [block.block]:
            yield from _called_functions(inner, False)
    elif isinstance(block, DataGenerator) and evaluates_one_by_one(block):
        yield executed_function(block), "" if decorated_function(block) else "experiment_sample", is_injected
    elif isinstance(block, Block):
        yield called_function(block), "data", is_injected and not isinstance(block, DataGenerator)
    else:
        yield block, "project_dir", is_injected


def _call_problem(function: Any, first: str, kwargs: Mapping[str, Any], injected: Sequence[str]) -> str | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a C function without a signature
        return None
    if first and first in kwargs:
        return f"kwargs must not contain {first!r}: the step passes it"
    parameters = signature.parameters
    requested = {
        name: None for name in injected if name in parameters and parameters[name].default is inspect.Parameter.empty
    }
    given = {**({first: None} if first else {}), **requested, **kwargs}
    try:
        # The function of a data generator also gets the inputs, which are known only when it runs.
        (signature.bind if first else signature.bind_partial)(**given)
    except TypeError as error:
        arguments = ", ".join([f"{first}=..." if first else "inputs...", *(f"{key}=..." for key in kwargs)])
        return f"its function is called with ({arguments}): {error}"
    return None


def _number_problems(step: Step) -> Iterator[str]:
    limit, retries = step.max_failed, step.retries
    is_count = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0
    is_fraction = isinstance(limit, float) and 0 <= limit <= 1
    if limit is not None and not is_count and not is_fraction:
        yield f"max_failed={limit!r} is not valid; use an integer (0 or more), a fraction (0.0 to 1.0) or None"
    first = step.abort_early
    if not isinstance(first, bool) and (not isinstance(first, int) or first < 1):
        yield f"abort_early={first!r} is not valid; use an integer (1 or more), True or False"
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        yield f"retries={retries!r} is not valid; use an integer, 0 or more"
    yield from _timeout_problems(step)


def _timeout_problems(step: Step) -> Iterator[str]:
    try:
        timeout_in_seconds(step.timeout)
    except DefinitionError as error:
        yield f"{error.message}; {error.hint}"
    if step.timeout is None:
        return
    if not isinstance(step.block, DataGenerator):
        yield "timeout is the longest time for one experiment; it needs a DataGenerator. Use resources.time for the job"
    elif not evaluates_one_by_one(step.block):
        yield "timeout needs a DataGenerator that evaluates one experiment at a time; this one has its own call"


def _folder_problems(project_dir: Any) -> Iterator[str]:
    if not isinstance(project_dir, str | PurePath):
        yield f"project_dir must be text or a path, not {type(project_dir).__name__}"
        return
    path = PurePath(project_dir)
    if path.is_absolute() or ".." in path.parts:
        yield f"project_dir={str(project_dir)!r} is outside the run's folder; use a folder inside it"
    elif any(part.startswith(".") for part in path.parts) or not str(project_dir).isprintable():
        yield f"project_dir={str(project_dir)!r} is not valid; use printable names that don't begin with '.'"
    elif any(len(part.encode()) > 255 for part in path.parts):
        yield f"project_dir={str(project_dir)!r} is not valid; use names of at most 255 bytes"
    elif any(part in (DATA_FOLDER, SAMPLE_FOLDER) for part in path.parts):
        yield f"project_dir={str(project_dir)!r} is reserved for the files of tables; use another name"
