"""What a command will do to a run, in sentences that are shown before it does it. Nothing is changed here.

The sentences about a resume: `orchestrator.machine.announce`. Whether a command asks: `orchestrator.cli.consent`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.addresses import format_study
from orchestrator.db.runs import find_run
from orchestrator.db.store import RunRecord, Store
from orchestrator.definition.resources import option_name
from orchestrator.engine.resume import check_same_steps, position_of
from orchestrator.errors import DefinitionError
from orchestrator.machine.announce import announce, announce_new_plan, announce_next, repeats_work
from orchestrator.machine.changes import apply
from orchestrator.machine.headlines import how_it_ended
from orchestrator.machine.kinds import Mode
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import replan, with_new_plan
from orchestrator.machine.resume_point import is_done
from orchestrator.machine.rewind import WHERE_IT_STOPPED, Begin, ends_of_jobs, reopening
from orchestrator.trust import check_run_folder
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.engine.code import CheckedPipeline

__all__ = [
    "Preview",
    "about_advance",
    "about_cancel",
    "about_drive",
    "about_idle",
    "about_new_run",
    "about_next",
    "about_other_code",
    "about_stored_code",
    "check_on_cluster",
    "preview",
    "preview_of",
    "usable_record",
]


def preview(
    workspace: Workspace, key: str, begin: Begin | str | None = None, checked: CheckedPipeline | None = None
) -> tuple[list[str], bool]:
    """Return what a resume will do, in sentences, and whether it does again what has succeeded. Nothing is written.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    begin : Begin or str, optional
        Where it begins; text is the address of a step.
    checked : CheckedPipeline, optional
        New code for it.
    """
    store = Store(workspace.database)
    record = usable_record(store, key)
    if not isinstance(begin, Begin):
        plan = record.plan if checked is None else checked.plan
        begin = Begin(None if begin is None else position_of(key, plan, begin))
    found = preview_of(store, record, begin, checked)
    return found.lines, found.repeats


class Preview(NamedTuple):
    """What a resume will do: in sentences, whether it repeats finished work, and whether it does nothing."""

    lines: list[str]
    repeats: bool
    is_idle: bool


_NEW_CODE = "Attention: the study has changed. What runs now uses the new code; results are kept."


def preview_of(store: Store, record: RunRecord, begin: Begin, checked: CheckedPipeline | None) -> Preview:
    """Return what a resume that begins there will do, with the stored code or with new code."""
    key, workspace = record.key, store.workspace
    run, steps = store.load(key), store.history.valid_step_runs(key)
    if run.live_jobs and find_run(store.path, key).stalled:
        # The resume will find out that they have ended.
        run = reduce(apply, ends_of_jobs(run, "no process advances it"), run)
    lines, repeats = list[str](), False
    if checked is not None:
        from orchestrator.engine.code import asks_again, has_other_code

        plan = checked.plan
        again = asks_again(workspace.run(key), record, begin, checked)
        replanned = replan(run, steps, plan, asks_again=again, study=checked.study)
        lines, repeats = announce_new_plan(steps, replanned, plan), repeats_work(steps, replanned.changes)
        run, steps = with_new_plan(run, steps, replanned, plan), steps[: replanned.n_valid]
    changes = reopening(run, steps, begin)
    is_idle = not lines and not changes and is_done(run.state, None)
    if checked is not None and has_other_code(workspace.run(key), record, checked):
        lines = about_other_code(record, checked.study_path) if is_idle else [_NEW_CODE, *lines]
    return Preview([*lines, *announce(steps, changes)], repeats or repeats_work(steps, changes), is_idle)


def about_stored_code(workspace: Workspace, key: str, begin: Begin) -> list[str]:
    """Return that the study has changed, for a resume that uses the stored code; nothing if it has not."""
    from orchestrator.engine.code import study_change_message

    store = Store(workspace.database)
    record = usable_record(store, key)
    if begin == WHERE_IT_STOPPED and (idle := about_idle(store, record, None, None)):
        return idle
    change = study_change_message(workspace.run(key), record, begin)
    return [] if change is None else change.splitlines()


def about_idle(
    store: Store, record: RunRecord, first_element: int | None, checked: CheckedPipeline | None
) -> list[str]:
    """Return that a run has nothing to do, and whether other code would have; nothing if it has something to do."""
    from orchestrator.engine.code import has_other_code, study_change_message

    if first_element is not None or not is_done(record.state, store.history.first_failed(record.key)):
        return []
    folder, study = store.workspace.run(record.key), record.study
    if checked is None:
        is_other = study_change_message(folder, record) is not None
    else:
        check_same_steps(store, record, checked)
        is_other, study = has_other_code(folder, record, checked), checked.study_path
    other = about_other_code(record, study, is_loaded=checked is not None) if is_other else []
    return [*other, f"Nothing to do: run {record.key} {how_it_ended(store.load(record.key))}."]


def about_next(workspace: Workspace, key: str) -> list[str]:
    """Return with which step a run continues where it stopped; nothing for one that has ended."""
    return announce_next(Store(workspace.database).load(key))


def about_other_code(record: RunRecord, study: str | None, *, is_loaded: bool = True) -> list[str]:
    """Return what to type to run the code of a study that is not the one with which a run has succeeded.

    A study that is not loaded may have a loop with more or fewer iterations.
    """
    name = format_study(study, None)
    has_loop = any(visit.depth for visit in record.plan.walk())
    update = f"If a loop is longer or shorter now, continue with: orchestrator resume {record.key} --update {name}"
    again = f"orchestrator resume {record.key} --from-step {shlex.quote(next(record.plan.steps()).name)}"
    verb = "run" if record.mode is Mode.LOCAL else "submit"
    return [
        f"Attention: run {record.key} has succeeded with code that differs from {study or 'the study'} as it is now. "
        "Nothing runs again.",
        *([update] if has_loop and not is_loaded else []),
        f"To run its steps again with the new code: {again} --update {name}",
        f"To start a new run with it: orchestrator {verb} {name}",
    ]


def about_new_run(
    workspace: Workspace, plan: Plan, key: str | None, mode: Mode, first_element: int | None
) -> list[str]:
    """Return that a new run will be made: its steps, where it begins, its folder, and what its jobs request."""
    names = [
        f"{step.name} ({n} times)" if n > 1 else step.name for step, _, _, n in plan.walk() if step in plan.steps()
    ]
    lines = [f"New run{f' {key}' if key else ''}: {', '.join(names)}."]
    if first_element:
        lines.append(f"Begins with {plan.slot(plan.start_of(first_element)).address}.")
    lines.append(f"Its folder: {workspace.root / key}" if key else f"Its folder is a new one in {workspace.root}")
    return lines if mode is Mode.LOCAL else [*lines, *_requests(plan)]


_MEMORY = {"mem", "mem_per_cpu", "mem_per_gpu"}
_SHOWN = _MEMORY | {"time", "cpus_per_task", "nodes", "ntasks", "gres", "gpus", "partition", "account", "qos"}
"""What a job waits or pays for; other options of sbatch say nothing about that."""


def _requests(plan: Plan) -> list[str]:
    """Return what the jobs of the steps request; steps that request the same share a line."""
    by_request: dict[str, list[str]] = {}
    for step in plan.steps():
        if not step.collects:  # it needs no job
            request = ", ".join(f"{name} {value}" for name, value in _requested(step.resources).items())
            by_request.setdefault(request, []).append(step.name)
    return [f"Each job of {', '.join(dict.fromkeys(names))} requests {what}." for what, names in by_request.items()]


def _requested(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requests that are shown, by their name; an option in `extra_sbatch` replaces a field, as in a job."""
    memory = "mem_per_cpu" if resources.get("mem_per_cpu") else "mem"
    found = {name: resources[name] for name in ("time", memory, "cpus_per_task")}
    found |= {name: resources[name] for name in ("nodes", "ntasks") if resources.get(name, 1) != 1}
    for option, value in resources.get("extra_sbatch", {}).items():
        name = option_name(option).replace("-", "_")
        if name in _MEMORY:
            found = {other: found[other] for other in found if other not in _MEMORY}
        if name in _SHOWN:
            found[name] = value
    return {name: value for name, value in found.items() if value is not None and value is not False}


def about_advance(workspace: Workspace, key: str) -> list[str]:
    """Return what `advance` will do, in sentences; none for a run that has ended."""
    store = Store(workspace.database)
    store.own_record(key)
    run = store.load(key)
    if run.has_ended or not run.needs_wakeup:
        return [f"Run {key} is held: nothing is started."] if run.is_held else announce_next(run)
    then = ". It is held: nothing new is started." if run.is_held else ", and then starts what is next."
    return [f"Asks SLURM about the jobs of run {key}{then}"]


def about_drive(workspace: Workspace, key: str) -> list[str]:
    """Return what `wait --drive` will do, in sentences; none for a run that has ended.

    Raises
    ------
    DefinitionError
        If the run is not on a cluster.
    """
    store = Store(workspace.database)
    check_on_cluster(store, key)
    if store.load(key).has_ended:
        return []
    return [f"Submits the jobs of run {key} from this process until the run has ended. Ctrl-C ends only the process."]


def about_cancel(workspace: Workspace, key: str) -> list[str]:
    """Return what `cancel` will do, in sentences; none for a run that has ended."""
    store = Store(workspace.database)
    store.own_record(key)
    run = store.load(key)
    if run.has_ended:
        return []
    lines = [f"Cancels run {key}. All results are kept, and a resume continues it."]
    if run.step_run is not None and not run.step_run.has_ended:
        jobs = ", ".join(job.scheduler_id or job.token for job in run.live_jobs)
        what = f" and ends job {jobs}" if run.needs_wakeup and jobs else ""
        lines.append(f"Stops step {run.plan.slot(run.step_run.position).address}{what}.")
    return lines


def check_on_cluster(store: Store, key: str) -> None:
    """Raise `DefinitionError` if a run is not on a cluster."""
    if store.own_record(key).mode is not Mode.SLURM:
        raise DefinitionError(
            f"Run {key} runs on this machine, where no job has to be submitted.",
            f"To continue it: orchestrator resume {key}",
        )


def usable_record(store: Store, key: str) -> RunRecord:
    """Return the row of a run of this user; raise `NotAllowed` if the run's folder is not used."""
    record = store.own_record(key)
    check_run_folder(store.workspace.run(key).path)
    return record
