"""Fold: what tasks left in result files goes into the tables of a run."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.data.fold import FoldReport, fold
from orchestrator.handoff.folder import RunFolder
from orchestrator.worker.table_errors import as_data_errors

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
        If a table is not there, or can't be read or stored; its results stay where they are.
    Busy
        If another process holds one.
    """
    reports = []
    for project_dir in project_dirs:
        with as_data_errors(folder.table(project_dir)):
            reports.append(fold(folder.table(project_dir)))
    return reports
