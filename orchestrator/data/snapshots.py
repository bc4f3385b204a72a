"""Keep a table as it is now: its four files get a second name, as hard links, which costs nothing while they are used.

A generation of a table is never changed in place by this library. A user may edit a file in place, though, and with it
the one that is kept. So size and time of each file are noted, and such an edit is seen when the table is read again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from orchestrator.atomic import new_folder, write_synced
from orchestrator.damage import Damaged, parse_object, read_small, read_whole
from orchestrator.data.files import (
    Outrun,
    data_folder,
    file_of_generation,
    finish_commit,
    locked,
    outrun,
    result_folders,
    state_of,
    write_table,
)
from orchestrator.data.references import TABLE_FILES
from orchestrator.errors import DataError

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


def keep_table(project_dir: Path | str, target: Path) -> None:
    """Keep the table of a project folder in another folder, unless that exists.

    Raises
    ------
    OSError
        If it can't be written, or the table changed during every try.
    """
    if target.exists():
        return
    for _ in range(_TRIES):
        before = state_of(project_dir)
        # A file that was replaced meanwhile is missing, or the table is another one: then once again.
        with suppress(FileNotFoundError, _Changed), new_folder(target) as temporary:
            _link_files(project_dir, temporary)
            if state_of(project_dir) != before:
                raise _Changed
        if target.exists():
            return
        time.sleep(0.01)
    raise OSError(f"the table in {data_folder(project_dir)} changed each time that it was to be kept")


class _Changed(Exception):
    """The table was stored meanwhile."""


def _link_files(project_dir: Path | str, target: Path) -> None:
    base, notes = data_folder(project_dir), {}
    for name in TABLE_FILES:
        if not (base / name).exists():
            continue
        own = file_of_generation(base, name)
        try:
            if own is None:  # of another program, which may write into it
                raise PermissionError
            os.link(own, target / name)
        except PermissionError:
            write_synced(target / name, read_whole(base / name))
        except FileNotFoundError:
            raise
        except OSError:  # no hard links here
            write_synced(target / name, read_whole(base / name))
        found = (target / name).stat()
        notes[name] = [found.st_size, found.st_mtime_ns]
    write_synced(target / NOTES, json.dumps(notes).encode())


def read_kept(folder: Path) -> KeptTable:
    """Return a table that was kept.

    Raises
    ------
    DataError
        If it can't be read.
    """
    try:
        notes = parse_object(read_small(folder / NOTES))
        contents = {name: read_whole(folder / name) for name in notes if name in TABLE_FILES}
        edited = [name for name in contents if not _is_as_noted(folder / name, *notes[name])]
    except (OSError, TypeError, Damaged, DataError) as error:
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
    """Return how many bytes of the disk each kept table needs that no other one has, nor a table that is in use."""
    files = {key: list(_files(folder)) for key, folder in folders.items()}
    names: dict[tuple[int, int], int] = {}
    for found in files.values():
        for stat in found:
            names[stat.st_dev, stat.st_ino] = names.get((stat.st_dev, stat.st_ino), 0) + 1
    needed, counted = {}, set[tuple[int, int]]()
    for key, found in files.items():
        needed[key] = 0
        for stat in found:
            inode = (stat.st_dev, stat.st_ino)
            if stat.st_nlink == names[inode] and inode not in counted:
                counted.add(inode)
                needed[key] += stat.st_size
    return needed


def _files(folder: Path) -> Iterator[os.stat_result]:
    for name in (*TABLE_FILES, NOTES):
        with suppress(FileNotFoundError):
            yield (folder / name).stat()
