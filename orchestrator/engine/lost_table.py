"""Refuse to continue a run whose table was deleted, before its experiments are evaluated for nothing."""

from __future__ import annotations

import shlex
from contextlib import suppress

from orchestrator.db.store import Store
from orchestrator.errors import DataError, DefinitionError
from orchestrator.machine.kinds import StepKind
from orchestrator.table_folder import DATA_FOLDER, TABLE_FILES

__all__ = ["check_table"]


def check_table(store: Store, key: str) -> None:
    """Check that the step at which a run stopped still has the table that it began with.

    Raises
    ------
    DataError
        If the table was deleted, and can be put back as it was.
    """
    run, steps = store.load(key), store.history.valid_step_runs(key)
    if not steps or steps[-1].is_done:
        return
    step = run.plan.slot(steps[-1].position).step
    table = store.workspace.run(key).table(step.project_dir) / DATA_FOLDER
    needs_table = step.collects or steps[-1].kind is StepKind.BATCH
    if not needs_table or any((table / name).exists() for name in TABLE_FILES):
        return
    for earlier in reversed(steps):
        if earlier.kind is StepKind.BATCH and run.plan.slot(earlier.position).step.project_dir == step.project_dir:
            if _is_kept(store, key, earlier.position):
                raise DataError(
                    f"The table of run {key} is missing: {table}. It was deleted after {earlier.address} had begun.",
                    f"To put it back as it was then: orchestrator resume {key} "
                    f"--from-step {shlex.quote(earlier.address)} --table-as-then",
                )
            return


def _is_kept(store: Store, key: str, position: int) -> bool:
    from orchestrator.engine.kept_tables import tables_to_put_back

    with suppress(DefinitionError, DataError):
        return bool(tables_to_put_back(store, key, position)[0])
    return False
