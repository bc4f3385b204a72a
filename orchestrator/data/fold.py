"""Folding: write the results of a project folder to its table on disk, and archive their files, in one commit.

`orchestrator.data.matching` decides which row a result belongs to, and which results are quarantined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.expected_results import Expected, await_results
from orchestrator.data.generations import Outrun, finish_commit, outrun, write_table
from orchestrator.data.many_objects import many_objects
from orchestrator.data.matching import FoldReport
from orchestrator.data.result_folders import check_folder, result_folders
from orchestrator.data.results import ResultReader, frame
from orchestrator.data.table_lock import locked
from orchestrator.table_folder import ARCHIVE, RESULTS, data_folder

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["FoldReport", "fold"]

_TRIES = 10


def fold(
    project_dir: Path | str,
    more: Callable[[ExperimentData], int] | None = None,
    expected: Iterable[Expected] = (),
) -> FoldReport:
    """Fold the result files of a project folder into its table on disk.

    The new table and the move of the result files to ``.archive`` are one commit. No process may append to these
    result files afterwards.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.
    more : callable or None, default None
        A function that changes the table in the same commit, and returns the number of changed experiments.
    expected : iterable of Expected, default ()
        The results that must be there.

    Returns
    -------
    FoldReport
        Counts of the folded results. Those that belong to no row are written to ``.archive/quarantine``.

    Raises
    ------
    FileNotFoundError
        If the folder has results, or `more` is given, but there is no table.
    DataError
        If the table can't be read or stored, or results are missing; nothing was changed.
    TableBusy
        If another process stores the table for more than a minute.
    """
    finish_commit(project_dir)
    reader = ResultReader()
    # Before results are waited for that can't be there, and before a table is stored whose results can't be archived.
    for name in (RESULTS, ARCHIVE):
        check_folder(data_folder(project_dir) / name)
    await_results(project_dir, expected, reader)
    if more is None and not result_folders(project_dir):
        return FoldReport()
    for _ in range(_TRIES):
        with suppress(Outrun), locked(project_dir), many_objects():
            return _fold(Path(project_dir), more, reader)
    raise outrun(project_dir)


def _fold(project_dir: Path, more: Callable[[ExperimentData], int] | None, reader: ResultReader) -> FoldReport:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.reading import read_stored

    folders = result_folders(project_dir)
    if more is None and not folders:
        return FoldReport()
    stored = read_stored(project_dir.absolute(), folders, reader=reader)
    table, report = ExperimentData._of_stored(stored), stored.report
    n_more = 0 if more is None else more(table)
    if folders or n_more:
        contents = table.to_files(consumed=folders).contents
        write_table(project_dir, contents, stored.origin.state, folders, _quarantine(project_dir, report))
    return report


def _quarantine(project_dir: Path | str, report: FoldReport) -> dict[str, bytes]:
    """Return the quarantined lines by the path of their result file."""
    base = data_folder(project_dir) / RESULTS
    contents: dict[str, bytes] = defaultdict(bytes)
    for result in report.quarantined:
        name = str(Path(result["file"]).relative_to(base))
        contents[name] += frame({key: value for key, value in result.items() if key != "file"})
    return contents
