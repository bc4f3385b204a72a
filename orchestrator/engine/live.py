"""Add to the records what the tasks that run have written since: how many experiments finished, failed and run now.

Three folders of each array are listed (receipts, counts, what is evaluated now), and one small file is read for each
task that runs now. Nothing is written. What can't be read now is left as recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from orchestrator.db.step_runs import as_started
from orchestrator.db.views import Failure, JobView, RunStatus, RunView, StepRunView, StepSummary
from orchestrator.errors import OrchestratorError
from orchestrator.handoff.claim import has_begun
from orchestrator.handoff.counts import Counts, read_counts
from orchestrator.handoff.receipt import receipts_of
from orchestrator.indexes import parse_indexes
from orchestrator.machine.kinds import Mode, Role
from orchestrator.machine.model import Job, StepRun
from orchestrator.machine.queue_time import queue_seconds
from orchestrator.worker.running import read_progress
from orchestrator.workspace import JobFolder, RunFolder, Workspace

__all__ = ["counts_without_receipts", "live_run", "live_status"]

Counted = TypeVar("Counted", RunView, StepSummary)

_Receipts = dict[int, tuple[Path, ...]]
"""The paths of the receipts of a job, by task."""


class _Live(NamedTuple):
    """An open step run with what is not in the records yet.

    That are numbers of experiments, tasks with failed ones, and the time in which it only waited in the queue.
    """

    step_run: StepRunView
    n_finished: int
    n_failed: int
    failing: list[tuple[int, Counts, list[str]]]
    queue_seconds: float


def live_run(workspace: Workspace, run: RunView, step_run: StepRunView | None, now: float) -> RunView:
    """Return a run with the experiments that the tasks of its open step run have counted since the last advance.

    Parameters
    ----------
    workspace : Workspace
        Where the run is.
    run : RunView
        The run as recorded.
    step_run : StepRunView or None
        Its open step run; None if it has none.
    now : float
        Epoch seconds.
    """
    return run if step_run is None else _with_counts(run, _live(workspace.run(run.key), run, step_run, now))


def live_status(workspace: Workspace, status: RunStatus, now: float) -> RunStatus:
    """Return a status with what the tasks of the open step run have written since the last advance.

    Parameters
    ----------
    workspace : Workspace
        Where the run is.
    status : RunStatus
        The run as recorded.
    now : float
        Epoch seconds.
    """
    if status.now is None:
        return status
    folder = workspace.run(status.run.key)
    live = _live(folder, status.run, status.now, now)
    step_run = live.step_run
    if not status.run.stalled:
        step_run = step_run._replace(seconds_left=_seconds_left(step_run, now))
    failures = status.failures
    if live.failing:
        from orchestrator.engine.live_failures import live_failures

        failures = _merged(failures, live_failures(folder, step_run, live.failing))
    return status._replace(
        run=_with_counts(status.run, live),
        steps=tuple(_with_counts(step, live) if step.path == step_run.path else step for step in status.steps),
        now=step_run,
        step_runs=tuple(step_run if each.id == step_run.id else each for each in status.step_runs),
        failures=failures,
    )


def _with_counts(counted: Counted, live: _Live) -> Counted:
    return counted._replace(
        n_finished=counted.n_finished + live.n_finished,
        n_failed=counted.n_failed + live.n_failed,
        queue_seconds=counted.queue_seconds + live.queue_seconds,
        n_running=live.step_run.n_running,
        n_waiting=live.step_run.n_waiting,
    )


def _merged(recorded: tuple[Failure, ...], live: list[Failure]) -> tuple[Failure, ...]:
    """Return failures; those of the same step run with the same cause are one."""
    merged = {(failure.address, failure.what, failure.why): failure for failure in recorded}
    for failure in live:
        key = (failure.address, failure.what, failure.why)
        if (known := merged.get(key)) is not None:
            rows = tuple(sorted({*known.rows, *failure.rows}))
            failure = known._replace(n=known.n + failure.n, rows=rows, inputs=failure.inputs)
        merged[key] = failure
    return tuple(merged.values())


def _seconds_left(step_run: StepRunView, now: float) -> float | None:
    """Return an estimate of the time that a step run still takes, if what is left takes as long as what is done."""
    n_done = step_run.n_finished + step_run.n_failed
    if step_run.n_all is None or step_run.n_experiments is None:
        return None
    n_left, n_here = step_run.n_all - n_done, n_done - (step_run.n_all - step_run.n_experiments)
    begun = [job for job in step_run.jobs if job.started_at is not None]
    if n_here <= 0 or all(job.ended_at is not None for job in begun):
        return None
    busy = sum(max(0.0, (job.ended_at or now) - (job.started_at or now)) for job in begun)
    return busy / n_here * n_left


# --- the files of the tasks ----------------------------------------------------------------------


def _live(folder: RunFolder, run: RunView, step_run: StepRunView, now: float) -> _Live:
    receipts: dict[str, _Receipts] = {}
    jobs = [_job_now(folder.job(job.token), job, receipts) for job in step_run.jobs]
    batches: defaultdict[int, list[JobView]] = defaultdict(list)
    for job in jobs:
        if job.role is Role.BATCH:
            batches[job.batch].append(job)
    n_finished = n_failed = n_running = 0
    failing: list[tuple[int, Counts, list[str]]] = []
    for attempts in batches.values():
        with suppress(OrchestratorError):
            has_ended = attempts[-1].ended_at is not None
            for task, counts, is_running in _not_recorded(folder, step_run, attempts, receipts, has_ended=has_ended):
                n_finished += counts.n_finished
                n_failed += counts.n_failed
                n_running += is_running and not run.stalled
                if counts.n_failed:
                    failing.append((task, counts, [job.token for job in attempts]))
    n_waiting = max(0, step_run.n_waiting - n_finished - n_failed - n_running)
    step_run = step_run._replace(
        jobs=tuple(jobs),
        n_finished=step_run.n_finished + n_finished,
        n_failed=step_run.n_failed + n_failed,
        n_running=n_running,
        n_waiting=n_waiting,
    )
    waited = queue_seconds(jobs, run.last_event_at if run.stalled else now) if run.mode is Mode.SLURM else 0.0
    return _Live(step_run, n_finished, n_failed, failing, waited)


def _job_now(folder: JobFolder, job: JobView, receipts: dict[str, _Receipts]) -> JobView:
    """Return a job as its files show it: whether it has started, and how many of its tasks have ended.

    Its receipts are kept by its token, so that their folder is listed once.
    """
    if job.queued_at is None or job.ended_at is not None:
        return job
    with suppress(OrchestratorError, OSError):
        if job.started_at is None and has_begun(folder):
            job = as_started(job, folder.claim.stat().st_mtime)
        if job.role is Role.BATCH:
            receipts[job.token] = receipts_of(folder)
            job = job._replace(n_tasks_ended=len(receipts[job.token]))
    return job


def counts_without_receipts(folder: RunFolder, step_run: StepRun) -> tuple[int, int]:
    """Return the numbers of experiments that finished and failed in tasks of ended jobs that have left no receipt.

    They are in the table, but not in the counts of the jobs, because a later attempt at a task counts them again.
    """
    n_finished = n_failed = 0
    batches: defaultdict[int, list[Job]] = defaultdict(list)
    for job in step_run.jobs:
        if job.role is Role.BATCH:
            batches[job.batch].append(job)
    for attempts in batches.values():
        if attempts[-1].has_ended:
            with suppress(OrchestratorError):
                for _, counts, _ in _not_recorded(folder, step_run, attempts, {}, has_ended=True):
                    n_finished += counts.n_finished
                    n_failed += counts.n_failed
    return n_finished, n_failed


def _not_recorded(
    folder: RunFolder,
    step_run: StepRunView | StepRun,
    attempts: Sequence[JobView | Job],
    receipts: Mapping[str, _Receipts],
    *,
    has_ended: bool,
) -> list[tuple[int, Counts, bool]]:
    """Return the tasks of a batch whose experiments are not recorded yet, with their counts, and whether each runs now.

    A later attempt at a task counts what an earlier one has evaluated, too. So the largest counts are those of now.

    Raises
    ------
    Busy
        If a folder can't be listed now.
    """
    last = attempts[-1]
    tasks = parse_indexes(last.failed_tasks if has_ended else last.tasks)
    if not tasks:
        return []
    best: dict[int, Counts] = {}
    running: set[int] = set()
    for job in attempts:
        job_folder = folder.job(job.token)
        known = receipts.get(job.token)
        ended = receipts_of(job_folder) if known is None else known
        counts = read_counts(job_folder)
        if job is last and has_ended:
            # Its receipts were read when it ended.
            tasks = [task for task in tasks if task not in ended]
        seen = {task: counts.get(task) or _all_finished(step_run, task) for task in ended}
        for path in job_folder.running_of():
            task = _task_of(path.name)
            progress = None if task is None or task in ended else read_progress(path)
            if task is None or progress is None:
                continue
            seen[task] = max(seen.get(task, _NONE), Counts(*progress[:2]), key=_number)
            if progress[2] and job is last and not has_ended:
                running.add(task)
        for task, found in seen.items():
            best[task] = max(best.get(task, _NONE), found, key=_number)
    return [(task, best.get(task, _NONE), task in running) for task in tasks]


_NONE = Counts()


def _number(counts: Counts) -> int:
    return counts.n


def _all_finished(step_run: StepRunView | StepRun, task: int) -> Counts:
    """Return the counts of a task of which all experiments have finished; `tasks_for` deals them in turn."""
    n, n_tasks = step_run.n_experiments or 0, step_run.n_tasks or 1
    return Counts(n // n_tasks + (task < n % n_tasks))


def _task_of(name: str) -> int | None:
    task, _, restart = name.partition(".")
    return int(task) if task.isdecimal() and restart.isdecimal() else None
