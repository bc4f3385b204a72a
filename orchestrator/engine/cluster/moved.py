"""A workspace that was moved or copied while jobs of its runs were in the queue.

The recorded paths of a moved workspace are corrected by `orchestrator.db.relocation`.
"""

from __future__ import annotations

from orchestrator.db.store import Store
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.errors import Busy, DefinitionError, OrchestratorError
from orchestrator.workspace import Workspace

__all__ = ["check_jobs_of_moved_run", "check_not_copied"]


def check_not_copied(store: Store, key: str) -> None:
    """Raise `DefinitionError` if the workspace is a copy: then the jobs of the run belong to the original."""
    old_root = store.moved_from(key)
    if old_root is None or not _has_same_run(Workspace.at(old_root), store, key):
        return
    database = Workspace.at(old_root).database
    raise DefinitionError(
        f"This workspace is a copy of {old_root}, and run {key} may have jobs in the queue that belong to it.",
        f"Use the run there: orchestrator status {key} --db {database}\n"
        "If the original is not needed, delete it; then this command works here.",
    )


def _has_same_run(original: Workspace, store: Store, key: str) -> bool:
    if not original.database.is_file():
        return False
    try:
        return Store(original.database).record(key).salt == store.record(key).salt
    except OrchestratorError:
        return False


def check_jobs_of_moved_run(store: Store, key: str, scheduler: SlurmScheduler) -> None:
    """Raise `Busy` if a run was moved, and jobs that were submitted in the old place are still in the queue."""
    old_root = store.moved_from(key)
    ids = scheduler.live_ids(store.history.tokens(key)) if old_root is not None else []
    if ids:
        jobs = f"job{'s' if len(ids) > 1 else ''} {', '.join(ids)}"
        raise Busy(
            f"Run {key} was moved here from {old_root}. SLURM still has its {jobs}, which would run in the old place.",
            f"End them first: orchestrator cancel {key}\nThen continue: orchestrator resume {key}",
        )
