"""Collect: what tasks left in files goes into the table, where a step asks for it and needs no job for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.handoff.folder import RunFolder
from orchestrator.worker.table_errors import as_own_errors

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.left_overs import Put

__all__ = ["Collected", "collect"]


@dataclass(frozen=True)
class Collected:
    """What was found.

    Attributes
    ----------
    n_quarantined : int
        Results that fit no experiment, and were set aside.
    misfits : dict of str to list of int
        Numbers of the files of f3dasm's tasks that fit nowhere, and stay where they are, by the reason.
    """

    n_quarantined: int
    misfits: dict[str, list[int]]


def collect(folder: RunFolder, project_dir: str) -> Collected:
    """Do what `CollectArrayResults` does, in one commit; a second time nothing is left to do.

    Parameters
    ----------
    folder : RunFolder
    project_dir : str
        Folder of the table, relative to the run's.

    Raises
    ------
    DataError
        If there is no table, or it or a file can't be read; what was not collected stays where it is.
    Busy
        If another process holds the table.
    """
    from orchestrator.data.fold import fold
    from orchestrator.data.left_overs import put_left_overs, read_left_overs, remove_collected

    where = folder.table(project_dir)
    puts: list[Put] = []

    def put(table: ExperimentData) -> int:
        puts.append(put_left_overs(table, left_overs))
        return len(puts[-1].new)

    with as_own_errors(where):
        left_overs = read_left_overs(where)
        report = fold(where, more=put)
        remove_collected([*puts[-1].new, *puts[-1].known])
    misfits: dict[str, list[int]] = {}
    for left, why in puts[-1].misfits:
        misfits.setdefault(why, []).append(left.row)
    return Collected(len(report.quarantined), misfits)
