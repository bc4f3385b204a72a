"""Create folders and append to files where other users may have put a link: links are not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from errno import ELOOP, ENOTDIR, ENXIO, EPERM
from pathlib import Path

from orchestrator.errors import DataError
from orchestrator.trust import check_links

__all__ = ["append_to", "folder_of_logs", "make_and_open", "private_folder"]


def private_folder(path: Path) -> None:
    """Create a folder that only its user can enter, whatever the umask; of an existing one, change the permissions.

    Parameters
    ----------
    path : Path
        The folder. Its parent must exist.

    Raises
    ------
    OSError
        If it can't be created, is a link or no folder, or belongs to another user.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    # By its descriptor: nothing can be put in its place between the check and the change.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise PermissionError(EPERM, "it belongs to another user", str(path))
        if found.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def make_and_open(above: Path, names: Iterable[str]) -> int:
    """Create folders, each in the one before, and return a descriptor of the last one.

    Parameters
    ----------
    above : Path
        The folder that contains the first one. It must exist, and may be a link.
    names : iterable of str
        Names of the folders.

    Raises
    ------
    OSError
        If one can't be created, is a link or no folder.
    """
    descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        above /= name
        try:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=descriptor)
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
        except OSError as error:
            if error.errno in (ELOOP, ENOTDIR):
                raise NotADirectoryError(ENOTDIR, "it is a link, or no folder: remove it", str(above)) from None
            raise
        finally:
            os.close(descriptor)
        descriptor = inside
    return descriptor


def folder_of_logs(path: Path) -> None:
    """Create a folder in which only this user can create files, and so links; others may read it.

    A folder that exists is not changed: it may be shared on purpose. It, and the one above, may be links of this user.

    Raises
    ------
    NotAllowed
        If one of the two is a link of another user.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
    check_links(path.parent)  # before a folder is created where it leads
    with suppress(FileExistsError):
        path.mkdir(mode=0o755)
    check_links(path)


def append_to(path: Path) -> int:
    """Open a file to append to it, and return the descriptor. The file and its folder are created if missing.

    Raises
    ------
    DataError
        If it is a link, or not a regular file.
    OSError
        If it can't be opened.
    """
    folder_of_logs(path.parent)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in (ELOOP, ENXIO):  # ENXIO: a FIFO that no process reads
            raise
        raise _not_written(path, "a link" if error.errno == ELOOP else "not a regular file") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_written(path, "not a regular file")
    os.set_blocking(descriptor, True)
    return descriptor


def _not_written(path: Path, what: str) -> DataError:
    import shlex  # only for the text of this error

    return DataError(f"{path} is {what}, so nothing was written to it.", f"Remove it: rm {shlex.quote(str(path))}")
