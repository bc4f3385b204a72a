"""The files of a table as they are at one moment, read without a lock and without permission to write."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from errno import ELOOP, ENOENT, ENOTDIR
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from orchestrator.damage import Damaged, check_size, open_regular
from orchestrator.data.result_folders import result_folder_names, unfolded_result_files
from orchestrator.data.table_links import (
    CURRENT,
    GENERATIONS,
    command_to_link,
    generation_numbers,
    generation_of,
    in_the_way,
    is_link_of_a_file,
)
from orchestrator.errors import DataError
from orchestrator.table_folder import TABLE_FILES, data_folder

__all__ = [
    "READ_TRIES",
    "OpenTable",
    "State",
    "changes_all_the_time",
    "opened_file",
    "opened_table",
    "state_of",
    "stored_by",
]

READ_TRIES = 100
"""Number of times that a table is read again, if another program changes it meanwhile."""


@dataclass(frozen=True)
class State:
    """What identifies the table that is on disk.

    Attributes
    ----------
    generation : int
        Its number; 0 if there is none.
    stats : tuple
        For each of the four files what changes with its content; None if it does not exist.
    """

    generation: int
    stats: tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class OpenTable:
    """The files of a table at one moment.

    Attributes
    ----------
    files : dict of str to BinaryIO
        The four files by name, open. What they contain stays as it is when another process stores a table.
    results : list of Path
        Paths of the result files that are not folded into the table, sorted by name.
    state : State
        What identifies the table.
    """

    files: dict[str, BinaryIO]
    results: list[Path]
    state: State

    def is_unchanged(self) -> bool:
        """Whether no program has written to these files since they were opened."""
        return self.state.stats == tuple(_stats(os.fstat(file.fileno())) for file in self.files.values())


@contextmanager
def opened_table(project_dir: Path | str) -> Iterator[OpenTable]:
    """Open the four files of the same table, without a lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Yields
    ------
    OpenTable
        The files, and the paths of the result files.

    Raises
    ------
    FileNotFoundError
        If the folder has no table.
    DataError
        If the files changed during every try, or the links to them are missing.
    """
    base = data_folder(project_dir)
    for _ in range(READ_TRIES):
        before = _all_of(project_dir)
        with ExitStack() as stack:
            try:
                opened = {name: stack.enter_context(opened_file(base / name)) for name in TABLE_FILES}
                results = unfolded_result_files(project_dir)
            except FileNotFoundError:
                if _all_of(project_dir) == before:
                    _check_links(base)
                    raise
                continue
            if _all_of(project_dir) == before:
                yield OpenTable(opened, results, before[0])
                return
        time.sleep(0.01)
    raise changes_all_the_time(project_dir)


def changes_all_the_time(project_dir: Path | str) -> DataError:
    """Return the error of a process that found another table each time that it read it."""
    base = data_folder(project_dir)
    return DataError(f"the table in {base} changed each time that it was read", "Retry the command.")


def state_of(project_dir: Path | str) -> State:
    """Return what identifies the table that is now on disk."""
    base = data_folder(project_dir)
    stats: list[tuple[int, int, int] | None] = []
    for name in TABLE_FILES:
        try:
            stats.append(_stats((base / name).stat()))
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR, ELOOP):
                raise
            stats.append(None)
    return State(generation_of(base), tuple(stats))


def _stats(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size


def _all_of(project_dir: Path | str) -> tuple[State, list[str] | None]:
    results = result_folder_names(data_folder(project_dir))
    return state_of(project_dir), results


def stored_by(project_dir: Path | str) -> str | None:
    """Return the token of the job that stored the table.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    str or None
        The token; None if no job stored it.

    Raises
    ------
    FileNotFoundError
        If the folder has no table.
    """
    with opened_file(data_folder(project_dir) / "domain.json") as file:
        token: str | None = json.load(file).get("stored_by")
    return token


def opened_file(path: Path) -> BinaryIO:
    """Open a file to read it. It is a link of ours, or one that the user has put there."""
    try:
        file = open_regular(path, follow=True)
    except Damaged as error:
        raise in_the_way(path, str(error)) from error
    try:
        check_size(file)
    except Damaged as error:
        file.close()
        if not is_link_of_a_file(path):
            raise in_the_way(path, str(error)) from error
        raise DataError(f"{path} can't be used: {error}.", "Restore it from a copy.") from error
    return file


def _check_links(base: Path) -> None:
    """Raise an error if there is a table, but links to it are missing: some programs don't copy links."""
    for name in TABLE_FILES:
        if not os.path.lexists(base / name) and (base / CURRENT / name).is_file():
            raise DataError(f"the link {base / name} is missing. To put it back: {command_to_link(base / name)}")
    generations = base / GENERATIONS
    folders = [generations / str(number) for number in generation_numbers(base)] if generations.is_dir() else []
    whole = [
        folder
        for folder in folders
        # With a link in it, it has not become the table yet.
        if not (folder / CURRENT).is_symlink() and all((folder / name).is_file() for name in TABLE_FILES)
    ]
    if whole and not (base / CURRENT).exists():
        newest = quote(str(max(whole, key=lambda folder: int(folder.name))))
        raise DataError(
            f"the links to the table in {base} are missing: a program did not copy them, or removed them",
            f"Take the newest table: cp --remove-destination {newest}/*.* {quote(str(base))}",
        )
