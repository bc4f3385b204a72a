"""Read what the tasks of a run have requested and used: from their receipts, and from SLURM's accounting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.addresses import format_address
from orchestrator.cli.render import is_foreign_run
from orchestrator.cli.reports.usage import Efficiency, Request, TaskUsage, usage_of
from orchestrator.definition.resources import (
    SlurmCluster,
    SlurmResources,
    memory_in_mb,
    option_name,
    time_in_seconds,
)
from orchestrator.errors import DataError, DefinitionError, SchedulerUnreachable
from orchestrator.handoff.receipt import last_receipt, receipts_of
from orchestrator.machine.kinds import EventKind, Mode, StepKind
from orchestrator.machine.states import FailureKind

if TYPE_CHECKING:
    from orchestrator.cli.run_table import RunTable
    from orchestrator.data.records import Record
    from orchestrator.db.views import JobView, RunStatus, RunView, StepRunView
    from orchestrator.machine.plan import Plan
    from orchestrator.workspace import Workspace

__all__ = ["efficiency_of", "requests_of", "tasks_of"]

SECONDS_TO_ASK = 10.0
"""Time limit of the question for the memory; without an answer, only the tasks' own numbers are used."""


def efficiency_of(
    workspace: Workspace, status: RunStatus, tasks: Iterable[TaskUsage], *, ask_slurm: bool = True
) -> Efficiency:
    """Return what the steps of a run requested and used.

    Parameters
    ----------
    workspace : Workspace
        Its workspace.
    status : RunStatus
        The run, with all its step runs.
    tasks : iterable of TaskUsage
        Its tasks, from `tasks_of`.
    ask_slurm : bool, default True
        Whether SLURM's accounting is asked for the peak memory, if it was a run on a cluster.
    """
    from orchestrator.db.runs import settings_of

    settings = settings_of(workspace.database, status.run.key)
    requests = requests_of(settings.plan, settings.cluster.get("cluster") or {}, status.run.mode)
    memory = _accounted_memory(status) if ask_slurm else {}
    usage = usage_of(tasks, requests, _kinds_of_failures(status), memory)
    return Efficiency(status.run.key, "sacct" if memory else "tasks", usage)


def _accounted_memory(status: RunStatus) -> dict[str, float]:
    """Return the peak memory that SLURM has measured, in MB by step; empty if it does not say."""
    if status.run.mode is not Mode.SLURM or is_foreign_run(status.run):
        return {}
    from orchestrator.slurm.client import Client

    steps = {
        job.scheduler_id: step_run.name
        for step_run in status.step_runs
        for job in step_run.jobs
        if job.scheduler_id is not None and job.ended_at is not None
    }
    try:
        found = Client(seconds_to_ask=SECONDS_TO_ASK).peak_memory(list(steps))
    except (SchedulerUnreachable, ValueError):  # no accounting, or ids of another kind
        return {}
    memory: dict[str, float] = {}
    for job_id, mb in found.items():
        step = steps.get(job_id)
        if step is not None:
            memory[step] = max(memory.get(step, 0.0), mb)
    return memory


def tasks_of(workspace: Workspace, status: RunStatus, tables: Iterable[RunTable]) -> list[TaskUsage]:
    """Return the tasks of a run that have ended, in the order of their jobs; of another user, those of experiments.

    Parameters
    ----------
    workspace : Workspace
        Its workspace.
    status : RunStatus
        The run, with all its step runs.
    tables : iterable of RunTable
        Its tables: the results say how the memory of a task grew.
    """
    tables = list(tables)
    if is_foreign_run(status.run):  # the receipts of others are private, their tables may be read
        return _from_results(tables)
    first_memory = _first_memory(tables)
    return [
        task
        for step_run in status.step_runs
        for job in step_run.jobs
        for task in _of_job(workspace, status.run, step_run, job, first_memory)
    ]


def requests_of(plan: Plan, cluster: Mapping[str, Any], mode: Mode) -> dict[str, Request]:
    """Return what the jobs of each step request, by its name, in the order of the pipeline.

    In a run on this machine, the defaults of `SlurmResources` are not requests.
    """
    fields = SlurmCluster.from_json(cluster) if cluster else SlurmCluster()
    steps = [step for step in plan.steps() if step.kind is not StepKind.UNTIL and not step.collects]
    requests = {step.name: _request(step.resources, fields) for step in steps}
    if mode is Mode.SLURM:
        return requests
    return {step.name: _without_defaults(requests[step.name], step.resources) for step in steps}


def _without_defaults(request: Request, resources: Mapping[str, Any]) -> Request:
    asked, default = SlurmResources(**resources), SlurmResources()
    unset = {name for name in ("mem", "time", "cpus_per_task") if getattr(asked, name) == getattr(default, name)}
    options = {option_name(name) for name in asked.extra_sbatch}
    if asked.mem_per_cpu or options & {"mem", "mem-per-cpu"}:
        unset.discard("mem")
    unset -= {option.replace("-", "_") for option in options}
    return request._replace(
        memory=None if "mem" in unset else request.memory,
        seconds=None if "time" in unset else request.seconds,
        cpus=None if "cpus_per_task" in unset else request.cpus,
        unset=frozenset(unset),
    )


def _request(resources: Mapping[str, Any], cluster: SlurmCluster) -> Request:
    from orchestrator.slurm.script import directives

    try:
        options = directives(resources, cluster, chdir="/", requeue=False)
        cpus = int(options.get("cpus-per-task") or 1)
        memory, per_cpu, time = options.get("mem"), options.get("mem-per-cpu"), options.get("time")
        in_mb = memory_in_mb(memory) if memory else cpus * memory_in_mb(per_cpu) if per_cpu else None
        # `--mem=0` requests all memory of a node.
        return Request(in_mb or None, time_in_seconds(time) if time else None, cpus)
    except (DefinitionError, ValueError):  # sbatch may accept what is not known here
        return Request(None, None, 1)


def _of_job(
    workspace: Workspace,
    run: RunView,
    step_run: StepRunView,
    job: JobView,
    first_memory: Mapping[tuple[str, int], float],
) -> Iterator[TaskUsage]:
    queued_at = job.queued_at if run.mode is Mode.SLURM else None
    for task, paths in sorted(receipts_of(workspace.run(run.key).job(job.token)).items()):
        with suppress(DataError):  # a damaged receipt counts as missing
            receipt = last_receipt(paths)
            yield TaskUsage(
                address=step_run.address,
                step=step_run.name,
                iteration=step_run.iteration,
                task=task,
                attempt=job.attempt,
                started_at=receipt.started_at,
                seconds=max(0.0, receipt.ended_at - receipt.started_at),
                cpu_seconds=receipt.cpu_seconds,
                memory=receipt.max_rss_mb,
                first_memory=first_memory.get((job.token, task)),
                host=receipt.host,
                n_experiments=receipt.n_experiments,
                n_failed=receipt.n_failed,
                has_failed=not receipt.succeeded,
                queue_seconds=None if queued_at is None else max(0.0, receipt.started_at - queued_at),
            )


def _from_results(tables: Iterable[RunTable]) -> list[TaskUsage]:
    """Return the tasks that have evaluated experiments, as the results of these say it."""
    by_task: dict[tuple[str, int], list[Record]] = {}
    for record in (record for table in tables for record in table.records):
        if record is not None:
            by_task.setdefault((record.token, record.task), []).append(record)
    tasks = [_from_records(sorted(found, key=lambda record: record.started_at)) for found in by_task.values()]
    return sorted(tasks, key=lambda task: task.started_at)


def _from_records(found: list[Record]) -> TaskUsage:
    first, last = found[0], found[-1]
    return TaskUsage(
        address=format_address(first.step, first.iteration),
        step=first.step,
        iteration=first.iteration,
        task=first.task,
        attempt=first.attempt,
        started_at=first.started_at,
        seconds=last.started_at - first.started_at + (last.seconds or 0.0),
        cpu_seconds=sum(record.cpu_seconds or 0.0 for record in found),
        memory=max(record.memory or 0.0 for record in found),
        first_memory=first.memory,
        host=first.host,
        n_experiments=len(found),
        n_failed=sum(record.error is not None for record in found),
        has_failed=False,
    )


def _first_memory(tables: Iterable[RunTable]) -> dict[tuple[str, int], float]:
    """Return the memory after the first experiment of each task that evaluated several."""
    first: dict[tuple[str, int], tuple[float, float]] = {}
    for record in (record for table in tables for record in table.records):
        if record is not None and record.memory:
            task = (record.token, record.task)
            if task not in first or record.started_at < first[task][0]:
                first[task] = (record.started_at, record.memory)
    return {task: memory for task, (_, memory) in first.items()}


def _kinds_of_failures(status: RunStatus) -> dict[str, list[str]]:
    """Return the kinds of failures of each step, without those at a limit that the user has changed since."""
    changed = _limits_changed(status)
    kinds: dict[str, list[str]] = {}
    for step_run in status.step_runs:
        kinds.setdefault(step_run.name, []).extend(
            job.kind
            for job in step_run.jobs
            if job.kind and job.planned_at >= changed.get((step_run.name, job.kind), 0.0)
        )
    return kinds


_LIMITS: dict[str, FailureKind] = {
    "mem": FailureKind.OUT_OF_MEMORY,
    "mem_per_cpu": FailureKind.OUT_OF_MEMORY,
    "time": FailureKind.TIMEOUT,
}
"""The fields of `SlurmResources` that are limits, and the failure of a task that reaches one."""


def _limits_changed(status: RunStatus) -> dict[tuple[str, str], float]:
    """Return when `set`, or new code, last changed a limit, by step and kind of failure."""
    changed: dict[tuple[str, str], float] = {}
    for event in status.history:
        if event.what is EventKind.RESOURCES and event.why:
            step, _, fields = event.why.partition(": ")
            for field in fields.split(", "):
                kind = _LIMITS.get(field.partition("=")[0])
                if kind is not None:
                    changed[step, kind] = max(event.happened_at, changed.get((step, kind), 0.0))
    return changed
