"""What it means to cancel a step, to hold a run, or to give a step other resources: in sentences before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import DefinitionError, NotYet
from orchestrator.indexes import parse_indexes
from orchestrator.machine.decide import next_position
from orchestrator.machine.kinds import Dependency
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.plan import PlannedStep
from orchestrator.machine.rewind import ValidStepRun
from orchestrator.machine.states import JobState, StepRunState

__all__ = [
    "about_cancel_step",
    "about_hold",
    "about_release",
    "about_orchestrator_resources",
    "about_resources",
    "holds_its_jobs",
    "how_cancelled",
    "step_to_cancel",
]


def step_to_cancel(run: Run, address: str) -> int:
    """Return the position of the open step run that an address names: a name, or exactly `name@iteration`.

    Raises
    ------
    DefinitionError
        If the run has no such step, or has ended.
    NotYet
        If another step is open.
    """
    if run.plan.find(address) is None:
        raise DefinitionError(f"Run {run.key} has no step {address!r}.", run.plan.existing(address))
    show = f"Show what it does: orchestrator status {run.key}"
    step_run = run.step_run
    if run.has_ended or step_run is None or step_run.has_ended:
        raise NotYet(f"No step of run {run.key} is open now, so none can be cancelled.", show)
    slot = run.plan.slot(step_run.position)
    if address not in (slot.step.name, slot.address):
        raise NotYet(f"Step {address} of run {run.key} is not open now: it does {slot.address}.", show)
    return step_run.position


def about_cancel_step(run: Run, position: int) -> list[str]:
    """Return what becomes of a run whose open step run is cancelled."""
    slot = run.plan.slot(position)
    jobs = ", ".join(job.scheduler_id or job.token for job in run.live_jobs)
    what = f", and ends job {jobs}" if run.needs_wakeup and jobs else ""
    lines = [f"Cancels step {slot.address} of run {run.key}{what}. Its results are kept."]
    if _continues_after(run, position):
        then = run.plan.slot(next_position(run, StepRun(position))).address
        return [*lines, f"The run continues with {then}, which also runs after a failure."]
    return [*lines, "The run ends with that, as cancelled. A resume continues the step."]


def about_hold(run: Run, *, is_driven: bool) -> list[str]:
    """Return what becomes of a run that is held.

    Parameters
    ----------
    run : Run
        The records.
    is_driven : bool
        Whether a process works on it; without effect for a run on a cluster.
    """
    lines = [f"Holds run {run.key}: no step and no job is started until it is released."]
    for job in run.live_jobs:
        if job.state is JobState.PLANNED or run.step_run is None:
            continue
        address = run.plan.slot(run.step_run.position).address
        if not run.needs_wakeup and not is_driven:
            lines.append(f"No process works on step {address} now.")
        elif not run.needs_wakeup:
            lines.append(f"Step {address} first runs to its end. Then the process that runs it ends.")
        else:
            name = f"{job.scheduler_id or job.token} ({address})"
            lines.append(
                f"What of job {name} waits in the queue is held there; what runs continues to its end."
                if _may_wait(job)
                else f"Job {name} runs, and continues to its end."
            )
    return lines


def _may_wait(job: Job) -> bool:
    """Whether a part of a job may still wait in the queue: it has not started, or has several tasks."""
    return job.state is not JobState.RUNNING or len(parse_indexes(job.tasks)) > 1


def about_release(run: Run) -> list[str]:
    """Return what becomes of a held run that is released."""
    held = ", ".join(job.scheduler_id or job.token for job in run.live_jobs if job.held and _may_wait(job))
    return [f"Releases run {run.key}" + (f", and what of job {held} is held in the queue." if held else ".")]


def how_cancelled(name: str, position: int, steps: Sequence[ValidStepRun]) -> str:
    """Return that a step was cancelled, or how it ended if the request came too late."""
    state = next((step.state for step in steps if step.position == position), None)
    if state in (StepRunState.SUCCEEDED, StepRunState.FAILED):
        return f"Step {name} {state} before it could be cancelled."
    return f"Step {name} was cancelled."


PLACES = ("--partition", "--account", "--qos", "--reservation", "--constraint")
"""Options that say where a job may run, and on whose account: a site that changes them changes them for all jobs."""


def about_resources(run: Run, step: PlannedStep, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what other resources of a step mean; nothing if they are the same."""
    changed = _changed(before, after)
    if not changed:
        return []
    lines = [f"Jobs of step {step.name} that are submitted from now on get {_what_changes(changed, before, after)}."]
    is_open = run.step_run is not None and run.plan.slot(run.step_run.position).step.path == step.path
    submitted = [job.scheduler_id or job.token for job in run.live_jobs if job.state is not JobState.PLANNED]
    if is_open and submitted:
        lines.append(f"Job {', '.join(submitted)} of it is submitted already, and is not changed.")
    places = [name for name in changed if name in PLACES]
    if places:
        options = " ".join(f"--sbatch {name[2:]}={after[name]}" for name in places)
        lines.append(f"For the orchestrator jobs, too: orchestrator set {run.key} orchestrator {options}")
    return lines


def about_orchestrator_resources(run: Run, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what other resources of the orchestrator jobs mean; nothing if they are the same."""
    changed = _changed(before, after)
    if not changed:
        return []
    lines = [f"Orchestrator jobs that are submitted from now on get {_what_changes(changed, before, after)}."]
    submitted = [job.scheduler_id for job in run.orchestrators if job.scheduler_id]
    if submitted:
        lines.append(f"Job {', '.join(submitted)} is submitted already, and is not changed.")
    return lines


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if name not in before or after[name] != before[name]]


def _what_changes(changed: list[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={after[name]} (was {before.get(name, 'not set')})" for name in changed)


def holds_its_jobs(run: Run) -> bool:
    """Whether the scheduler was asked to hold, or to release, all that it has of a run."""
    with_scheduler = [job for job in run.live_jobs if job.state in (JobState.QUEUED, JobState.RUNNING)]
    return run.has_ended or all(job.held == run.is_held for job in with_scheduler)


def has_stopped_at(run: Run, position: int) -> bool:
    """Whether the cancelled step run at a position has ended, and the run too unless it continues after that."""
    step_run = run.step_run
    if run.has_ended or step_run is None or step_run.position != position:
        return True
    return step_run.has_ended and _continues_after(run, position)


def _continues_after(run: Run, position: int) -> bool:
    then = next_position(run, StepRun(position))
    return then < run.plan.size and run.plan.slot(then).step.dependency == Dependency.AFTERANY
