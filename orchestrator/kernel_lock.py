"""The lock of the kernel on a file, `flock`: it is released when its holder dies.

filelock offers it, too, but importing filelock takes longer than an `advance`, or than storing a small table.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from errno import EACCES, EAGAIN, ENOSYS
from pathlib import Path

__all__ = ["POLL", "KernelLock"]

POLL = 0.02
"""Seconds between two attempts."""

_BUSY = {EACCES, EAGAIN}
"""What file systems report if another process has the lock."""


class KernelLock:
    """An exclusive lock. It excludes the `FileLock` of filelock on the same file, too.

    Parameters
    ----------
    path : Path
        The file; it is created if it does not exist, and stays.
    mode : int
        Its permissions, whatever the umask; another mode of a file of this user is changed.
    """

    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        self._mode = mode
        self._fd: int | None = None
        self._process = os.getpid()

    def acquire(self, seconds: float) -> None:
        """Wait for the lock.

        Parameters
        ----------
        seconds : float
            Time limit.

        Raises
        ------
        TimeoutError
            If another process has it for longer.
        OSError
            If the file can't be opened, or the file system has no such lock (ENOSYS).
        """
        end = time.monotonic() + seconds
        is_new = not os.path.lexists(self._path)
        self._process = os.getpid()
        # Stored before the lock is acquired, so that `release` can release it after an interrupt.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, self._mode)
        _set_mode(self._fd, self._mode)
        try:
            while not _is_locked(self._fd):
                if time.monotonic() > end:
                    raise TimeoutError
                time.sleep(POLL)
            if os.fstat(self._fd).st_nlink == 0:  # the file was deleted while this process waited
                self.release()
                self.acquire(end - time.monotonic())
        except OSError as error:
            if is_new and error.errno == ENOSYS:
                self._path.unlink(missing_ok=True)  # other kinds of locks take its existence for a lock
            raise

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        # Closing is not enough: a child that was forked meanwhile has the file open, too. It does not hold the lock.
        if self._process == os.getpid():
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _set_mode(fd: int, mode: int) -> None:
    """Set the permissions of a file of this user: the umask, or a `chmod` of all files, may have given it others."""
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode:
        with suppress(PermissionError):  # some file systems have the same permissions for all files
            os.fchmod(fd, mode)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _BUSY:
            raise
        return False
    return True
