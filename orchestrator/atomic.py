"""Files and folders that are seen whole or not at all, also after a crash of the machine.

Each is written under a temporary name in the same folder, synced, and renamed. A temporary name is random: no two
writers share one, and nobody can place a file or a link there in advance.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOTSUP
from pathlib import Path
from typing import BinaryIO

__all__ = ["create_atomically", "new_folder", "replacing", "sync_folder", "write_atomically", "write_synced"]

ANY = 0o666
"""Permissions of a file, less what the user's umask takes."""


def write_atomically(path: Path, content: bytes, mode: int = ANY) -> None:
    """Write a file, or replace the one that is there.

    Parameters
    ----------
    path : Path
        Its folder is made if missing.
    content : bytes
        All of it.
    mode : int, default 0o666
        Its permissions, less what the user's umask takes.

    Raises
    ------
    OSError
        The disk refused; what was there is unchanged.
    """
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int = ANY) -> Iterator[BinaryIO]:
    """Open a file that takes its place when the block ends, and never if the block raises.

    Parameters
    ----------
    path : Path
        Its folder is made if missing.
    mode : int, default 0o666
        Its permissions, less what the user's umask takes.

    Yields
    ------
    file : BinaryIO
        Its `name` is the temporary path.

    Raises
    ------
    OSError
        The disk refused; what was there is unchanged.
    """
    with _temporary(path, mode) as file:
        yield file
        _sync(file)
        Path(file.name).rename(path)
    sync_folder(path.parent)


def create_atomically(path: Path, content: bytes) -> None:
    """Write a file, unless there is one of that name.

    A hard link is the one operation that every shared file system refuses when the name is taken. Over NFS the answer
    to it may be lost, so read the file to see whose it is.

    Parameters
    ----------
    path : Path
        Its folder is made if missing.
    content : bytes
        All of it.

    Raises
    ------
    OSError
    """
    with _temporary(path, ANY) as file:
        file.write(content)
        _sync(file)
        with suppress(FileExistsError):
            os.link(file.name, path)
    sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder, private to its user, that takes its place when the block ends, and never if the block raises.

    Parameters
    ----------
    path : Path
        Where another process makes the same folder at the same time, one of the two stays.

    Yields
    ------
    Path
        The temporary folder, to be filled by `write_synced`.
    """
    temporary = _temporary_name(path)
    temporary.mkdir(parents=True, mode=0o700)
    try:
        yield temporary
        for inside, _, _ in os.walk(temporary):
            sync_folder(Path(inside))
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes, mode: int = ANY) -> None:
    """Write a new file into a folder that is not in use yet.

    Parameters
    ----------
    path : Path
        No file may be there.
    content : bytes
        All of it.
    mode : int, default 0o666
        Its permissions, less what the user's umask takes.

    Raises
    ------
    OSError
    """
    with _created(path, mode) as file:
        file.write(content)
        _sync(file)


def sync_folder(path: Path) -> None:
    """Wait until the disk knows the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # some file systems on the network have no such call
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(path: Path, mode: int) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        with _created(temporary, mode) as file:
            yield file
    finally:
        with suppress(OSError):  # it has been renamed, or the disk does not answer
            temporary.unlink()


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{os.urandom(8).hex()}.tmp")


def _created(path: Path, mode: int) -> BinaryIO:
    # Exclusive: it follows no link.
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
