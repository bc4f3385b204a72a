"""Why experiments of a running step have failed: from the result files of its tasks, before the records have that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.data.job_status import JobStatus
from orchestrator.data.results import read_results
from orchestrator.db.views import Failure, StepRunView
from orchestrator.errors import OrchestratorError
from orchestrator.failure_groups import FailureGroup, group_of
from orchestrator.handoff.counts import Counts
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.handoff.manifest import Manifest
from orchestrator.machine.kinds import FailureLevel
from orchestrator.machine.states import FailureKind
from orchestrator.workspace import RunFolder

__all__ = ["live_failures"]

MOST_TASKS = 20
"""Number of tasks whose results are read. The failures of further tasks are counted with those of the same cause."""

Failing = tuple[int, Counts, Sequence[str]]


def live_failures(folder: RunFolder, step_run: StepRunView, failing: Sequence[Failing]) -> list[Failure]:
    """Return the failures of experiments that are not in the records yet, by cause.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    step_run : StepRunView
        The open step run.
    failing : sequence of tuple
        Its tasks with failed experiments: number, counts, and the tokens of the jobs that have evaluated it.
    """
    results = _Results(folder, {job.token: job.job_file for job in step_run.jobs})
    groups: dict[tuple[str, str], FailureGroup] = {}
    inputs: dict[int, Mapping[str, Any] | None] = {}
    by_cause: dict[str, FailureGroup] = {}
    ordered = _different_causes_first(failing)
    for task, counts, tokens in ordered[:MOST_TASKS]:
        for row, error in results.errors(task, tokens):
            group = by_cause[counts.cause] = group_of(groups, error)
            group.add(1, [row])
            if group.n == 1:
                inputs[id(group)] = results.inputs(task, tokens, row)
    for _, counts, _ in ordered[MOST_TASKS:]:
        if counts.cause in by_cause:
            by_cause[counts.cause].add(counts.n_failed, ())
    return [_failure(step_run, group, inputs[id(group)]) for group in groups.values()]


def _different_causes_first(failing: Sequence[Failing]) -> list[Failing]:
    firsts: dict[str, Failing] = {}
    for found in failing:
        firsts.setdefault(found[1].cause, found)
    return [*firsts.values(), *(found for found in failing if found not in firsts.values())]


def _failure(step_run: StepRunView, group: FailureGroup, inputs: Mapping[str, Any] | None) -> Failure:
    error = group.first
    return Failure(
        address=step_run.address,
        name=step_run.name,
        path=step_run.path,
        what=FailureLevel.EXPERIMENTS,
        why=f"{error['type']}: {error['message']}",
        kind=FailureKind.EXCEPTION,
        n=group.n,
        rows=tuple(group.rows),
        tasks=(),
        was_retried=False,
        traceback=error.get("traceback"),
        inputs=inputs,
    )


class _Results:
    """The result files of the jobs of a run."""

    def __init__(self, folder: RunFolder, job_files: Mapping[str, str | None]) -> None:
        self._folder, self._job_files = folder, job_files
        self._job = cache(self._read_job)
        self._files = cache(self._list_files)

    def errors(self, task: int, tokens: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield row and error of each failed experiment of a task, in the order in which they failed."""
        for token in tokens:
            for path in self._files(token).get(task, ()):
                with suppress(OSError):
                    for line in read_results(path):
                        if line["status"] == JobStatus.ERROR.name:
                            yield line["row"], line["error"]

    def inputs(self, task: int, tokens: Sequence[str], row: int) -> Mapping[str, Any] | None:
        """Return the inputs of an experiment as JSON values; None if they can't be read."""
        for token in tokens:
            job = self._job(token)
            if job is not None:
                with suppress(OrchestratorError, OSError):
                    manifest = Manifest.open(self._folder.manifest(job.position, job.epoch, job.mark), job.manifest)
                    return next((entry.inputs for entry in manifest.task(task) if entry.row == row), None)
        return None

    def _read_job(self, token: str) -> JobFile | None:
        with suppress(OrchestratorError, OSError):
            return read_jobfile(self._folder.job(token).file, self._job_files.get(token))
        return None

    def _list_files(self, token: str) -> Mapping[int, Sequence[Path]]:
        job = self._job(token)
        found: defaultdict[int, list[Path]] = defaultdict(list)
        if job is not None:
            with suppress(OSError):
                for path in sorted(self._folder.results(job.project_dir, token).glob("*.jsonl")):
                    task = path.name.partition(".")[0]
                    if task.isdecimal():
                        found[int(task)].append(path)
        return found
