"""Fold: what tasks left in result files goes into the tables of a run."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.data.fold import FoldReport, fold
from orchestrator.errors import OrchestratorError
from orchestrator.handoff.folder import RunFolder
from orchestrator.worker.table_errors import as_own_errors

__all__ = ["fold_all"]


def fold_all(folder: RunFolder, project_dirs: Iterable[str]) -> list[FoldReport]:
    """Fold all results of a run whose jobs have ended.

    Parameters
    ----------
    folder : RunFolder
    project_dirs : iterable of str
        Folders of tables, relative to the run's.

    Returns
    -------
    list of FoldReport
        One per table.

    Raises
    ------
    DataError
        If a table is not there, or can't be read or stored: its results stay where they are. Others are folded.
    Busy
        If one can't be reached now, or another process holds it.
    """
    reports, errors = [], []
    for project_dir in project_dirs:
        try:
            with as_own_errors(folder.table(project_dir)):
                reports.append(fold(folder.table(project_dir)))
        except OrchestratorError as error:
            # The other tables can get theirs.
            errors.append(error)
    if errors:
        raise errors[0]
    return reports
