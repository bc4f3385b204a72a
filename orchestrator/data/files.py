"""The table's four files on disk, in f3dasm's layout, changed together or not at all.

A new table is written to ``.next`` beside the old one. Renaming ``commit.json`` into place there is the
commit: before it, the old table counts and ``.next`` is waste; after it, the new one counts, and
whoever comes by moves the files into place (rolls forward). Writers exclude each other by a lock;
readers need none and may be unable to write.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.atomic import sync_folder, write_atomically, write_synced
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
    """A table as it was at one moment.

    Attributes
    ----------
    contents : dict of str to bytes
        The four files.
    results : list of Path
        The result files that are not folded into them, in the order of their names.
    """

    contents: dict[str, bytes]
    results: list[Path]


def data_folder(project_dir: Path | str) -> Path:
    """Return the folder of the table, ``<project_dir>/experiment_data``."""
    return Path(project_dir) / DATA_FOLDER


def result_folders(project_dir: Path | str) -> list[Path]:
    """Return the folders of result files that wait to be folded, one per token.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    list of Path
        In the order of their names; those that a commit has consumed are not among them.
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
    """Read the four files, all of the same table, without a lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    Snapshot
        The files and the result files beside them.

    Raises
    ------
    FileNotFoundError
        There is no table.
    DataError
        The files kept changing, or aren't those that were committed.
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
        whole = commit is None or all(
            sha256(contents[name]).hexdigest() == commit["sha256"][name] for name in TABLE_FILES
        )
        unchanged = _fingerprint(base) == before
        if whole and unchanged:
            return Snapshot(contents, results)
        if unchanged:
            raise DataError(
                f"the table in {base} isn't the one that was committed there",
                f"Look at {base / '.next'}: its files differ from its commit.json.",
            )
        time.sleep(0.01)
    raise DataError(f"the table in {base} kept changing while it was read", "Try again.")


def stored_by(project_dir: Path | str) -> str | None:
    """Tell which job stored the table.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Returns
    -------
    str or None
        The job's token; None where nobody signed.

    Raises
    ------
    FileNotFoundError
        There is no table.
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
            return (base / ".next" / name).read_bytes()
    return (base / name).read_bytes()


def _fingerprint(base: Path) -> tuple[Any, ...]:
    paths = [base / name for name in TABLE_FILES]
    paths += [base / ".next" / name for name in (*TABLE_FILES, "commit.json")]
    marks: list[Any] = []
    for path in paths:
        try:
            found = path.stat()
            marks.append((found.st_ino, found.st_mtime_ns, found.st_size))
        except (FileNotFoundError, NotADirectoryError):
            marks.append(None)
    try:
        marks.append(sorted(path.name for path in (base / ".results").iterdir()))
    except FileNotFoundError:
        marks.append(None)
    return tuple(marks)


def _read_commit(base: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((base / ".next" / "commit.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{base / '.next' / 'commit.json'} can't be read: {error}") from error
    return content


@contextmanager
def locked(project_dir: Path | str) -> Iterator[None]:
    """Keep other writers away from the table.

    Parameters
    ----------
    project_dir : Path or str
        The project folder; its folder ``experiment_data`` is made where it isn't there.

    Raises
    ------
    Busy
        Another process held the lock for a minute.
    """
    from filelock import FileLock, Timeout

    base = data_folder(project_dir)
    base.mkdir(parents=True, exist_ok=True)
    lock = FileLock(base / ".lock", timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(f"another process is storing the table in {base}", "Try again.") from error
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
    """Put four files in the place of those that are there; the caller holds the lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.
    contents : Mapping of str to bytes
        The four files by name.
    consumed : iterable of Path, default ()
        Folders of result files that move to ``.archive`` with the commit.
    quarantine : Mapping of str to bytes or None, default None
        Files to leave under ``.archive/quarantine``, by their path there.

    Raises
    ------
    DataError
        The disk refused; the table that was there is unchanged.
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
            f"the table could not be stored in {base}: {error}",
            "The table that was there is unchanged. Make room on the disk, then store again.",
        ) from error
    # The new table counts from here on. Should moving it fail, the next writer does it.
    with suppress(OSError):
        roll_forward(base)


def _commit(base: Path, contents: Mapping[str, bytes], consumed: list[str]) -> None:
    following = base / ".next"
    following.mkdir()
    for name in TABLE_FILES:
        write_synced(following / name, contents[name])
    hashes = {name: sha256(contents[name]).hexdigest() for name in TABLE_FILES}
    commit = json.dumps({"sha256": hashes, "consumed": consumed}).encode()
    sync_folder(following)
    sync_folder(base)
    try:
        write_atomically(following / "commit.json", commit)
    except OSError:
        # Where it is in its place, the new table counts; no file moves before its name is on the disk.
        if _read_commit(base) is None:
            raise


def roll_forward(base: Path) -> None:
    """Finish a commit, if there is one; the caller holds the lock.

    Parameters
    ----------
    base : Path
        The folder ``experiment_data``.
    """
    commit = _read_commit(base)
    if commit is None:
        return
    # The disk must know the commit before it sees a file move.
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
    following = base / ".next"
    with suppress(FileNotFoundError):
        for path in list(following.iterdir()):
            path.unlink()
        following.rmdir()
