"""Collect: what tasks left in files goes into the table, where a step asks for it and needs no job for that."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import DataError
from orchestrator.handoff.folder import RunFolder

__all__ = ["Collected", "collect"]


@dataclass(frozen=True)
class Collected:
    """What was found.

    Attributes
    ----------
    n_quarantined : int
        Results that fit no experiment, and were set aside.
    misfits : list of str
        A sentence for each file of f3dasm's tasks that fits nowhere, and stays where it is.
    """

    n_quarantined: int
    misfits: list[str]


def collect(folder: RunFolder, project_dir: str) -> Collected:
    """Do what `CollectArrayResults` does; a second time nothing is left to do.

    Parameters
    ----------
    folder : RunFolder
    project_dir : str
        Folder of the table, relative to the run's.

    Raises
    ------
    DataError
        If there is no table, or it or a file can't be read; what was not collected stays where it is.
    """
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.fold import fold
    from orchestrator.data.left_overs import collect_left_overs, has_left_overs, remove_collected

    where = folder.table(project_dir)
    try:
        n_quarantined = len(fold(where).quarantined)
        data = ExperimentData.from_file(where)
    except FileNotFoundError:
        raise DataError(
            f"there is no table in {where / 'experiment_data'}.",
            "A step before this one has to store one: ExperimentData(...).store(project_dir)",
        ) from None
    if not has_left_overs(where):
        return Collected(n_quarantined, [])
    misfits = collect_left_overs(data, where)
    data.store(where)
    remove_collected(where)
    return Collected(n_quarantined, misfits)
