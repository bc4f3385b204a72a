"""Storing: write a table over the one that it was made from, and keep what others have stored since."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.files import Outrun, State, locked, outrun, state_of, write_table
from orchestrator.data.merging import Origin, merge
from orchestrator.errors import DataError

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["store", "store_result"]

_TRIES = 10

_stored_here: dict[Path, State] = {}
"""The tables that the user's code has stored in this process, by their project folder."""


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
    folder = data.project_dir
    if data._origin is None:
        data._table.stored = {}
        data.to_files()  # what can't be stored is refused before a folder is made
    for _ in range(_TRIES):
        with suppress(Outrun), locked(folder):
            _store(data, state_of(folder), may_merge)
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


def _store(data: ExperimentData, now: State, may_merge: bool) -> None:
    folder, origin = data.project_dir, data._origin
    is_there = None not in now.stats
    if origin is None or not is_there:
        data._table.stored = {}
    elif origin.state != now:
        is_ours = _stored_here.get(folder.resolve()) == now
        if not may_merge and not is_ours and origin.state.generation != now.generation:
            raise DataError(
                f"the table in {folder / 'experiment_data'} was stored by another process while this step had it, so "
                "what the step returned was not stored.",
                "The step can be repeated with the table that is there now: orchestrator resume",
            )
        now = _merge(data, origin)
    files = data.to_files()
    state = write_table(folder, files.contents, now)
    data._table.stored = files.stored
    data._origin = Origin(state, data._table.copy())
    _stored_here[folder.resolve()] = state


def _merge(data: ExperimentData, origin: Origin) -> State:
    """Bring the changes of others into a table; return what identifies the table that has them."""
    theirs, _ = type(data).load(data.project_dir)
    assert theirs._origin is not None
    merged = merge(data._table, origin.table, theirs._table)
    data._domain = theirs._domain + data._domain if merged.updates or merged.added else data._domain
    data._take_over(merged)
    data._offsets = theirs._offsets
    data._table.stored = {}
    n = len(merged.updates) + len(merged.added)
    if n:
        print(
            f"The table in {data.project_dir} was stored by another process after it was read here; {n} experiments "
            "were taken over from there.",
            file=sys.stderr,
        )
    return theirs._origin.state
