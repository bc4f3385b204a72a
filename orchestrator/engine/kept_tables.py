"""The tables of a run as they were when its steps began: find them, put them back, show and limit them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from orchestrator.data.kept_table import KeptTable, put_back, read_kept, sizes
from orchestrator.db.store import Store
from orchestrator.errors import DataError, DefinitionError
from orchestrator.handoff.claim import has_begun
from orchestrator.machine.earlier_tables import Began, first_ones, tables_at
from orchestrator.machine.model import TableThen
from orchestrator.worker.keep_tables import names_of_kept, remove_superfluous
from orchestrator.workspace import RunFolder, Workspace

__all__ = [
    "ListedTable",
    "about_edits",
    "change_limit",
    "put_tables_back",
    "read_then",
    "listed_tables",
    "tables_then",
    "tables_to_put_back",
]


class ListedTable(NamedTuple):
    """A kept table, as `snapshots` shows it.

    Attributes
    ----------
    address : str
        The step run that began with it.
    table : str
        Folder of the table, relative to the run's.
    kept_at : float
        Epoch seconds when it was kept.
    n_bytes : int
        Bytes on the disk that only this one needs.
    """

    address: str
    table: str
    kept_at: float
    n_bytes: int


def tables_then(store: Store, key: str, position: int) -> dict[str, TableThen | None]:
    """Return which kept table shows each table of a run as it was when the step at a position began.

    Returns
    -------
    dict of str to TableThen
        By the folder of the table; None for one that is still as it was then.

    Raises
    ------
    DefinitionError
        If a table is no longer kept.
    """
    run, folder = store.load(key), store.workspace.run(key)
    began = []
    for first in first_ones(store.history.began(key, position)):
        is_kept = folder.kept_table(first.position, first.epoch, run.mark).is_dir()
        is_begun = first.has_begun or is_kept or _has_begun_unrecorded(store, folder, key, first.position)
        began.append(Began(first.position, first.epoch, is_begun, is_kept))
    return tables_at(run.plan, position, began, key)


def _has_begun_unrecorded(store: Store, folder: RunFolder, key: str, position: int) -> bool:
    """Whether a job of a step has begun that is still recorded as queued; not one that was given up before."""
    with suppress(DataError):  # a claim that can't be read: a submission may have started
        return any(has_begun(folder.job(token)) for token in store.history.kinds_at(key, position))
    return True


def read_then(folder: RunFolder, mark: str, then: TableThen) -> KeptTable:
    """Return a table as it was when a step run began; raise `DataError` if it can't be read."""
    return read_kept(folder.kept_table(then.position, then.epoch, mark))


def tables_to_put_back(store: Store, key: str, position: int) -> tuple[tuple[TableThen, ...], list[str]]:
    """Return the tables that are put back for the step at a position, and what is special about them, in sentences.

    Raises
    ------
    DefinitionError
        If a table is no longer kept, or there was none.
    DataError
        If a table can't be read.
    """
    run, lines = store.load(key), list[str]()
    found = tuple(then for then in tables_then(store, key, position).values() if then is not None)
    for then in found:
        table = read_then(store.workspace.run(key), run.mark, then)
        if not table.contents:
            address = run.plan.slot(position).address
            raise DefinitionError(
                f"There was no table when {address} of run {key} began, so it can't be put back.",
                f"To run it with the table as it is: orchestrator resume {key} --from-step {address}\n"
                f"To begin a new run there, without a table: orchestrator fork {key} --from {address}",
            )
        lines += about_edits(table)
    return found, lines


_WERE = "were edited in place since, and are taken as they are"


def about_edits(table: KeptTable) -> list[str]:
    """Return that files of a kept table were edited in place."""
    if not table.edited:
        return []
    are = "was edited in place since, and is taken as it is" if len(table.edited) == 1 else _WERE
    return [f"Attention: {', '.join(table.edited)} {are} now."]


def put_tables_back(folder: RunFolder, mark: str, tables: Iterable[TableThen]) -> None:
    """Put tables back as they were when a step began. A second call changes nothing.

    Raises
    ------
    DataError
        If that can't be done.
    TableBusy
        If other processes store a table.
    """
    for then in tables:
        put_back(folder.table(then.project_dir), read_then(folder, mark, then).contents)


def listed_tables(workspace: Workspace, key: str) -> tuple[list[ListedTable], int | None]:
    """Return the kept tables of a run, the oldest first, and how many are kept at most; None: all."""
    store = Store(workspace.database)
    record, run, folder = store.own_record(key), store.load(key), workspace.run(key)
    paths: dict[str, Path] = {name: folder.kept_tables / name for name in names_of_kept(folder, run.mark)}
    needed = sizes(paths)
    found = []
    for name, path in paths.items():
        position = name.partition(".")[0]
        if position.isdecimal() and int(position) < run.plan.size:
            slot = run.plan.slot(int(position))
            found.append(ListedTable(slot.address, slot.step.project_dir, path.stat().st_mtime, needed[name]))
    return found, record.max_tables


def change_limit(workspace: Workspace, key: str, max_tables: int | None) -> int:
    """Record how many tables of a run are kept, remove those that are superfluous, and return their number."""
    store = Store(workspace.database)
    store.own_record(key)
    store.set_max_tables(key, max_tables)
    return len(remove_superfluous(workspace.run(key), store.load(key).mark, max_tables))
