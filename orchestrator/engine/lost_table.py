"""Refuse to continue a run whose table was deleted, before its experiments are evaluated for nothing."""

from __future__ import annotations

import shlex
from contextlib import suppress

from orchestrator.db.store import Store
from orchestrator.errors import DataError, DefinitionError
from orchestrator.machine.kinds import StepKind
from orchestrator.table_folder import DATA_FOLDER, TABLE_FILES
from orchestrator.workspace import RunFolder

__all__ = ["check_table", "has_table"]


def check_table(store: Store, key: str) -> None:
    """Check that the step at which a run stopped still has the table that it began with.

    Raises
    ------
    DataError
        If the table was deleted.
    """
    run, steps = store.load(key), store.history.valid_step_runs(key)
    if not steps or steps[-1].is_done:
        return
    step = run.plan.slot(steps[-1].position).step
    needs_table = step.collects or steps[-1].kind is StepKind.BATCH
    folder = store.workspace.run(key)
    if not needs_table or has_table(folder, step.project_dir):
        return
    table = folder.table(step.project_dir) / DATA_FOLDER
    for earlier in reversed(steps):
        if earlier.kind is StepKind.BATCH and run.plan.slot(earlier.position).step.project_dir == step.project_dir:
            if _is_kept(store, key, earlier.position):
                raise DataError(
                    f"The table of run {key} is missing: {table}. It was deleted after {earlier.address} had begun.",
                    f"To put it back as it was then: orchestrator resume {key} "
                    f"--from-step {shlex.quote(earlier.address)} --table-as-then",
                )
            break
    # Without a manifest the step may have failed because there was no table yet; then it says so itself.
    if run.step_run is not None and run.step_run.n_tasks is not None:
        raise DataError(
            f"The table of run {key} is missing: {table}. It was deleted after {steps[-1].address} had begun, and no "
            "earlier one is kept.",
            f"To make it again, with all its experiments: orchestrator resume {key} "
            f"--from-step {shlex.quote(next(run.plan.steps()).name)}",
        )


def has_table(folder: RunFolder, project_dir: str) -> bool:
    """Whether a folder of a run has a table, or a part of one."""
    return any((folder.table(project_dir) / DATA_FOLDER / name).exists() for name in TABLE_FILES)


def _is_kept(store: Store, key: str, position: int) -> bool:
    from orchestrator.engine.kept_tables import tables_to_put_back

    with suppress(DefinitionError, DataError):
        return bool(tables_to_put_back(store, key, position)[0])
    return False
