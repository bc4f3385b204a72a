"""The four files of a table on disk, in f3dasm's layout, replaced together or not at all.

A new table is written to the folder ``.next`` beside the old files. The commit is the rename of ``commit.json`` into
that folder. Before the commit, the old table is valid and ``.next`` can be deleted. After it, the new table is valid,
and the next writer moves its files into place (rolls forward). A lock excludes concurrent writers. Readers need no
lock and no permission to write.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

from orchestrator.atomic import PRIVATE, sync_folder, write_atomically, write_synced
from orchestrator.damage import Damaged, open_regular, parse_object, read_small
from orchestrator.data.references import DATA_FOLDER
from orchestrator.errors import Busy, DataError

__all__ = [
    "Snapshot",
    "data_folder",
    "locked",
    "read_snapshot",
    "result_folders",
    "stored_by",
    "write_table",
]

TABLE_FILES = ("domain.json", "input.csv", "output.csv", "jobs.csv")
_LOCK_SECONDS = 60.0
_READ_TRIES = 100


@dataclass(frozen=True)
class Snapshot:
    """The files of a table at one moment.

    Attributes
    ----------
    contents : dict of str to bytes
        Content of the four files by name.
    results : list of Path
        Paths of the result files that are not folded into the table, sorted by name.
    """

    contents: dict[str, bytes]
    results: list[Path]


def data_folder(project_dir: Path | str) -> Path:
    """Return the folder of the table, ``<project_dir>/experiment_data``."""
    return Path(project_dir) / DATA_FOLDER


def result_folders(project_dir: Path | str) -> list[Path]:
    """Return the folders of result files that are not folded yet, one per job token.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    list of Path
        The folders, sorted by name, without those that a commit has consumed.
    """
    base = data_folder(project_dir)
    commit = _read_commit(base)
    consumed = set(commit["consumed"]) if commit else set()
    try:
        names = sorted(path.name for path in (base / ".results").iterdir())
    except FileNotFoundError:
        return []
    return [base / ".results" / name for name in names if name not in consumed]


def read_snapshot(project_dir: Path | str) -> Snapshot:
    """Read the four files of the same table, without a lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    Snapshot
        The content of the files, and the paths of the result files.

    Raises
    ------
    FileNotFoundError
        If the folder has no table.
    DataError
        If the files changed during every try, or are not those of the commit.
    """
    base = data_folder(project_dir)
    for _ in range(_READ_TRIES):
        before = _fingerprint(base)
        try:
            commit = _read_commit(base)
            contents = {name: _read_current(base, name, commit) for name in TABLE_FILES}
            results = _result_files(project_dir)
        except FileNotFoundError:
            if _fingerprint(base) == before:
                raise
            continue
        is_whole = commit is None or all(
            sha256(contents[name]).hexdigest() == commit["sha256"][name] for name in TABLE_FILES
        )
        is_unchanged = _fingerprint(base) == before
        if is_whole and is_unchanged:
            return Snapshot(contents, results)
        if is_unchanged:
            raise DataError(
                f"the table in {base} differs from its last commit",
                f"Compare the files in {base / '.next'} with the checksums in commit.json there.",
            )
        time.sleep(0.01)
    raise DataError(f"the table in {base} changed each time that it was read", "Retry the command.")


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
    domain = json.loads(read_snapshot(project_dir).contents["domain.json"])
    token: str | None = domain.get("stored_by")
    return token


def _result_files(project_dir: Path | str) -> list[Path]:
    files = [path for folder in result_folders(project_dir) for path in folder.glob("*.jsonl")]
    return sorted(files, key=lambda path: (path.parent.name, path.name))


def _read_current(base: Path, name: str, commit: Mapping[str, Any] | None) -> bytes:
    if commit is not None:
        with suppress(FileNotFoundError):
            return _read(base / ".next" / name)
    return _read(base / name)


def _read(path: Path) -> bytes:
    """Return the content of a file. A user may have put a link to another disk in its place."""
    try:
        with open_regular(path, follow=True) as file:
            return file.read()
    except Damaged as error:
        raise DataError(f"{path} can't be read: {error}") from error


def _fingerprint(base: Path) -> tuple[Any, ...]:
    paths = [base / name for name in TABLE_FILES]
    paths += [base / ".next" / name for name in (*TABLE_FILES, "commit.json")]
    stats: list[Any] = []
    for path in paths:
        try:
            stat = path.stat()
            stats.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            stats.append(None)
    try:
        stats.append(sorted(path.name for path in (base / ".results").iterdir()))
    except FileNotFoundError:
        stats.append(None)
    return tuple(stats)


def _read_commit(base: Path) -> dict[str, Any] | None:
    path = base / ".next" / "commit.json"
    try:
        content = parse_object(read_small(path))
        hashes, consumed = content.get("sha256"), content.get("consumed")
        if not isinstance(hashes, dict) or not all(_is_hash(hashes.get(name)) for name in TABLE_FILES):
            raise Damaged("it has no checksums")
        if not isinstance(consumed, list) or not all(map(_is_name, consumed)):
            raise Damaged("it does not name the results that it consumed")
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise DataError(f"{path} can't be used: {error}. {_way_out(base)}") from error
    return content


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_name(value: Any) -> bool:
    """Whether a value is the name of a folder: another path would lead out of the folder of the results."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\0"} & set(value)


def _way_out(base: Path) -> str:
    """Return what to type if a commit is damaged. Its files may be new tables, or have been moved into place."""
    folder, left = base / ".next", [base / ".next" / name for name in TABLE_FILES if (base / ".next" / name).exists()]
    if len(left) == len(TABLE_FILES):
        return f"To use the table from before it: mv {quote(str(folder))} {quote(str(base / 'damaged'))}"
    files = " ".join(quote(str(path)) for path in left)
    move = f"mv {files} {quote(str(base))} && " if files else ""
    return f"To use the table that it stored: {move}mv {quote(str(folder))} {quote(str(base / 'damaged'))}"


@contextmanager
def locked(project_dir: Path | str) -> Iterator[None]:
    """Hold the lock of the table, which excludes other writers.

    Parameters
    ----------
    project_dir : Path or str
        The project folder. Its folder ``experiment_data`` is created if it does not exist.

    Raises
    ------
    Busy
        If another process holds the lock for more than a minute.
    """
    from filelock import FileLock, Timeout

    base = data_folder(project_dir)
    base.mkdir(parents=True, exist_ok=True)
    lock = FileLock(base / ".lock", timeout=_LOCK_SECONDS, mode=PRIVATE)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(f"another process stores the table in {base}", "Retry the command later.") from error
    try:
        yield
    finally:
        lock.release()


def write_table(
    project_dir: Path | str,
    contents: Mapping[str, bytes],
    consumed: Iterable[Path] = (),
    quarantine: Mapping[str, bytes] | None = None,
) -> None:
    """Replace the four files of the table. The caller holds the lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.
    contents : Mapping of str to bytes
        Content of the four files by name.
    consumed : iterable of Path, default ()
        Folders of result files that the commit moves to ``.archive``.
    quarantine : Mapping of str to bytes or None, default None
        Content of files to write to ``.archive/quarantine``, by their path there.

    Raises
    ------
    DataError
        If the files can't be written. The old table is then unchanged.
    """
    base = data_folder(project_dir)
    try:
        roll_forward(base)
        _clear_next(base)
        for name, content in (quarantine or {}).items():
            write_atomically(base / ".archive" / "quarantine" / name, content)
        _commit(base, contents, [Path(folder).name for folder in consumed])
    except OSError as error:
        with suppress(OSError):
            if _read_commit(base) is None:
                _clear_next(base)
        raise DataError(
            f"the table can't be stored in {base}: {error}",
            "The old table is unchanged. Check the free space and the permissions there, then store again.",
        ) from error
    # The new table is valid now. If its files can't be moved, the next writer moves them.
    with suppress(OSError):
        roll_forward(base)


def _commit(base: Path, contents: Mapping[str, bytes], consumed: list[str]) -> None:
    next_folder = base / ".next"
    next_folder.mkdir()
    for name in TABLE_FILES:
        write_synced(next_folder / name, contents[name])
    hashes = {name: sha256(contents[name]).hexdigest() for name in TABLE_FILES}
    commit = json.dumps({"sha256": hashes, "consumed": consumed}).encode()
    sync_folder(next_folder)
    sync_folder(base)
    try:
        write_atomically(next_folder / "commit.json", commit)
    except OSError:
        # An error after the rename: the new table is valid, and roll_forward syncs the folder before it moves a file.
        if _read_commit(base) is None:
            raise


def roll_forward(base: Path) -> None:
    """Finish a commit, if there is one. The caller holds the lock.

    Parameters
    ----------
    base : Path
        The folder ``experiment_data``.
    """
    commit = _read_commit(base)
    if commit is None:
        return
    # The commit must be on the disk before the first file is moved.
    sync_folder(base / ".next")
    for name in TABLE_FILES:
        with suppress(FileNotFoundError):
            (base / ".next" / name).rename(base / name)
    for name in commit["consumed"]:
        with suppress(FileNotFoundError):
            _archive(base, name)
    sync_folder(base)
    (base / ".next" / "commit.json").unlink()
    _clear_next(base)


def _archive(base: Path, name: str) -> None:
    (base / ".archive").mkdir(exist_ok=True)
    target, number = base / ".archive" / name, 0
    while target.exists():
        number += 1
        target = base / ".archive" / f"{name}.{number}"
    (base / ".results" / name).rename(target)


def _clear_next(base: Path) -> None:
    """Remove the folder of a table that was not committed; of a link in its place, only the link."""
    next_folder = base / ".next"
    try:
        # By its descriptor, so that only files in this folder are removed, whatever becomes of its name.
        descriptor = os.open(next_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError:
        next_folder.unlink()
        return
    try:
        for name in os.listdir(descriptor):  # noqa: PTH208 - by the descriptor
            os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    next_folder.rmdir()
