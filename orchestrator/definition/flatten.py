"""Flatten the steps and loops of a pipeline to a plan, which is stored in the run's row.

Which step follows in a plan is decided in `orchestrator.machine.plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from orchestrator.addresses import slug
from orchestrator.definition.data_generators import CollectArrayResults, DataGenerator
from orchestrator.definition.pipeline import ABORT_EARLY, Loop, Step, step_name, timeout_in_seconds, walk
from orchestrator.definition.resources import SlurmResources
from orchestrator.machine.kinds import Dependency, StepKind
from orchestrator.machine.plan import UNTIL, Plan, PlannedLoop, PlannedStep

__all__ = ["plan_of", "steps_by_path"]


def plan_of(steps: Sequence[Step | Loop], seed: int | None = None) -> Plan:
    """Return the plan of a pipeline.

    Parameters
    ----------
    steps : sequence of Step or Loop
        The elements of the pipeline; `validate` has accepted them.
    seed : int, optional
        The pipeline's seed.

    Returns
    -------
    Plan
        The flattened pipeline. Each step has a unique label.
    """
    labels: set[str] = set()
    elements = tuple(_planned(element, str(index), "", labels) for index, element in enumerate(steps))
    return Plan(elements, None if seed is None else int(seed))


def steps_by_path(steps: Sequence[Step | Loop]) -> dict[str, Step | Callable[..., Any]]:
    """Return every step, and the `until` function of every loop, by its path in the plan.

    Parameters
    ----------
    steps : sequence of Step or Loop
        The elements of the pipeline.

    Returns
    -------
    dict of str to Step or callable
        A step under `"0"`, in a loop `"1.2"`; the function `until` of this loop under `"1.until"`.
    """
    found: dict[str, Step | Callable[..., Any]] = {}
    for path, element in walk(steps):
        if isinstance(element, Step):
            found[path] = element
        elif element.until is not None:
            found[f"{path}.{UNTIL}"] = element.until
    return found


def _label(name: str, loops: str, taken: set[str]) -> str:
    """Return f3dasm's name of a job. A name that `slug` makes equal to an earlier one gets a number."""
    plain = label = f"loop{loops}_{slug(name)}" if loops else slug(name)
    numbers = count(2)
    while label in taken:
        label = f"{plain}-{next(numbers)}"
    taken.add(label)
    return label


def _planned(element: Step | Loop, path: str, loops: str, labels: set[str]) -> PlannedStep | PlannedLoop:
    if isinstance(element, Loop):
        return _planned_loop(element, path, loops, labels)
    name = step_name(element)
    return PlannedStep(
        path=path,
        name=name,
        kind=StepKind.BATCH if isinstance(element.block, DataGenerator) else StepKind.CALL,
        parallel=element.parallel,
        dependency=Dependency(element.dependency),
        max_failed=element.max_failed,
        abort_early=ABORT_EARLY if element.abort_early is True else element.abort_early or None,
        retries=element.retries,
        timeout=timeout_in_seconds(element.timeout),
        project_dir=str(element.project_dir),
        label=_label(name, loops, labels),
        resources=element.resources.to_json(),
        collects=_collects(element),
    )


def _collects(step: Step) -> bool:
    """Whether a step only collects, so that it needs no job: with `cleanup`, and with the default resources."""
    is_plain = type(step.block) is CollectArrayResults and step.block.cleanup
    # Other resources than the defaults need a job that requests them.
    return is_plain and step.resources == SlurmResources()


def _planned_loop(loop: Loop, path: str, loops: str, labels: set[str]) -> PlannedLoop:
    # As in f3dasm, the number is the index of the loop: the step "run" of the loop at index 1 is loop1_run.
    inner_loops = f"{loops}.{path.rpartition('.')[2]}" if loops else path
    body = tuple(_planned(inner, f"{path}.{index}", inner_loops, labels) for index, inner in enumerate(loop.steps))
    until = None
    if loop.until is not None and body:
        steps = list(Plan(body).steps())
        until = PlannedStep(
            path=f"{path}.{UNTIL}",
            name=UNTIL,
            kind=StepKind.UNTIL,
            dependency=steps[0].dependency,
            project_dir=steps[-1].project_dir,
            label=_label(UNTIL, inner_loops, labels),
        )
    return PlannedLoop(path=path, n_iterations=loop.n_iterations, body=body, until=until)
