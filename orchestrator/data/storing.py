"""Storing: write a table over the one that it was made from, and keep what others have stored since.

Which rows and values count if both have changed is decided in `orchestrator.data.merging`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.generations import Outrun, outrun, write_table
from orchestrator.data.merging import Origin, find_changes
from orchestrator.data.open_table import State, state_of
from orchestrator.data.references import copy_objects
from orchestrator.data.table_lock import locked
from orchestrator.errors import DataError
from orchestrator.loading import is_loading_again

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.layout import Files

__all__ = ["store", "store_in", "store_result"]

_TRIES = 10

_stored_here: dict[Path, State] = {}
"""The tables that the user's code has stored in this process, by their project folder."""


def store_in(data: ExperimentData, project_dir: Path | str, *, copy_references: bool) -> None:
    """Write a table as its user asks for.

    Parameters
    ----------
    data : ExperimentData
        The table. It gets the changes of others.
    project_dir : Path or str
        The project folder, which becomes that of the table.
    copy_references : bool
        Whether objects on disk are copied from the earlier project folder.

    Raises
    ------
    DataError
        As of `store`.
    TableBusy
        As of `store`.
    """
    before = data.project_dir
    data.project_dir = project_dir
    if is_loading_again():
        print(f"The table in {data.project_dir} is not stored again while the study is imported.", file=sys.stderr)
        return
    if copy_references:
        copy_objects(data._contents.paths_on_disk(), before, data.project_dir)
    store(data, may_merge=True)


def store(data: ExperimentData, *, may_merge: bool) -> None:
    """Write a table to the files of its project folder, completely or not at all.

    Parameters
    ----------
    data : ExperimentData
        The table. It gets the changes of others.
    may_merge : bool
        Whether to keep the changes of others, instead of refusing to store, if another process has stored the table.

    Raises
    ------
    DataError
        If it can't be stored, or not without a loss. The table on disk is then unchanged.
    TableBusy
        If other processes store the table all the time.
    """
    folder, files = data.project_dir, None
    if data._origin is None:
        data._contents.table.stored = {}
        files = data.to_files()  # what can't be stored is refused before a folder is made
    for _ in range(_TRIES):
        with suppress(Outrun), locked(folder):
            _store(data, state_of(folder), may_merge, files)
            return
    raise outrun(folder)


def store_result(data: ExperimentData, read: ExperimentData, project_dir: Path, token: str) -> None:
    """Write the table that the block of a job has returned.

    Parameters
    ----------
    data : ExperimentData
        The table.
    read : ExperimentData
        The table that the block was called with.
    project_dir : Path
        The project folder.
    token : str
        Token of the job.

    Raises
    ------
    DataError
        If another process has stored the table since it was read: perhaps this job was given up, and another one has
        done its work.
    """
    data.project_dir = project_dir
    data.stored_by = token
    data._origin = data._origin or read._origin
    store(data, may_merge=False)


def _store(data: ExperimentData, now: State, may_merge: bool, files: Files | None) -> None:
    folder, origin = data.project_dir, data._origin
    is_there = None not in now.stats
    if origin is None or not is_there:
        data._contents.table.stored = {}
    elif origin.state != now:
        is_ours = _stored_here.get(folder.resolve()) == now
        if not may_merge and not is_ours and origin.state.generation != now.generation:
            raise DataError(
                f"the table in {folder / 'experiment_data'} was stored by another process while this step had it, so "
                "what the step returned was not stored.",
                "The step can be repeated with the table that is there now: orchestrator resume",
            )
        now = _merge(data, origin)
    files = data.to_files() if files is None else files
    state = write_table(folder, files.contents, now)
    data._contents.table.stored = files.stored
    data._origin = Origin(state, data._contents.table.copy())
    _stored_here[folder.resolve()] = state


def _merge(data: ExperimentData, origin: Origin) -> State:
    """Bring the changes of others into a table; return what identifies the table that has them."""
    theirs, _ = type(data).load(data.project_dir)
    assert theirs._origin is not None
    changes = find_changes(data._contents.table, origin.table, theirs._contents.table)
    if changes.updates or changes.added:
        data.domain = theirs.domain + data.domain
    data._contents.add_changes(changes)
    data._offsets = theirs._offsets
    data._contents.table.stored = {}
    n = len(changes.updates) + len(changes.added)
    if n:
        print(
            f"The table in {data.project_dir} was stored by another process after it was read here; {n} experiments "
            "were updated from there.",
            file=sys.stderr,
        )
    return theirs._origin.state
