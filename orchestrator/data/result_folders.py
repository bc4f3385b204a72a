"""The folders of results of a table: those that are not folded yet, and the archive of the others."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import chain, count
from pathlib import Path
from shlex import quote
from typing import Any

from orchestrator.atomic import sync_folder, write_synced
from orchestrator.damage import Damaged, parse_object, read_small
from orchestrator.data.table_links import CURRENT
from orchestrator.errors import DataError
from orchestrator.no_links import make_and_open
from orchestrator.table_folder import ARCHIVE, RESULTS, data_folder

__all__ = [
    "all_result_files",
    "archive_consumed",
    "check_folder",
    "result_folder_names",
    "result_folders",
    "unfolded_result_files",
    "write_consumed",
]

_COMMIT = "commit.json"
"""In the folder of a generation: which folders of results it contains, until they are archived."""


def result_folders(project_dir: Path | str) -> list[Path]:
    """Return the folders of result files that are not folded yet, one per job token.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    list of Path
        The folders, sorted by name, without those that the table contains.
    """
    base = data_folder(project_dir)
    consumed = _consumed_names(base)
    return [base / RESULTS / name for name in result_folder_names(base) or () if name not in consumed]


def result_folder_names(base: Path) -> list[str] | None:
    """Return the names of all folders of results; None if there is no place for them. Links lead to files of others."""
    path = base / RESULTS
    check_folder(path)
    try:
        with os.scandir(path) as found:
            return sorted(entry.name for entry in found if not entry.is_symlink())
    except FileNotFoundError:
        return None


def check_folder(path: Path) -> None:
    """Raise DataError if a link, which leads to files of others, or a file is in the place of a folder of results."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    name = quote(str(path))
    if stat.S_ISLNK(mode):
        raise DataError(f"{path} is a link, so it is not used.", f"Remove it: rm {name}")
    if not stat.S_ISDIR(mode):
        away = f"mv {name} {quote(f'{path}.damaged')}"
        raise DataError(f"{path} is not a folder, but results belong there.", f"Move it away: {away}")


def unfolded_result_files(project_dir: Path | str) -> list[Path]:
    """Return the result files that are not folded yet, sorted by name."""
    files = [path for folder in result_folders(project_dir) for path in folder.glob("*.jsonl")]
    return sorted(files, key=lambda path: (path.parent.name, path.name))


def all_result_files(project_dir: Path | str) -> Iterator[Path]:
    """Yield the result files of a table, also those that are folded.

    In this order, because a fold moves a file from the first folder to the second: it may be missing when it is read.
    """
    for folder in (RESULTS, ARCHIVE):
        yield from sorted((data_folder(project_dir) / folder).glob("*/*.jsonl"))


def archive_consumed(base: Path) -> None:
    """Move the folders of results that the table contains to the archive."""
    names = _consumed_names(base)
    for name in sorted(names):
        with suppress(FileNotFoundError):
            _archive(base, name)
    if names:
        sync_folder(base)
    with suppress(FileNotFoundError, NotADirectoryError):
        (base / CURRENT / _COMMIT).unlink()


def write_consumed(generation: Path, names: list[str]) -> None:
    """Note in the folder of a new generation which folders of results it contains."""
    if names:
        write_synced(generation / _COMMIT, json.dumps({"consumed": names}).encode())


def _archive(base: Path, name: str) -> None:
    with ExitStack() as opened:
        results = os.open(base / RESULTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        opened.callback(os.close, results)
        archive = make_and_open(base, [ARCHIVE])
        opened.callback(os.close, archive)
        names = chain([name], (f"{name}.{number}" for number in count(1)))
        new = next(new for new in names if _is_free(new, archive))
        os.rename(name, new, src_dir_fd=results, dst_dir_fd=archive)


def _is_free(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def _consumed_names(base: Path) -> frozenset[str]:
    """Return the names of the folders of results that the table contains, if they are still to be archived."""
    path = base / CURRENT / _COMMIT
    try:
        names = parse_object(read_small(path)).get("consumed")
        if not isinstance(names, list) or not all(map(_is_name, names)):
            raise Damaged("it does not name the results that it consumed")
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except Damaged as error:
        raise DataError(
            f"{path} can't be used: {error}. To use the table without it: rm -r {quote(str(path))}",
            "Results that the table has already are then folded again, which changes nothing.",
        ) from error
    return frozenset(names)


def _is_name(value: Any) -> bool:
    """Whether a value is the name of a folder: another path would lead out of the folder of the results."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\0"} & set(value)
