"""The four files of a table on disk, in f3dasm's layout, replaced together or not at all.

``input.csv`` and the other three are links to ``.table/input.csv``, and ``.table`` is a link to the folder of one
generation, ``.generations/7``. A new table is written to a folder of its own. One rename of the link ``.table`` then
changes all four files, for every program that reads them by their names. The generation before stays until the next
one, for programs that have just followed the link.

A generation's folder gets its number by a rename, which fails if another process was faster. So also two processes
whose locks don't see each other never replace a table that they have not read. What happens to a table that another
process has stored meanwhile is decided in `orchestrator.data.storing`. Readers need no lock and no permission to write.
Files that another program has put in place of the links become a generation of their own first.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from errno import EISDIR, ELOOP, ENOENT, ENOSYS, ENOTDIR
from itertools import chain, count
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, BinaryIO

from orchestrator.atomic import sync_folder, write_atomically, write_synced
from orchestrator.damage import Damaged, check_size, open_regular, parse_object, read_small
from orchestrator.errors import DataError, TableBusy
from orchestrator.kernel_lock import KernelLock
from orchestrator.no_links import make_and_open
from orchestrator.sharing import mode_of_lock
from orchestrator.table_folder import ARCHIVE, DATA_FOLDER, LOCK, QUARANTINE, RESULTS, TABLE_FILES
from orchestrator.trust import check_links

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "READ_TRIES",
    "Outrun",
    "Snapshot",
    "State",
    "all_result_files",
    "changes_all_the_time",
    "data_folder",
    "finish_commit",
    "is_link_of_a_table",
    "locked",
    "opened_snapshot",
    "outrun",
    "result_folders",
    "state_of",
    "stored_by",
    "write_table",
]

CURRENT = ".table"
GENERATIONS = ".generations"
_LOCK_SECONDS = 60.0
READ_TRIES = 100
"""Number of times that a table is read again, if another program changes it meanwhile."""


class Outrun(Exception):
    """Another process has stored the table since it was read."""


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
class Snapshot:
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
        The folders, sorted by name, without those that the table contains.
    """
    base = data_folder(project_dir)
    consumed = _consumed(base)
    return [base / RESULTS / name for name in _folders_of_results(base) or () if name not in consumed]


def _folders_of_results(base: Path) -> list[str] | None:
    """Return the names of all folders of results; None if there is no place for them. Links lead to files of others."""
    path = base / RESULTS
    if path.is_symlink():
        raise DataError(f"{path} is a link, so it is not used.", f"Remove it: rm {quote(str(path))}")
    try:
        with os.scandir(path) as found:
            return sorted(entry.name for entry in found if not entry.is_symlink())
    except FileNotFoundError:
        return None


def all_result_files(project_dir: Path | str) -> Iterator[Path]:
    """Yield the result files of a table, also those that are folded.

    In this order, because a fold moves a file from the first folder to the second: it may be missing when it is read.
    """
    for folder in (RESULTS, ARCHIVE):
        yield from sorted((data_folder(project_dir) / folder).glob("*/*.jsonl"))


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
    return State(_number(base), tuple(stats))


def _stats(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def opened_snapshot(project_dir: Path | str) -> Iterator[Snapshot]:
    """Open the four files of the same table, without a lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.

    Yields
    ------
    Snapshot
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
                opened = {name: stack.enter_context(_opened(base / name)) for name in TABLE_FILES}
                results = _result_files(project_dir)
            except FileNotFoundError:
                if _all_of(project_dir) == before:
                    _check_links(base)
                    raise
                continue
            if _all_of(project_dir) == before:
                yield Snapshot(opened, results, before[0])
                return
        time.sleep(0.01)
    raise changes_all_the_time(project_dir)


def changes_all_the_time(project_dir: Path | str) -> DataError:
    """Return the error of a process that found another table each time that it read it."""
    base = data_folder(project_dir)
    return DataError(f"the table in {base} changed each time that it was read", "Retry the command.")


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
    domain = json.loads(_read(data_folder(project_dir) / "domain.json"))
    token: str | None = domain.get("stored_by")
    return token


def outrun(project_dir: Path | str) -> TableBusy:
    """Return the error of a process that found another table each time that it was about to store its own.

    The message has the way out, because a local run that waits shows only the message.
    """
    base = data_folder(project_dir)
    newest = max(_numbers(base / GENERATIONS), default=0)
    if newest <= _number(base):
        return TableBusy(f"other processes store the table in {base}", "Retry the command later.")
    away = quote(str(base / GENERATIONS / str(newest)))
    return TableBusy(
        f"the table in {base} is generation {_number(base)}, but {newest} exists there, too: another process stores "
        f"it, or the folder was restored from a copy; in that case: mv {away} {quote(f'{base}.{newest}')}",
        "Retry the command later.",
    )


def _check_links(base: Path) -> None:
    """Raise an error if there is a table, but links to it are missing: some programs don't copy links."""
    for name in TABLE_FILES:
        if not os.path.lexists(base / name) and (base / CURRENT / name).is_file():
            raise DataError(f"the link {base / name} is missing. To put it back: {_link_again(base / name)}")
    generations = base / GENERATIONS
    folders = [generations / str(number) for number in _numbers(generations)] if generations.is_dir() else []
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


def _result_files(project_dir: Path | str) -> list[Path]:
    files = [path for folder in result_folders(project_dir) for path in folder.glob("*.jsonl")]
    return sorted(files, key=lambda path: (path.parent.name, path.name))


def _read(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()


def _opened(path: Path) -> BinaryIO:
    """Open a file to read it. It is a link of ours, or one that the user has put there."""
    try:
        file = open_regular(path, follow=True)
    except Damaged as error:
        raise _in_the_way(path, str(error)) from error
    try:
        check_size(file)
    except Damaged as error:
        file.close()
        if not _is_our_link(path):
            raise _in_the_way(path, str(error)) from error
        raise DataError(f"{path} can't be used: {error}.", "Restore it from a copy.") from error
    return file


def _in_the_way(path: Path, why: str = "it is no regular file") -> DataError:
    """Return the error of what can't be used in the place of a file of a table; the way out is in its message."""
    away = f"mv {quote(str(path))} {quote(f'{path}.damaged')}"
    if path.name in TABLE_FILES and (path.parent / CURRENT / path.name).is_file():
        away += f" && {_link_again(path)}"
    return DataError(f"{path} can't be used: {why}. To put it right: {away}")


def _link_again(path: Path) -> str:
    return f"ln -s {CURRENT}/{path.name} {quote(str(path))}"


def _all_of(project_dir: Path | str) -> tuple[State, list[str] | None]:
    results = _folders_of_results(data_folder(project_dir))
    return state_of(project_dir), results


def _number(base: Path) -> int:
    """Return the number of the generation that the link names; without a link the largest one, or 0."""
    number = _target(base / CURRENT)
    if number is not None:
        return number
    try:
        return max(_numbers(base / GENERATIONS), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _target(link: Path) -> int | None:
    """Return the number of the generation that a link names; None if it is not such a link."""
    with suppress(OSError):
        found = re.fullmatch(rf"{re.escape(GENERATIONS)}/([1-9][0-9]{{0,17}})", str(link.readlink()))
        return int(found[1]) if found else None
    return None


def _consumed(base: Path) -> frozenset[str]:
    """Return the names of the folders of results that the table contains, if they are still to be archived."""
    path = base / CURRENT / "commit.json"
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


@contextmanager
def locked(project_dir: Path | str) -> Iterator[None]:
    """Hold the lock of the table, which excludes other writers.

    Parameters
    ----------
    project_dir : Path or str
        The project folder. Its folder ``experiment_data`` is created if it does not exist.

    Raises
    ------
    TableBusy
        If another process holds the lock for more than a minute.
    DataError
        If this user may not open the lock, or something else is in its place.
    """
    base = data_folder(project_dir)
    base.mkdir(parents=True, exist_ok=True)
    check_links(base.parent, base)
    try:
        lock = _acquired(base / LOCK, mode_of_lock(base))
    except TimeoutError as error:
        raise TableBusy(f"another process stores the table in {base}", "Retry the command later.") from error
    except PermissionError as error:
        raise DataError(
            f"the table in {base} can't be stored: {error}",
            "Its lock belongs to the user who stored it first. Store it in a folder of yours: data.store(FOLDER)",
        ) from error
    except OSError as error:
        if error.errno not in (EISDIR, ELOOP):
            raise
        raise _in_the_way(base / LOCK) from error
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, mode: int) -> KernelLock | BaseFileLock:
    """Return the lock of a table, which is held."""
    lock = KernelLock(path, mode)
    try:
        lock.acquire(_LOCK_SECONDS)
    except BaseException as error:
        lock.release()
        if getattr(error, "errno", None) != ENOSYS:
            raise
    else:
        return lock
    # This file system has no `flock`; filelock has a lock that needs none.
    from filelock import FileLock

    soft = FileLock(path, timeout=_LOCK_SECONDS, mode=mode)
    soft.acquire()
    return soft


def finish_commit(project_dir: Path | str) -> None:
    """Let the link name a generation whose process died before that.

    Raises
    ------
    Busy
        As of `locked`.
    """
    base = data_folder(project_dir)
    if (base / GENERATIONS / str(_number(base) + 1) / CURRENT).is_symlink():
        with locked(project_dir):
            _finish(base, _number(base) + 1)


def write_table(
    project_dir: Path | str,
    contents: Mapping[str, bytes | None],
    expected: State | None = None,
    consumed: Iterable[Path] = (),
    quarantine: Mapping[str, bytes] | None = None,
) -> State:
    """Replace the four files of the table. The caller holds the lock.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.
    contents : Mapping of str to bytes or None
        Content of the four files by name; None for a file that stays as it is in the table that is `expected`.
    expected : State or None, default None
        The table that is replaced. By default whatever is there.
    consumed : iterable of Path, default ()
        Folders of result files that the new table contains; they are moved to ``.archive``.
    quarantine : Mapping of str to bytes or None, default None
        Content of files to write to ``.archive/quarantine``, by their path there.

    Returns
    -------
    State
        What identifies the new table.

    Raises
    ------
    Outrun
        If another table is there than the one that is expected. Nothing was changed.
    DataError
        If the files can't be written. The old table is then unchanged.
    """
    base = data_folder(project_dir)
    try:
        base.mkdir(parents=True, exist_ok=True)
        _finish(base, _number(base) + 1)
        if expected is not None and state_of(project_dir) != expected:
            raise Outrun
        _archive_consumed(base)
        _adopt(base)
        for name, content in (quarantine or {}).items():
            os.close(make_and_open(base, [ARCHIVE, QUARANTINE, *Path(name).parent.parts]))
            write_atomically(base / ARCHIVE / QUARANTINE / name, content)
        number = _number(base) + 1
        _commit(base, number, contents, [Path(folder).name for folder in consumed])
    except OSError as error:
        raise DataError(
            f"the table can't be stored in {base}: {error}",
            "The old table is unchanged. Check the free space and the permissions there, then store again.",
        ) from error
    state = state_of(project_dir)
    # The new table is valid now. What can't be tidied up is left to the next writer.
    with suppress(OSError):
        _archive_consumed(base)
        _remove_old(base, number)
    return state


def _commit(base: Path, number: int, contents: Mapping[str, bytes | None], consumed: list[str]) -> None:
    """Make a generation, and let the link name it.

    Raises
    ------
    Outrun
        If there is one with this number.
    """
    generations = _generations(base)
    temporary, folder = generations / f".{os.urandom(8).hex()}.tmp", generations / str(number)
    temporary.mkdir()
    try:
        for name, content in contents.items():
            if content is None:
                _copy(base / name, temporary / name)
            else:
                write_synced(temporary / name, content)
        if consumed:
            write_synced(temporary / "commit.json", json.dumps({"consumed": consumed}).encode())
        (temporary / CURRENT).symlink_to(f"{GENERATIONS}/{number}")
        sync_folder(temporary)
        _make_links(base, contents)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        try:
            # A folder replaces no other one that has files, on any file system.
            temporary.rename(folder)
        except OSError:
            if folder.is_dir():
                raise Outrun from None
            raise
        if max(_numbers(generations)) > number:  # what this process has seen of the folder was old
            _discard(folder)
            raise Outrun
        sync_folder(generations)
        sync_folder(base)
        _finish(base, number)
    except BaseException:
        _withdraw(temporary, folder, base, number)
        raise


def _finish(base: Path, number: int) -> None:
    """Let the link name a generation. Of several processes that do so, one moves the link; the others find it moved."""
    moved = False
    with suppress(FileNotFoundError, NotADirectoryError):
        (base / GENERATIONS / str(number) / CURRENT).rename(base / CURRENT)
        moved = True
    if moved:
        with suppress(OSError):  # the new table is valid
            sync_folder(base)


def _withdraw(temporary: Path, folder: Path, base: Path, number: int) -> None:
    """Remove what was written, unless it has become the table."""
    with suppress(OSError):
        if temporary.exists():
            _discard(temporary)
        elif _number(base) != number and (folder / CURRENT).is_symlink():
            _discard(folder)


def _discard(folder: Path) -> None:
    """Remove a generation that the link does not name; first its link, so that no other process finishes it."""
    from shutil import rmtree

    with suppress(FileNotFoundError):
        (folder / CURRENT).unlink()
    rmtree(folder)


def _generations(base: Path) -> Path:
    """Return the folder of the generations; a link in its place, which another user may have put there, is removed."""
    folder = base / GENERATIONS
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    return folder


def _numbers(generations: Path) -> list[int]:
    return [int(path.name) for path in generations.iterdir() if path.name.isdecimal()]


def _make_links(base: Path, names: Iterable[str]) -> None:
    """Put the links to the files of a table where nothing is. Before the first table they lead nowhere."""
    for name in names:
        with suppress(FileExistsError):
            (base / name).symlink_to(f"{CURRENT}/{name}")


def _adopt(base: Path) -> None:
    """Make the files that are in place of our links a generation, and replace each by its link; no content changes."""
    foreign = [name for name in TABLE_FILES if os.path.lexists(base / name) and not _is_our_link(base / name)]
    if not foreign:
        return
    for name in foreign:
        if not (base / name).is_file() and not (base / name).is_symlink():
            raise _in_the_way(base / name)
    if (base / CURRENT).is_dir() and not (base / CURRENT).is_symlink():  # of a copy that has files instead of links
        (base / CURRENT).rename(_generations(base) / f".{os.urandom(8).hex()}.tmp")
    number = _number(base) + 1
    contents: dict[str, bytes | None] = {name: None for name in TABLE_FILES if (base / name).exists()}
    _commit(base, number, contents, [])
    for name in foreign:
        temporary = base / f".{os.urandom(8).hex()}.tmp"
        temporary.symlink_to(f"{CURRENT}/{name}")
        temporary.rename(base / name)
    sync_folder(base)


def is_link_of_a_table(path: Path) -> bool:
    """Whether a file is one of the links by which a table is read; they lead to files beside them."""
    return _is_our_link(path) or (path.name == CURRENT and path.is_symlink() and _target(path) is not None)


def _is_our_link(path: Path) -> bool:
    return path.name in TABLE_FILES and path.is_symlink() and path.readlink() == Path(CURRENT, path.name)


def _copy(source: Path, target: Path) -> None:
    """Give the content of a file a name in a new generation."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # the file system has no hard links, or another user's file may not get one
        write_synced(target, _read(source), stat.S_IMODE(source.stat().st_mode))


def _archive_consumed(base: Path) -> None:
    names = _consumed(base)
    for name in sorted(names):
        with suppress(FileNotFoundError):
            _archive(base, name)
    if names:
        sync_folder(base)
    with suppress(FileNotFoundError, NotADirectoryError):
        (base / CURRENT / "commit.json").unlink()


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


def _remove_old(base: Path, number: int) -> None:
    """Remove all generations but this one and the one before, and what processes that were killed have left."""
    generations = _generations(base)
    for path in generations.iterdir():
        is_old = path.name.isdecimal() and int(path.name) < number - 1
        if is_old or path.name.endswith(".tmp"):
            with suppress(OSError):
                _discard(path)
