"""Reading: the table of a project folder with the results that are not folded into it yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from errno import ESTALE
from pathlib import Path

from orchestrator.data.contents import Contents
from orchestrator.data.layout import StoredTable, decode_files
from orchestrator.data.matching import FoldReport
from orchestrator.data.merging import Origin
from orchestrator.data.open_table import READ_TRIES, OpenTable, changes_all_the_time, opened_table
from orchestrator.data.results import ResultReader
from orchestrator.errors import DataError
from orchestrator.table_folder import data_folder

__all__ = ["Stored", "read_stored"]


@dataclass(frozen=True)
class Stored:
    """What a project folder contains.

    Attributes
    ----------
    contents : Contents
        The table, with the results.
    stored_by : str or None
        Token of the job that stored the table.
    offsets : dict of str to int
        Number of bytes of each result file that the table contains.
    origin : Origin
        What identifies the table on disk.
    report : FoldReport
        Counts of the results that were folded in memory.
    """

    contents: Contents
    stored_by: str | None
    offsets: dict[str, int]
    origin: Origin
    report: FoldReport


def read_stored(
    project_dir: Path,
    folders: Iterable[Path] | None = None,
    *,
    as_edited: bool = False,
    reader: ResultReader | None = None,
) -> Stored:
    """Read the table of a project folder and fold result files into it, in memory.

    Parameters
    ----------
    project_dir : Path
        The project folder.
    folders : iterable of Path or None, default None
        The folders of result files to fold. By default all.
    as_edited : bool, default False
        As of `ExperimentData.from_file`.
    reader : ResultReader, optional
        It reads the result files, and may have read them already.

    Returns
    -------
    Stored
        The table, and what is known of its files.

    Raises
    ------
    FileNotFoundError
        If the folder has no table.
    DataError
        If the files can't be read, or don't belong together.
    """
    stored, opened = _decoded(project_dir, as_edited)
    contents = Contents(stored.domain, stored.table, project_dir)
    contents.adopt(stored.table)
    names = None if folders is None else {folder.name for folder in folders}
    paths = [path for path in opened.results if names is None or path.parent.name in names]
    # Lines that the stored table contains are not folded again: the user may have changed their rows since.
    reader = ResultReader() if reader is None else reader
    files = [reader.read(path, stored.folded.get(_name(path), 0)) for path in paths]
    report = contents.fold(files)
    offsets = {**stored.folded, **{_name(file.path): file.end for file in files}}
    return Stored(contents, stored.stored_by, offsets, Origin(opened.state, contents.table.copy()), report)


def _decoded(project_dir: Path, as_edited: bool) -> tuple[StoredTable, OpenTable]:
    for _ in range(READ_TRIES):
        with opened_table(project_dir) as opened:
            try:
                stored = decode_files(data_folder(project_dir), opened.files, as_edited=as_edited)
            except DataError:
                if opened.is_unchanged():
                    raise
                continue
            except OSError as error:
                if error.errno != ESTALE:  # another machine has removed the files: there is a newer table
                    raise
                continue
            if opened.is_unchanged():
                return stored, opened
    raise changes_all_the_time(project_dir)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
