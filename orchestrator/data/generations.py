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

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

from orchestrator.atomic import sync_folder, write_atomically, write_synced
from orchestrator.data.open_table import State, opened_file, state_of
from orchestrator.data.result_folders import archive_consumed, write_consumed
from orchestrator.data.table_links import (
    CURRENT,
    GENERATIONS,
    generation_numbers,
    generation_of,
    in_the_way,
    is_link_of_a_file,
    put_links,
)
from orchestrator.data.table_lock import locked
from orchestrator.errors import DataError, TableBusy
from orchestrator.no_links import make_and_open
from orchestrator.table_folder import ARCHIVE, QUARANTINE, TABLE_FILES, data_folder

__all__ = ["Outrun", "finish_commit", "outrun", "write_table"]


class Outrun(Exception):
    """Another process has stored the table since it was read."""


def outrun(project_dir: Path | str) -> TableBusy:
    """Return the error of a process that found another table each time that it was about to store its own.

    The message has the way out, because a local run that waits shows only the message.
    """
    base = data_folder(project_dir)
    newest, current = max(generation_numbers(base), default=0), generation_of(base)
    if newest <= current:
        return TableBusy(f"other processes store the table in {base}", "Retry the command later.")
    away = quote(str(base / GENERATIONS / str(newest)))
    return TableBusy(
        f"the table in {base} is generation {current}, but {newest} exists there, too: another process stores "
        f"it, or the folder was restored from a copy; in that case: mv {away} {quote(f'{base}.{newest}')}",
        "Retry the command later.",
    )


def finish_commit(project_dir: Path | str) -> None:
    """Let the link name a generation whose process died before that.

    Raises
    ------
    Busy
        As of `locked`.
    """
    base = data_folder(project_dir)
    if (base / GENERATIONS / str(generation_of(base) + 1) / CURRENT).is_symlink():
        with locked(project_dir):
            _finish(base, generation_of(base) + 1)


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
        _finish(base, generation_of(base) + 1)
        if expected is not None and state_of(project_dir) != expected:
            raise Outrun
        archive_consumed(base)
        _adopt(base)
        for name, content in (quarantine or {}).items():
            os.close(make_and_open(base, [ARCHIVE, QUARANTINE, *Path(name).parent.parts]))
            write_atomically(base / ARCHIVE / QUARANTINE / name, content)
        number = generation_of(base) + 1
        _commit(base, number, contents, [Path(folder).name for folder in consumed])
    except OSError as error:
        raise DataError(
            f"the table can't be stored in {base}: {error}",
            "The old table is unchanged. Check the free space and the permissions there, then store again.",
        ) from error
    state = state_of(project_dir)
    # The new table is valid now. What can't be tidied up is left to the next writer.
    with suppress(OSError):
        archive_consumed(base)
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
        write_consumed(temporary, consumed)
        (temporary / CURRENT).symlink_to(f"{GENERATIONS}/{number}")
        sync_folder(temporary)
        put_links(base, contents)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        try:
            # A folder replaces no other one that has files, on any file system.
            temporary.rename(folder)
        except OSError:
            if folder.is_dir():
                raise Outrun from None
            raise
        if max(generation_numbers(base)) > number:  # what this process has seen of the folder was old
            _discard(folder)
            raise Outrun
        sync_folder(generations)
        sync_folder(base)
        _finish(base, number)
    except BaseException:
        _withdraw(temporary, folder, base, number)
        raise


def _copy(source: Path, target: Path) -> None:
    """Give the content of a file a name in a new generation."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # the file system has no hard links, or another user's file may not get one
        with opened_file(source) as file:
            write_synced(target, file.read(), stat.S_IMODE(source.stat().st_mode))


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
        elif generation_of(base) != number and (folder / CURRENT).is_symlink():
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


def _adopt(base: Path) -> None:
    """Make the files that are in place of our links a generation, and replace each by its link; no content changes."""
    foreign = [name for name in TABLE_FILES if os.path.lexists(base / name) and not is_link_of_a_file(base / name)]
    if not foreign:
        return
    for name in foreign:
        if not (base / name).is_file() and not (base / name).is_symlink():
            raise in_the_way(base / name)
    if (base / CURRENT).is_dir() and not (base / CURRENT).is_symlink():  # of a copy that has files instead of links
        (base / CURRENT).rename(_generations(base) / f".{os.urandom(8).hex()}.tmp")
    number = generation_of(base) + 1
    contents: dict[str, bytes | None] = {name: None for name in TABLE_FILES if (base / name).exists()}
    _commit(base, number, contents, [])
    for name in foreign:
        temporary = base / f".{os.urandom(8).hex()}.tmp"
        temporary.symlink_to(f"{CURRENT}/{name}")
        temporary.rename(base / name)
    sync_folder(base)


def _remove_old(base: Path, number: int) -> None:
    """Remove all generations but this one and the one before, and what processes that were killed have left."""
    generations = _generations(base)
    for path in generations.iterdir():
        is_old = path.name.isdecimal() and int(path.name) < number - 1
        if is_old or path.name.endswith(".tmp"):
            with suppress(OSError):
                _discard(path)
