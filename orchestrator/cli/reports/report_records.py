"""Read all that a report of a run needs: status, tables, tasks, failures and usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.failure_causes import failures_of
from orchestrator.cli.reports.report_content import Records
from orchestrator.cli.reports.tasks import efficiency_of, tasks_of
from orchestrator.cli.run_table import tables_of
from orchestrator.db.runs import settings_of
from orchestrator.db.status import run_status
from orchestrator.engine.live import live_status

if TYPE_CHECKING:
    from orchestrator.workspace import Workspace

__all__ = ["read_records"]


def read_records(workspace: Workspace, key: str, now: float, *, ask_slurm: bool = True) -> Records:
    """Return what is known of a run.

    Parameters
    ----------
    workspace : Workspace
        Its workspace.
    key : str
        Its key.
    now : float
        Epoch seconds.
    ask_slurm : bool, default True
        Whether SLURM's accounting is asked for the peak memory of its jobs.

    Raises
    ------
    NotFound
        If there is no such run.
    DataError
        If a table can't be read.
    """
    status = live_status(workspace, run_status(workspace.database, key, now, whole=True), now)
    tables = tables_of(workspace, key)
    tasks = tasks_of(workspace, status, tables)
    settings = settings_of(workspace.database, key)
    return Records(
        status=status,
        tables=tables,
        tasks=tasks,
        failures=failures_of(workspace, status, tables),
        efficiency=efficiency_of(workspace, status, tasks, ask_slurm=ask_slurm),
        seed=settings.plan.seed,
        code=settings.bundle_digest,
    )
