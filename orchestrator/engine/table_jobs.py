"""Work on tables for the engine: freeze, collect and fold, in this process or in a child process.

A process that runs the steps itself, and the tail of a job, load the table themselves. Any other process starts a child
for it: if the table needs more memory than there is, only the child dies, and its parent reports that.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.engine.context import Context
from orchestrator.errors import Busy, DataError
from orchestrator.machine.batches import Division
from orchestrator.machine.model import Run, StepRun, blamed_kind

if TYPE_CHECKING:
    from orchestrator.worker.table_work import Collected, Frozen, Request

__all__ = ["collect_into_table", "expected_results", "fold_tables", "freeze_table", "table_was_changed"]


def freeze_table(context: Context, run: Run, step_run: StepRun, division: Division) -> Frozen:
    """Write the manifest of a step run.

    Raises
    ------
    DataError
        If the table can't be frozen.
    Busy
        If the table is in use, or the child process was killed. Nothing follows from that.
    """
    from orchestrator.worker.table_work import Frozen, freeze

    request = _request(run, step_run, division)
    if step_run.epoch:
        kinds = context.store.history.kinds_at(context.key, step_run.position)
        request.earlier_kinds.update((token, blamed_kind(kind)) for token, kind in kinds.items())
        request.manifests.update(context.store.history.manifests_at(context.key, step_run.position))
        # A retry repeats a step whose failed experiments were accepted: it evaluates these again, and those that fail
        # again stay accepted.
        is_repeated = context.store.history.accepts_failed(context.key, step_run.position, step_run.epoch - 1)
        request.reopens_failed = not step_run.accepts_failed or is_repeated
    moved, counted = context.store.history.manifests_before_a_move(context.key, step_run.position)
    request.moved += map(list, moved)
    of_table = (each for each in counted if run.plan.slot(each[0]).step.project_dir == request.project_dir)
    request.counted += map(list, of_table)
    request.expected.update(expected_results(context, run, step_run.position).get(request.project_dir, {}))
    if context.may_load_tables:
        return freeze(context.folder, request)
    return Frozen(**_in_child(context, "freeze", asdict(request)))


def table_was_changed(context: Context, run: Run) -> bool:
    """Whether the user has changed the table of the open step run, so that its manifest has other open experiments.

    Raises
    ------
    DataError, Busy
        As of `freeze_table`.
    """
    from orchestrator.worker.table_work import is_outdated

    step_run = run.step_run
    if step_run is None or step_run.n_tasks is None or step_run.has_ended or run.live_jobs:
        return False
    request = _request(run, step_run, Division())
    if context.may_load_tables:
        return is_outdated(context.folder, request)
    return bool(_in_child(context, "compare", asdict(request))["is_outdated"])


def _request(run: Run, step_run: StepRun, division: Division) -> Request:
    from orchestrator.worker.table_work import Request

    return Request(
        position=step_run.position,
        epoch=step_run.epoch,
        mark=run.mark,
        project_dir=run.plan.slot(step_run.position).step.project_dir,
        per_task=division.per_task,
        max_tasks=division.max_tasks,
        max_tables=run.max_tables,
        manifests={} if step_run.manifest is None else {str(step_run.epoch): step_run.manifest},
    )


def collect_into_table(context: Context, run: Run, position: int) -> Collected:
    """Fold the result files of tasks into the table of a step, those of f3dasm as well.

    Raises
    ------
    DataError
        If there is no table, or the table or a file can't be read, or results are missing.
    Busy
        If the table is in use, or the child process was killed. Nothing follows from that.
    """
    from orchestrator.worker.table_work import Collected, collect

    project_dir = run.plan.slot(position).step.project_dir
    expected = expected_results(context, run, position).get(project_dir, {})
    if context.may_load_tables:
        return collect(context.folder, project_dir, expected)
    return Collected(**_in_child(context, "collect", {"project_dir": project_dir, "expected": expected}))


def fold_tables(context: Context, run: Run) -> int:
    """Fold the remaining result files of a run into its tables, so that every reader sees the results.

    Returns
    -------
    int
        Number of results that belong to no row and were quarantined.

    Raises
    ------
    DataError, Busy
        As of `collect_into_table`.
    """
    project_dirs, expected = sorted({step.project_dir for step in run.plan.steps()}), expected_results(context, run)
    if context.may_load_tables:
        from orchestrator.worker.table_work import fold_all

        return sum(len(report.quarantined) for report in fold_all(context.folder, project_dirs, expected))
    left = [name for name in project_dirs if name in expected or context.folder.has_results(name)]
    request = {"project_dirs": left, "expected": expected}
    return int(_in_child(context, "fold", request)["n_quarantined"]) if left else 0


def expected_results(context: Context, run: Run, before: int | None = None) -> dict[str, dict[str, int]]:
    """Return which results must be found by the next fold of each table.

    They are those of the last parallel step. A step after it that has succeeded has found them already; since then the
    user's code may have removed their files.

    Parameters
    ----------
    context : Context
        The run's records.
    run : Run
        The run.
    before : int, optional
        Position of the step that needs the table. By default all steps count.

    Returns
    -------
    dict of str to dict
        By the folder of the table: the number of experiments by the tokens of their jobs, joined by commas.
    """
    expected: dict[str, dict[str, int]] = {}
    known = set()
    for step_run in context.store.history.latest_step_runs(context.key, before, _LATEST):
        project_dir = run.plan.slot(step_run.position).step.project_dir
        if project_dir in known:
            continue
        if step_run.is_batch and step_run.n_experiments:
            expected[project_dir] = {step_run.tokens: step_run.n_experiments}
        if step_run.is_batch or step_run.has_succeeded:
            known.add(project_dir)
    return expected


_LATEST = 20
"""Number of step runs among which the last parallel one is looked for."""


def _in_child(context: Context, what: str, request: Any) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "orchestrator.worker", what]
    command += [str(context.folder.workspace), context.key]
    text = json.dumps(request)
    done = subprocess.run(
        command, input=text, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Busy(
            f"The process that should {what} the table of run {context.key} ended without an answer: {_why(done)}. "
            f"If it needs more memory: {MORE_MEMORY[what]}.",
            f"Retry with: orchestrator resume {context.key}",
        ) from None
    if "error" in answer:
        raise (Busy if answer["is_busy"] else DataError)(answer["error"], answer["hint"])
    return answer


MORE_MEMORY = {
    "compare": "Pipeline(orchestrator_resources=SlurmResources(mem=...))",
    "freeze": "Pipeline(orchestrator_resources=SlurmResources(mem=...))",
    "collect": "Step(CollectArrayResults(), resources=SlurmResources(mem=...))",
    "fold": "Pipeline(orchestrator_resources=SlurmResources(mem=...))",
}


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
