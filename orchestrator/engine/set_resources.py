"""Change the resources of a step of a recorded run, or of its orchestrator jobs, for later jobs.

What that means for jobs that wait or run: `about_resources` in `orchestrator.machine.steering`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.addresses import parse_address
from orchestrator.db.store import Store
from orchestrator.definition.changed_resources import changed_resources, flat_resources
from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.engine.cluster.moved import check_not_copied
from orchestrator.engine.cluster.scripts import ORCHESTRATOR
from orchestrator.engine.cluster.session import config_of, hold_lease_on_cluster, scheduler_of
from orchestrator.errors import DefinitionError, LeaseHeld
from orchestrator.machine.kinds import Mode
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.steering import about_orchestrator_resources, about_resources
from orchestrator.text import did_you_mean
from orchestrator.workspace import Workspace

__all__ = ["NewResources", "new_resources", "set_resources"]

LEASE_WAIT = 20.0
"""Seconds for which `set` waits until no other process advances the run."""


class NewResources(NamedTuple):
    """The resources of a run in which those of a step, or of the orchestrator jobs, have changed.

    Attributes
    ----------
    plan : Plan
        The plan, with the resources of the steps.
    config : ClusterConfig
        The cluster, with the resources of the orchestrator jobs.
    lines : list of str
        What changes, in sentences; empty if nothing does.
    """

    plan: Plan
    config: ClusterConfig
    lines: list[str]


def new_resources(workspace: Workspace, key: str, name: str, changes: Mapping[str, Any]) -> NewResources:
    """Return the resources of a run with other ones for a step, or for the orchestrator jobs. Nothing is written.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    name : str
        Name of the step, or `orchestrator`.
    changes : mapping
        Fields of `SlurmResources`; `extra_sbatch` has only the options that change.

    Raises
    ------
    DefinitionError
        If the run is not on a cluster, has no such step, or a value is not valid.
    """
    store = Store(workspace.database)
    record, run = store.own_record(key), store.load(key)
    if record.mode is not Mode.SLURM:
        raise DefinitionError(
            f"Run {key} runs on this machine, which has no resources to request.",
            f"To evaluate fewer experiments at the same time: orchestrator resume {key} --jobs 2",
        )
    config = config_of(record)
    if name == ORCHESTRATOR:
        before = config.orchestrator
        after = changed_resources("The orchestrator job", before, changes)
        changed = config._replace(orchestrator=after)
        lines = about_orchestrator_resources(run, _named(config, before), _named(config, after))
        return NewResources(run.plan, changed, lines)
    plan, said = run.plan, dict[str, None]()
    for step in _steps_of(key, plan, name):
        changed_step = step._replace(resources=changed_resources(f"Step {name}", step.resources, changes))
        resources = _named(config, step.resources), _named(config, changed_step.resources)
        said.update(dict.fromkeys(about_resources(run, changed_step, *resources)))
        plan = plan.with_step(changed_step)
    return NewResources(plan, config, list(said))


def _steps_of(key: str, plan: Plan, name: str) -> list[PlannedStep]:
    """Return the steps of this name: one in a loop may have the name of another outside of it."""
    steps = list(plan.steps())
    found = [step for step in steps if step.name == name]
    if found:
        return found
    alone, _ = parse_address(name)
    if any(step.name == alone for step in steps):
        raise DefinitionError(
            f"Resources belong to a step, not to one iteration of it: {name!r}.",
            f"Use its name alone: {alone}",
        )
    similar = did_you_mean(name, [ORCHESTRATOR])
    raise DefinitionError(f"Run {key} has no step {name!r}.", f"{similar}{plan.existing(name)}")


def _named(config: ClusterConfig, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return resources by name, with what the cluster adds to them."""
    cluster = {"--partition": config.cluster.partition, "--account": config.cluster.account}
    return {**{name: value for name, value in cluster.items() if value is not None}, **flat_resources(resources)}


def set_resources(workspace: Workspace, key: str, name: str, changes: Mapping[str, Any]) -> None:
    """Record other resources for a step, or for the orchestrator jobs, and write the scripts.

    Raises
    ------
    DefinitionError
        As `new_resources`.
    LeaseHeld
        If another process advances the run for twenty seconds.
    """
    store = Store(workspace.database)
    check_not_copied(store, key)
    record = store.record(key)
    scheduler = scheduler_of(store, record)
    end = time.monotonic() + LEASE_WAIT
    while True:
        try:
            with hold_lease_on_cluster(store, key, scheduler) as fence:
                # The plan may have changed since it was shown.
                new = new_resources(workspace, key, name, changes)
                changed = replace(record, cluster=new.config.to_json())
                scripts = scheduler_of(store, changed).write_scripts(new.plan)
                why = f"{name}: {', '.join(f'{each}={value}' for each, value in changes.items())}"
                config = new.config._replace(scripts=scripts)
                store.set_plan(key, fence, new.plan, config.to_json(), time.time(), why)
                return
        except LeaseHeld:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
