"""Write files and folders atomically: they appear complete or not at all, also after a crash of the machine.

Each is written under a temporary name in the same folder, synced, and renamed. Temporary names are random, so two
processes never use the same one, and another user can't create a file or a link with that name in advance.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOTSUP
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "PRIVATE",
    "create_atomically",
    "created_synced",
    "new_folder",
    "private_folders",
    "replacing",
    "sync_folder",
    "write_atomically",
    "write_synced",
]

ANY = 0o666
"""Default permissions of a file, before the user's umask."""

PRIVATE = 0o600
"""Permissions of a file that only its user reads and writes, whatever the umask."""


def write_atomically(path: Path, content: bytes, mode: int = ANY) -> None:
    """Write or replace a file.

    Parameters
    ----------
    path : Path
        Its folder is created if missing.
    content : bytes
        The whole content.
    mode : int, default 0o666
        Permissions, before the user's umask.

    Raises
    ------
    OSError
        If the file can't be written; an existing file is not changed.
    """
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int = ANY) -> Iterator[BinaryIO]:
    """Open a temporary file that is renamed to `path` when the block ends without an exception.

    Parameters
    ----------
    path : Path
        Its folder is created if missing.
    mode : int, default 0o666
        Permissions, before the user's umask.

    Yields
    ------
    file : BinaryIO
        The temporary file; its path is its `name`.

    Raises
    ------
    OSError
        If the file can't be written; an existing file is not changed.
    """
    with _temporary(path, mode) as file:
        yield file
        _sync(file)
        Path(file.name).rename(path)
    sync_folder(path.parent)


def create_atomically(path: Path, content: bytes, mode: int = ANY) -> None:
    """Write a file, unless it exists.

    The file is created by a hard link, which every shared file system refuses if the name exists. Over NFS the reply to
    the link may be lost: to learn which process created the file, read the file.

    Parameters
    ----------
    path : Path
        Its folder is created if missing.
    content : bytes
        The whole content.
    mode : int, default 0o666
        Permissions, before the user's umask.

    Raises
    ------
    OSError
        If the file can't be written.
    """
    with _temporary(path, mode) as file:
        file.write(content)
        _sync(file)
        with suppress(FileExistsError):
            os.link(file.name, path)
    sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create a private temporary folder that is renamed to `path` when the block ends without an exception.

    Parameters
    ----------
    path : Path
        If another process creates the same folder at the same time, only one of the two remains.

    Yields
    ------
    Path
        The temporary folder. Write its files with `write_synced`.
    """
    temporary = _temporary_name(path)
    private_folders(temporary)
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
        from shutil import rmtree  # a slow import, which no other function here needs

        rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes, mode: int = ANY) -> None:
    """Write a new file as of `created_synced`."""
    with created_synced(path, mode) as file:
        file.write(content)


@contextmanager
def created_synced(path: Path, mode: int = ANY) -> Iterator[BinaryIO]:
    """Open a new file in a folder that is not in use yet; at the end of the block it is on the disk.

    Parameters
    ----------
    path : Path
        The file, which must not exist.
    mode : int, default 0o666
        Permissions, before the user's umask.

    Yields
    ------
    BinaryIO
        The file, to write it.

    Raises
    ------
    OSError
        If the file exists, or can't be written.
    """
    with _created(path, mode) as file:
        yield file
        _sync(file)


def private_folders(path: Path) -> None:
    """Create a folder and the missing ones above it, which only this user can enter, whatever the umask."""
    if not path.is_dir():
        private_folders(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # some network file systems do not support it
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(path: Path, mode: int) -> Iterator[BinaryIO]:
    if mode == PRIVATE:
        private_folders(path.parent)
    else:
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
    # Mode "x" follows no link.
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
