"""Say why a run on this machine has failed, and what to type next."""

from __future__ import annotations

import shlex

from orchestrator.addresses import format_study
from orchestrator.db.failures import group_by_cause
from orchestrator.db.step_runs import find_step_run
from orchestrator.db.store import RunRecord, Store
from orchestrator.definition.expected_outputs import UNDECLARED
from orchestrator.errors import RunFailed
from orchestrator.machine.kinds import FailureLevel, StepKind
from orchestrator.machine.model import Run, StepRun
from orchestrator.text import shortened
from orchestrator.worker.processes import NO_SPACE

__all__ = ["run_failed"]

LONGEST_CAUSE = 400
"""Characters of the first cause that are shown."""


def run_failed(store: Store, run: Run) -> RunFailed:
    """Return the error of a run that has failed."""
    step_run = run.step_run
    failed = step_run if step_run is not None and step_run.has_failed else None
    message = f"Run {run.key} failed: {str(run.reason).removesuffix('.')}."
    cause = "" if failed is None or not failed.n_failed else _first_cause(store, run, failed)
    hints = [*_look(run, failed), *_continue(run, failed, store.record(run.key), cause)]
    return RunFailed(f"{message}\n{cause}" if cause else message, "\n".join(hints))


def _first_cause(store: Store, run: Run, failed: StepRun) -> str:
    """Return the cause of most of the failed experiments, so that it is seen at once."""
    address = run.plan.slot(failed.position).address
    failures = find_step_run(store.workspace.database, run.key, address).failures
    causes = group_by_cause(failure for failure in failures if failure.what is FailureLevel.EXPERIMENTS)
    most = max(causes, key=lambda cause: cause.n, default=None)
    if most is None or not most.failures[0].why:
        return ""
    why = shortened(" ".join(most.failures[0].why.split()), LONGEST_CAUSE)
    return why if len(causes) == 1 else f"{most.n} of them: {why}"


def _look(run: Run, failed: StepRun | None) -> list[str]:
    if failed is None or not failed.jobs:
        return []
    if failed.n_failed:
        return [f"See inputs and tracebacks: orchestrator failures {run.key}"]
    return [f"See the traceback: orchestrator logs {run.key} {shlex.quote(run.plan.slot(failed.position).address)}"]


def _continue(run: Run, failed: StepRun | None, record: RunRecord, cause: str) -> list[str]:
    resume = f"orchestrator resume {run.key}"
    if NO_SPACE in str(run.reason):
        return [f"Make room, then continue: {resume}"]
    lines, again = [f"To continue after a fix: {resume}"], resume
    before = None if failed is None or failed.jobs else _step_that_stores(run, failed)
    if before is not None:
        again += f" --from-step {shlex.quote(before)}"
        lines.append(f"To repeat the step before it, too: {again}")
    elif UNDECLARED in cause:
        again += f" --from-step {shlex.quote(run.plan.slot(0).address)}"
    if record.study:
        # The run has stored the code that failed: a plain resume would fail again.
        lines.append(f"If you changed the study: {again} --update {format_study(record.study, record.study_attr)}")
    if failed is not None and failed.n_failed:
        lines.append(f"To accept the failed experiments and continue: {resume} --accept-failed")
    return lines


def _step_that_stores(run: Run, failed: StepRun) -> str | None:
    """Return the step before one that had no table to work on: it has to store one."""
    if not failed.position or run.plan.slot(failed.position).step.collects:
        return None
    slot = run.plan.slot(run.plan.before(failed.position))
    return slot.address if slot.step.kind is StepKind.CALL and not slot.step.collects else None
