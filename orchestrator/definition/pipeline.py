"""`Step` and `Loop`, as the user writes them.

The constructors check no more than f3dasm's do; `orchestrator.definition.validate` checks the rest before a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.definition.blocks import FunctionDataGenerator
from orchestrator.definition.resources import SlurmResources

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Loop", "Step", "step_name", "walk"]

DEPENDENCIES = ("afterok", "afterany")


@dataclass(init=False)
class Step:
    """One step of a pipeline.

    Parameters
    ----------
    block : Block, DataGenerator or callable
        What runs. A callable is called as `block(project_dir, **kwargs)`. `Step("run", block=generator)` names the step
        in first place.
    name : str, default ""
        Unique within its level; empty: the block's name.
    parallel : bool, default False
        Whether a DataGenerator's experiments are evaluated side by side.
    resources : SlurmResources
        For each job of the step.
    dependency : {"afterok", "afterany"}, default "afterok"
        Whether the step may start after the step before it failed.
    project_dir : str, default "."
        Folder of the step's table, relative to the run's folder.
    kwargs : dict
        Passed to `Block.call`, `DataGenerator.execute` or the callable.
    max_failed : int, float or None, default None
        How many failed experiments the step bears: a count, or a fraction of those evaluated.
    retries : int, default 0
        Tries after the first when a job ran out of memory or time, or its infrastructure failed.

    Raises
    ------
    ValueError
        If `dependency` is neither of the two.
    """

    block: Any
    name: str = ""
    parallel: bool = False
    resources: SlurmResources = field(default_factory=SlurmResources)
    dependency: str = "afterok"
    project_dir: str = "."
    kwargs: dict[str, Any] = field(default_factory=dict)
    max_failed: int | float | None = None
    retries: int = 0

    def __init__(
        self,
        *args: Any,
        block: Any = None,
        name: str = "",
        parallel: bool = False,
        resources: SlurmResources | None = None,
        dependency: str = "afterok",
        project_dir: str = ".",
        kwargs: dict[str, Any] | None = None,
        max_failed: int | float | None = None,
        retries: int = 0,
    ) -> None:
        given: dict[str, Any] = {
            "block": block,
            "name": name,
            "parallel": parallel,
            "resources": SlurmResources() if resources is None else resources,
            "dependency": dependency,
            "project_dir": project_dir,
            "kwargs": {} if kwargs is None else kwargs,
            "max_failed": max_failed,
            "retries": retries,
        }
        names_first = block is not None and len(args) > 0 and isinstance(args[0], str)
        order = ["name", "parallel"] if names_first else list(given)
        if len(args) > len(order):
            raise TypeError(f"Step takes at most {len(order)} positional arguments here, not {len(args)}")
        if block is not None and args and not names_first:
            raise TypeError("Step got two blocks: one in first place, and block=...")
        for key, value in {**given, **dict(zip(order, args, strict=False))}.items():
            setattr(self, key, value)
        if self.dependency not in DEPENDENCIES:
            raise ValueError(f"Invalid dependency {self.dependency!r}: use 'afterok' or 'afterany'.")


@dataclass
class Loop:
    """Steps that repeat.

    Parameters
    ----------
    n_iterations : int, default 1
        How often, at most.
    steps : list of Step or Loop
        What one iteration holds.
    until : callable, optional
        `until(data) -> bool` is asked on the ExperimentData after each iteration; True ends the loop.
    """

    n_iterations: int = 1
    steps: list[Any] = field(default_factory=list)
    until: Callable[[ExperimentData], bool] | None = None


def step_name(step: Step) -> str:
    """Name a step: as the user did, or as its block is called."""
    if step.name:
        return step.name
    block = step.block
    name = block.name if isinstance(block, FunctionDataGenerator) else getattr(block, "__name__", None)
    if not isinstance(name, str):
        # What a partial calls has the telling name.
        name = getattr(getattr(block, "func", None), "__name__", type(block).__name__)
    return "step" if name == "<lambda>" else str(name)


def walk(elements: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every element with its path, a loop before what it holds.

    Parameters
    ----------
    elements : list of Step or Loop
        What is no list is passed over, and what is neither of the two is yielded, too: `validate` names both.
    prefix : str, default ""
        Begins every path.

    Yields
    ------
    path : str
        Where the element stands, by index: `"0"`, in a loop `"1.2"`.
    element : Step or Loop
    """
    for index, element in enumerate(elements if isinstance(elements, list | tuple) else ()):
        yield f"{prefix}{index}", element
        if isinstance(element, Loop):
            yield from walk(element.steps, f"{prefix}{index}.")
