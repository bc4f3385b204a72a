"""Change the resources of a step of a recorded run, for the jobs that are submitted from then on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.db.store import Store
from orchestrator.definition.changed_resources import changed_resources, flat_resources
from orchestrator.engine.resume import position_of
from orchestrator.errors import DefinitionError, LeaseHeld
from orchestrator.machine.kinds import Mode
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.steering import about_resources
from orchestrator.workspace import Workspace

__all__ = ["NewResources", "new_resources", "set_resources"]

LEASE_WAIT = 20.0
"""Seconds for which `set` waits until no other process advances the run."""


class NewResources(NamedTuple):
    """A plan in which a step has other resources.

    Attributes
    ----------
    step : PlannedStep
        The step with its new resources.
    plan : Plan
        The new plan.
    lines : list of str
        What changes, in sentences; empty if nothing does.
    """

    step: PlannedStep
    plan: Plan
    lines: list[str]


def new_resources(workspace: Workspace, key: str, name: str, changes: Mapping[str, Any]) -> NewResources:
    """Return the plan of a run with other resources for a step. Nothing is written.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    name : str
        Name of the step.
    changes : mapping
        Fields of `SlurmResources`; `extra_sbatch` has only the options that change.

    Raises
    ------
    DefinitionError
        If the run is not on a cluster, has no such step, or a value is not valid.
    """
    store = Store(workspace.database)
    record, run = store.own(key), store.load(key)
    if record.mode is not Mode.SLURM:
        raise DefinitionError(
            f"Run {key} runs on this machine, which has no resources to request.",
            f"How many processes evaluate: orchestrator resume {key} --jobs N",
        )
    slot = run.plan.slot(position_of(key, run.plan, name))
    if name != slot.step.name:
        raise DefinitionError(
            f"Resources belong to a step, not to one iteration of it: {name!r}.",
            f"Use its name alone: orchestrator set {key} {slot.step.name} ...",
        )
    step = slot.step._replace(resources=changed_resources(slot.step.name, slot.step.resources, changes))
    return NewResources(
        step,
        run.plan.with_step(step),
        about_resources(run, step, flat_resources(slot.step.resources), flat_resources(step.resources)),
    )


def set_resources(workspace: Workspace, key: str, name: str, changes: Mapping[str, Any]) -> None:
    """Record other resources for a step, and write the scripts of its jobs.

    Raises
    ------
    DefinitionError
        As `new_resources`.
    LeaseHeld
        If another process advances the run for twenty seconds.
    """
    from orchestrator.engine.cluster.moved import check_not_copied
    from orchestrator.engine.cluster.session import hold_lease_on_cluster, scheduler_of

    store = Store(workspace.database)
    check_not_copied(store, key)
    scheduler = scheduler_of(store, store.record(key))
    end = time.monotonic() + LEASE_WAIT
    while True:
        try:
            with hold_lease_on_cluster(store, key, scheduler) as fence:
                # The plan may have changed since it was shown.
                new = new_resources(workspace, key, name, changes)
                scripts = scheduler.write_scripts(new.plan)
                why = f"{name}: {', '.join(f'{each}={value}' for each, value in changes.items())}"
                config = scheduler.config._replace(scripts=scripts)
                store.set_plan(key, fence, new.plan, config.to_json(), time.time(), why)
                return
        except LeaseHeld:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
