"""Which of the kept tables of a run shows a table as it was when a step began, and how many are kept by default.

A step that begins keeps its table and deletes those that are too many: `keep` in `orchestrator.worker.keep_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from orchestrator.errors import DefinitionError
from orchestrator.machine.model import TableThen
from orchestrator.machine.plan import Plan
from orchestrator.machine.value import value

__all__ = ["DEFAULT_MAX_TABLES", "Began", "Recorded", "first_ones", "tables_at"]

DEFAULT_MAX_TABLES = 50
"""How many tables of a run are kept by default: those of the step runs that began last."""


@value
class Recorded(NamedTuple):
    """A step run, as far as it matters for the question which one has found a table as it was then.

    Attributes
    ----------
    position, epoch : int
        Which one.
    forgotten_at : float or None
        When a resume from a step has forgotten it.
    has_begun : bool
        Whether a job of it has begun.
    had_work : bool
        Whether it was not skipped.
    """

    position: int
    epoch: int
    forgotten_at: float | None
    has_begun: bool
    had_work: bool


@value
class Began(NamedTuple):
    """A step run, as far as its kept table matters.

    Attributes
    ----------
    position, epoch : int
        Which one.
    has_begun : bool
        Whether it has begun its work.
    is_kept : bool
        Whether its table is kept.
    """

    position: int
    epoch: int
    has_begun: bool
    is_kept: bool


def first_ones(step_runs: Sequence[Recorded]) -> list[Recorded]:
    """Return the step run of each position that shows what the first position has begun with.

    It is the first one since the last resume from a step, which has forgotten the earlier ones. But if the first
    position was only skipped since then, its table has the results already. Then it is the first one since the last
    time that there was something to do.

    Parameters
    ----------
    step_runs : sequence of Recorded
        In the order in which they were recorded.
    """
    found = [each for each in step_runs if each.forgotten_at is None]
    position = min((each.position for each in found), default=None)
    had_work = [each for each in step_runs if each.position == position and each.had_work]
    if had_work and had_work[-1].forgotten_at is not None:
        began = next(each for each in had_work if each.forgotten_at == had_work[-1].forgotten_at)
        found = list(step_runs[step_runs.index(began) :])
    first: dict[int, Recorded] = {}
    for each in found:
        first.setdefault(each.position, each)
    return [first[each] for each in sorted(first)]


def tables_at(plan: Plan, position: int, step_runs: Iterable[Began], key: str) -> dict[str, TableThen | None]:
    """Return which kept table shows each table as it was when the step at a position began.

    The first step run at or after the position that uses a table has found it so: no step before it has changed it.

    Parameters
    ----------
    plan : Plan
        The run's plan.
    position : int
        Where the step is.
    step_runs : iterable of Began
        The step runs from the position on, in order; for each position one, see `first_ones`.
    key : str
        The run's key.

    Returns
    -------
    dict of str to TableThen
        By the folder of the table; None for a table that is still as it was then.

    Raises
    ------
    DefinitionError
        If a table is no longer kept.
    """
    found: dict[str, TableThen | None] = {step.project_dir: None for step in plan.steps()}
    known = set[str]()
    for step_run in step_runs:
        step = plan.slot(step_run.position).step
        if step_run.position < position or step.project_dir in known or step.collects:
            continue
        if step_run.is_kept:
            found[step.project_dir] = TableThen(step.project_dir, step_run.position, step_run.epoch)
            known.add(step.project_dir)
        elif step_run.has_begun:
            address = plan.slot(step_run.position).address
            raise DefinitionError(
                f"The table of run {key} as it was when {address} began is not kept any more.",
                f"Show which ones are: orchestrator snapshots {key}",
            )
    return found
