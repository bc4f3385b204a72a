"""A lock of the kernel: free the moment that its holder dies. It reaches no other machine.

This is `flock` itself. Where a lock has to reach other machines, filelock has one (`orchestrator.db.guard`); it has
this one, too, but takes longer to load than an `advance` has to work.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

__all__ = ["KernelLock"]

POLL = 0.02


class KernelLock:
    """Keeps every other process and thread of this machine out.

    Parameters
    ----------
    path : Path
        Of a file, which is made and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, seconds: float) -> None:
        """Take it, and wait for it so long.

        Raises
        ------
        TimeoutError
            If somebody else had it all the time.
        OSError
            If the file can't be had, or its file system knows no locks.
        """
        end = time.monotonic() + seconds
        while not self._take():
            if time.monotonic() > end:
                raise TimeoutError(f"{self._path} was locked for {seconds:.0f} s")
            time.sleep(POLL)

    def release(self) -> None:
        """Give it back; harmless where it was not had."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # Closing alone would not do: a child that was forked meanwhile has the file open, too.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _take(self) -> bool:
        # Known before it is locked: an interrupt leaves no lock behind that nobody can give back.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have removed the file meanwhile, and others lock a new one.
            is_taken = os.fstat(self._fd).st_nlink > 0
        except BlockingIOError:
            is_taken = False
        if not is_taken:
            self.release()
        return is_taken
