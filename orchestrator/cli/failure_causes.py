"""Why the experiments, tasks and steps of a run have failed: grouped by exception and place, with inputs and hosts.

Experiments are those that have failed in the tables now. An experiment that failed and later succeeded is none.
How many errors of a task are recorded, and which are the same for the tasks: `orchestrator.failure_groups`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.addresses import format_address
from orchestrator.cli.experiment_log import find_output
from orchestrator.cli.logs import logs_of
from orchestrator.cli.outcome import request_more
from orchestrator.cli.run_table import RunTable, tables_of
from orchestrator.errors import OrchestratorError
from orchestrator.failure_groups import without_numbers
from orchestrator.machine.kinds import FailureLevel
from orchestrator.machine.states import FailureKind, requested_kinds
from orchestrator.machine.value import value

if TYPE_CHECKING:
    from orchestrator.data.records import Record
    from orchestrator.db.failures import Cause
    from orchestrator.db.views import RunStatus, RunView, StepLogs
    from orchestrator.workspace import Workspace

__all__ = ["FailedExperiment", "FailureCause", "FailureList", "failures_of"]

ENDS_OF_PROCESSES = ("crashed", "CommandFailed")
"""Types of failures whose message says how a process has ended."""

LAST_LINES = 8
"""Number of last lines of an output that are shown."""

MEMORY = re.compile(r"SIGKILL|exit code 137\b|MemoryError|bad_alloc|[Oo]ut of memory|Cannot allocate memory")
"""Texts of failures that are often due to missing memory."""


@value
class FailedExperiment(NamedTuple):
    """An experiment that has failed.

    Attributes
    ----------
    experiment : int
        Its row label in the table.
    address : str or None
        Address of the step run that evaluated it; null if no step did: the user has marked it.
    attempt : int or None
        Number of the job among those for the same batch, from 1.
    inputs : mapping
        Its inputs by name.
    seconds : float or None
        How long it was evaluated.
    memory : float or None
        Peak memory in MB of the process that evaluated it so far, or of the largest program that it has started.
    host : str or None
        The machine.
    message : str or None
        Message of the exception.
    """

    experiment: int
    address: str | None
    attempt: int | None
    inputs: Mapping[str, Any]
    seconds: float | None
    memory: float | None
    host: str | None
    message: str | None


@value
class FailureCause(NamedTuple):
    """Failures of one step with the same exception, raised at the same place.

    Attributes
    ----------
    what : FailureLevel
        `experiments failed`, `task failed` or `step failed`.
    step : str or None
        Name of the step; null if no step evaluated the experiments.
    address : str or None
        Address of the step run of the first failure.
    project_dir : str or None
        Folder of the table of the experiments, relative to the run's folder; null for a task or a step.
    type : str or None
        Type of the exception, or kind of the failure.
    place : str or None
        File and line that raised it; null if it was no exception.
    message : str or None
        Message of the first failure, or how the task ended.
    n : int
        Number of failed experiments or tasks.
    experiments : tuple of FailedExperiment
        The failed experiments, by row label; for a task, those that were evaluated when it ended.
    tasks : tuple of int
        The failed tasks.
    hosts : mapping
        Number of failures on each host.
    traceback : str or None
        Traceback of the first failed experiment, or of the step.
    shown_task : int or None
        The task whose last lines are shown; null if they are those of an experiment.
    last_lines : tuple of str
        If there is no traceback: the last lines that the first experiment, or the task, has printed.
    hint : str or None
        What to do about it; null if only the traceback says that.
    """

    what: FailureLevel
    step: str | None
    address: str | None
    project_dir: str | None
    type: str | None
    place: str | None
    message: str | None
    n: int
    experiments: tuple[FailedExperiment, ...]
    tasks: tuple[int, ...]
    hosts: Mapping[str, int]
    traceback: str | None
    shown_task: int | None
    last_lines: tuple[str, ...]
    hint: str | None


@value
class FailureList(NamedTuple):
    """What has failed in a run.

    Attributes
    ----------
    key : str
        The run's key.
    n_experiments : int
        Number of experiments in its tables.
    n_failed : int
        Number of those that have failed.
    causes : tuple of FailureCause
        Tasks and steps first, then experiments, the most frequent cause first.
    """

    key: str
    n_experiments: int
    n_failed: int
    causes: tuple[FailureCause, ...]


def failures_of(workspace: Workspace, status: RunStatus, tables: list[RunTable] | None = None) -> FailureList:
    """Return what has failed in a run.

    Parameters
    ----------
    workspace, status
        The run.
    tables : list of RunTable, optional
        Its tables, if they are read already.

    Raises
    ------
    DataError
        If a table can't be read.
    """
    tables = tables_of(workspace, status.run.key) if tables is None else tables
    causes = [cause for table in tables for cause in _causes_of_experiments(workspace, status, table)]
    n_failed = sum(cause.n for cause in causes)
    of_jobs = list(_causes_of_jobs(workspace, status, tables, has_failed_experiments=bool(n_failed)))
    causes.sort(key=lambda cause: -cause.n)
    return FailureList(status.run.key, sum(len(table.data) for table in tables), n_failed, (*of_jobs, *causes))


# --- experiments ---------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A failed experiment, the name of its step, and its error; both are empty if they are not known."""

    failed: FailedExperiment
    step: str
    error: Mapping[str, str]


def _causes_of_experiments(workspace: Workspace, status: RunStatus, table: RunTable) -> Iterator[FailureCause]:
    groups: dict[tuple[str, ...], list[_Found]] = {}
    for found in _failed_experiments(status, table):
        groups.setdefault(_key(found), []).append(found)
    for members in groups.values():
        members.sort(key=lambda member: member.failed.experiment)
        yield _cause_of_experiments(workspace, status, table.project_dir, members)


def _failed_experiments(status: RunStatus, table: RunTable) -> Iterator[_Found]:
    from orchestrator.data.job_status import JobStatus

    # If the result files were deleted, the events of the run are left.
    events = {
        row: failure for failure in status.failures if failure.what is FailureLevel.EXPERIMENTS for row in failure.rows
    }
    labels, inputs_at = table.data.labels(), table.data.input_rows()
    for at, (found, record) in enumerate(zip(table.data.statuses(), table.records, strict=True)):
        if found is not JobStatus.ERROR:
            continue
        failed = _failed(labels[at], inputs_at(at), record)
        event = events.get(labels[at])
        if record is not None:
            yield _Found(failed, record.step, record.error or {})
        elif event is not None:
            kind, _, message = (event.why or "").partition(": ")
            error = {"type": kind, "message": message, "traceback": event.traceback or ""}
            yield _Found(failed._replace(address=event.address, message=message), event.name, error)
        else:
            yield _Found(failed, "", {})


def _key(found: _Found) -> tuple[str, ...]:
    """Return what failures with the same cause have in common: not the values in their messages."""
    error = found.error
    if not error:
        return ()
    # How a process ended is the cause, also where it has no place; the number of its tries is none.
    message, place = re.sub(r", \d+ times$", "", error["message"]), error.get("place", "")
    if error["type"] in ENDS_OF_PROCESSES:
        return found.step, error["type"], place, message
    return found.step, error["type"], place, "" if place else without_numbers(message)


def _failed(label: int, inputs: Mapping[str, Any], record: Record | None) -> FailedExperiment:
    plain = {name: _jsonable(value) for name, value in inputs.items()}
    if record is None:
        return FailedExperiment(label, None, None, plain, None, None, None, None)
    address = format_address(record.step, record.iteration)
    message = None if record.error is None else record.error["message"]
    return FailedExperiment(label, address, record.attempt, plain, record.seconds, record.memory, record.host, message)


def _jsonable(value: Any) -> Any:
    from orchestrator.data.values import to_jsonable

    return to_jsonable(value)


def _cause_of_experiments(
    workspace: Workspace, status: RunStatus, project_dir: str, members: list[_Found]
) -> FailureCause:
    experiments = tuple(member.failed for member in members)
    first, step, error = members[0]
    traceback = error.get("traceback") or None
    kind, message = error.get("type"), error.get("message")
    lines = () if traceback or first.address is None else _printed(workspace, status.run.key, first)
    memory = max((failed.memory or 0.0 for failed in experiments), default=0.0)
    return FailureCause(
        what=FailureLevel.EXPERIMENTS,
        step=step or None,
        address=first.address,
        project_dir=project_dir,
        type=kind,
        place=error.get("place") or None,
        message=message,
        n=len(experiments),
        experiments=experiments,
        tasks=(),
        hosts=dict(Counter(failed.host for failed in experiments if failed.host)),
        traceback=traceback,
        shown_task=None,
        last_lines=lines,
        hint=_hint(status.run, step, kind, message, lines, memory, is_experiment=True),
    )


def _printed(workspace: Workspace, key: str, failed: FailedExperiment) -> tuple[str, ...]:
    """Return the last lines that an experiment has printed."""
    from orchestrator.db.step_runs import find_step_run

    try:
        logs = find_step_run(workspace.database, key, failed.address or "")
        found = find_output(workspace.database, logs, failed.experiment)
    except OrchestratorError:
        return ()
    return () if found is None else _last_lines(found.log, found.part.begin, found.printed_until)


def _last_lines(path: Path, begin: int = 0, end: int | None = None) -> tuple[str, ...]:
    from orchestrator.damage import Damaged, open_regular

    try:
        with open_regular(path, follow=True) as file:
            end = file.seek(0, 2) if end is None else end
            file.seek(max(begin, end - 8192))
            text = file.read(max(0, end - file.tell())).decode(errors="replace").replace("\0", "")
    except (OSError, Damaged):
        return ()
    # A progress bar ends its states with a carriage return.
    lines = [line.rstrip() for line in re.split("[\r\n]", text) if line.strip()]
    return tuple(lines[-LAST_LINES:])


def _hint(
    run: RunView,
    step: str,
    kind: str | None,
    message: str | None,
    lines: Iterable[str],
    memory: float = 0.0,
    *,
    is_experiment: bool = False,
) -> str | None:
    text = "\n".join([kind or "", message or "", *lines])
    if kind == FailureKind.OUT_OF_MEMORY or MEMORY.search(text):
        used = f" Its process had used up to {memory:.0f} MB." if memory else ""
        is_sure = kind in (FailureKind.OUT_OF_MEMORY, "MemoryError")
        why = "There was no memory left." if is_sure else "Often the cause is that there was no memory left."
        more = request_more(run, step, FailureKind.OUT_OF_MEMORY)
        how = f"Request more:\n{more}" if more else "Evaluate fewer at the same time, with --jobs."
        return f"{why}{used} {how}"
    if kind == FailureKind.TIMEOUT:
        more = None if is_experiment else request_more(run, step, kind)
        return f"Request more:\n{more}" if more else "Give an experiment more time: Step(timeout=...)"
    return None


# --- tasks and steps -----------------------------------------------------------------------------


def _causes_of_jobs(
    workspace: Workspace, status: RunStatus, tables: list[RunTable], *, has_failed_experiments: bool
) -> Iterator[FailureCause]:
    from orchestrator.db.failures import group_by_cause

    requested = requested_kinds(status.run.state)
    # Of a step that has failed because experiments have, these say why.
    explained = {None, FailureKind.STOPPED} if has_failed_experiments else set()
    of_jobs = (
        failure
        for failure in status.failures
        if failure.what is not FailureLevel.EXPERIMENTS
        and not failure.was_retried
        and failure.kind not in requested | explained
    )
    for cause in group_by_cause(of_jobs):
        yield _cause_of_job(workspace, status, tables, cause)


def _cause_of_job(workspace: Workspace, status: RunStatus, tables: list[RunTable], cause: Cause) -> FailureCause:
    from orchestrator.db.step_runs import find_step_run

    first = cause.failures[0]
    tasks = tuple(sorted({task for failure in cause.failures for task in failure.tasks}))
    logs = find_step_run(workspace.database, status.run.key, first.address)
    cut = _cut_in(workspace, status.run.key, logs, tasks)
    # The log of a task that evaluated an experiment says more than that of one that waited.
    shown = cut[0][0] if cut else tasks[0] if tasks else None
    folder = workspace.run(status.run.key, logs.log_dir).logs
    files = [] if first.traceback else logs_of(folder, logs, shown)
    lines = _last_lines(files[-1][0]) if files else ()
    kind, _, _ = (first.why or "").partition(":")
    return FailureCause(
        what=first.what,
        step=first.name,
        address=first.address,
        project_dir=None,
        type=kind if first.kind == FailureKind.EXCEPTION else first.kind,
        place=None,
        message=first.why,
        n=len(tasks) or cause.n,
        experiments=tuple(_in_tables(cut, tables)),
        tasks=tasks,
        hosts={},
        traceback=first.traceback,
        shown_task=shown,
        last_lines=lines,
        hint=_hint(status.run, first.name, first.kind, first.why, lines),
    )


def _cut_in(workspace: Workspace, key: str, logs: StepLogs, tasks: Iterable[int]) -> list[tuple[int, str, int]]:
    """Return what tasks evaluated when they ended without a receipt: task, folder of the table, and row label."""
    from orchestrator.handoff.jobfile import read_jobfile
    from orchestrator.worker.running import read_cuts

    found: list[tuple[int, str, int]] = []
    for job in logs.step_run.jobs:
        folder = workspace.run(key).job(job.token)
        for task in tasks:
            for path in folder.running_of(task):
                with suppress(OrchestratorError):
                    project_dir = read_jobfile(folder.file, job.job_file).project_dir
                    found += [(task, project_dir, cut.key[0]) for cut in read_cuts(path, "", "")]
    return found


def _in_tables(cut: Iterable[tuple[int, str, int]], tables: list[RunTable]) -> Iterator[FailedExperiment]:
    rows = {(project_dir, label) for _, project_dir, label in cut}
    for table in tables:
        inputs_at = table.data.input_rows()
        for at, label in enumerate(table.data.labels()):
            if (table.project_dir, label) in rows:
                yield _failed(label, inputs_at(at), table.records[at])
