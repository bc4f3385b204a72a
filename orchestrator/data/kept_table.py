"""Keep a table as it is now: copies of its four files; one that has not changed is a hard link of the last copy.

No file is shared with the table itself, because a user may edit that in place. Size and time of each copy are noted, so
that an edit of the copy is seen when it is read again.

When a table is kept: `orchestrator.worker.keep_tables`. Which copy is used: `orchestrator.machine.earlier_tables`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from orchestrator.atomic import PRIVATE, created_synced, new_folder, write_synced
from orchestrator.damage import Damaged, open_regular, parse_object, read_small, read_whole
from orchestrator.data.generations import Outrun, finish_commit, outrun, write_table
from orchestrator.data.open_table import state_of
from orchestrator.data.result_folders import result_folders
from orchestrator.data.table_lock import locked
from orchestrator.errors import DataError
from orchestrator.holes import CHUNK, copy_written
from orchestrator.table_folder import TABLE_FILES, data_folder

__all__ = ["KeptTable", "keep_table", "put_back", "read_kept", "sizes"]

NOTES = "snapshot.json"

_TRIES = 20


class KeptTable(NamedTuple):
    """A table that was kept.

    Attributes
    ----------
    contents : dict of str to bytes
        Content of the four files by name; empty if there was no table.
    edited : list of str
        Names of files that were changed in place since.
    """

    contents: dict[str, bytes]
    edited: list[str]


def keep_table(project_dir: Path | str, target: Path, earlier: Iterable[Path] = ()) -> None:
    """Keep the table of a project folder in another folder, unless that exists.

    Parameters
    ----------
    project_dir : Path or str
        Where the table is.
    target : Path
        The folder in which it is kept.
    earlier : iterable of Path
        Folders of tables that were kept before, the newest first; files that are the same are links of theirs.

    Raises
    ------
    OSError
        If it can't be written, or the table changed during every try.
    """
    if target.exists():
        return
    # Relative, so that the copies are found again in a workspace that was moved.
    table = os.path.relpath(project_dir, target.parent)
    last = next((folder for folder in earlier if _notes(folder).get("table") == table), None)
    for _ in range(_TRIES):
        before = state_of(project_dir)
        # A file that was replaced meanwhile is missing, or the table is another one: then once again.
        with suppress(FileNotFoundError, _Changed), new_folder(target) as temporary:
            notes = _copy_files(project_dir, temporary, last)
            write_synced(temporary / NOTES, json.dumps({"table": table, "files": notes}).encode(), PRIVATE)
            if state_of(project_dir) != before:
                raise _Changed
        if target.exists():
            return
        time.sleep(0.01)
    raise OSError(f"the table in {data_folder(project_dir)} changed each time that it was to be kept")


class _Changed(Exception):
    """The table was stored meanwhile."""


def _copy_files(project_dir: Path | str, target: Path, last: Path | None) -> dict[str, list[int]]:
    """Copy the files of a table, and return size and time of each copy."""
    base, notes = data_folder(project_dir), dict[str, list[int]]()
    for name in TABLE_FILES:
        if not (base / name).exists():
            continue
        try:
            with open_regular(base / name, follow=True) as source:
                _copy_file(source, target / name, last and last / name)
        except Damaged as error:
            raise OSError(f"{base / name}: {error}") from error
        found = (target / name).stat()
        notes[name] = [found.st_size, found.st_mtime_ns]
    return notes


def _copy_file(source: BinaryIO, target: Path, last: Path | None) -> None:
    """Copy an open file; if the last copy has the same content, give that another name instead."""
    if last is not None:
        # There may be no last copy, and the file system may have no hard links.
        with suppress(OSError, Damaged), open_regular(last) as kept:
            if _have_same_content(source, kept):
                os.link(last, target)
                return
    with created_synced(target, PRIVATE) as copy:
        copy_written(source, copy)


def _have_same_content(one: BinaryIO, other: BinaryIO) -> bool:
    if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
        return False
    try:
        while content := one.read(CHUNK):
            if content != other.read(CHUNK):
                return False
        return True
    finally:
        one.seek(0)


def _notes(folder: Path) -> dict[str, Any]:
    try:
        return parse_object(read_small(folder / NOTES))
    except (OSError, Damaged, DataError):
        return {}


def read_kept(folder: Path) -> KeptTable:
    """Return a table that was kept.

    Raises
    ------
    DataError
        If it can't be read.
    """
    try:
        notes = parse_object(read_small(folder / NOTES))["files"]
        if notes.keys() != {name for name in TABLE_FILES if (folder / name).exists()}:
            raise Damaged(f"{NOTES} does not name the files that are there")
        contents = {name: read_whole(folder / name) for name in notes}
        edited = [name for name in contents if not _is_as_noted(folder / name, *notes[name])]
    except (OSError, AttributeError, TypeError, ValueError, LookupError, Damaged, DataError) as error:
        raise DataError(f"the table that was kept in {folder} can't be read: {error}") from error
    return KeptTable(contents, edited)


def _is_as_noted(path: Path, size: int, mtime_ns: int) -> bool:
    """Whether a file has the size and the time of when it was kept; an archive keeps its time to the microsecond."""
    found = path.stat()
    return found.st_size == size and abs(found.st_mtime_ns - mtime_ns) <= 1000


def put_back(project_dir: Path | str, contents: Mapping[str, bytes]) -> None:
    """Store a table as it was; results that are not folded yet are archived, because they came later.

    Raises
    ------
    DataError
        If it can't be stored; the table is then unchanged.
    TableBusy
        If other processes store the table.
    """
    finish_commit(project_dir)
    for _ in range(_TRIES):
        with suppress(Outrun), locked(project_dir):
            write_table(project_dir, contents, state_of(project_dir), result_folders(project_dir))
            return
    raise outrun(project_dir)


def sizes(folders: Mapping[str, Path]) -> dict[str, int]:
    """Return how many bytes of the disk each kept table needs; a file of several tables counts for the first one."""
    needed, counted = {}, set[tuple[int, int]]()
    for key, folder in folders.items():
        needed[key] = 0
        for stat in _files(folder):
            inode = (stat.st_dev, stat.st_ino)
            if inode not in counted:
                counted.add(inode)
                needed[key] += stat.st_size
    return needed


def _files(folder: Path) -> Iterator[os.stat_result]:
    for name in (*TABLE_FILES, NOTES):
        with suppress(FileNotFoundError):
            yield (folder / name).stat()
