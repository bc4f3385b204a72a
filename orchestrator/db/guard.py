"""The lock around each access to the database.

On a local file system the kernel's lock: it is free the moment its holder dies. Elsewhere neither fcntl nor flock can
be trusted to reach other machines, so a lock made of hard links, with a heartbeat. Either is taken before the
connection is opened and given back after it is closed: pages read before the lock was held would be stale.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT, ESTALE
from functools import lru_cache
from pathlib import Path

from orchestrator.errors import DatabaseBusy, DatabaseError

__all__ = ["LOCAL_FILE_SYSTEMS", "file_system", "guarded", "is_local"]

LOCAL_FILE_SYSTEMS = frozenset(
    "bcachefs btrfs ext2 ext3 ext4 f2fs jfs overlay ramfs reiserfs tmpfs xfs zfs".split()  # noqa: SIM905
)

# Longer than the stale time: the clock of that starts anew in each process that waits.
WAIT = 90.0
POLL = 0.02
HEARTBEAT = 5.0
STALE = 30.0
MOUNTS = Path("/proc/self/mountinfo")


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Keep every other process away from a database.

    Parameters
    ----------
    path : Path
        The database, without symbolic links; the lock is the file beside it with `.guard` at its end.

    Raises
    ------
    DatabaseBusy
        If it could not be had within 90 s.
    DatabaseError
        If the folder bears no lock.
    """
    file = path.with_name(f"{path.name}.guard")
    lock = _KernelLock(file) if is_local(path.parent) else _HardLinkLock(file)
    try:
        try:
            lock.acquire(WAIT)
        except TimeoutError:
            raise DatabaseBusy(
                f"{path} was in use by other processes for {WAIT:.0f} s.", "Nothing was changed; try again."
            ) from None
        except (OSError, RuntimeError) as error:
            raise DatabaseError(
                f"The lock {file} can't be taken: {error}.",
                "Put the database where this user may write and the file system knows hard links: --db FILE",
            ) from error
        yield
    finally:
        lock.release()


class _KernelLock:
    """`flock` itself: filelock has this lock, too, but loads for longer than an `advance` has to work."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        # Known before it is locked: an interrupt leaves no lock behind that nobody can give back.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError from None
                time.sleep(POLL)

    def release(self) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        # Closing alone would not do where a child was forked meanwhile: it has the file open, too.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


class _HardLinkLock:
    def __init__(self, path: Path) -> None:
        from filelock import SoftReadWriteLock  # only where the kernel's lock will not do

        # Not the process's one instance: threads wait for each other as processes do.
        self._lock = SoftReadWriteLock(
            str(path),
            is_singleton=False,
            heartbeat_interval=HEARTBEAT,
            stale_threshold=STALE,
            poll_interval=POLL,
        )

    def acquire(self, seconds: float) -> None:
        import random  # only who waits here needs it

        end = time.monotonic() + seconds
        while True:
            try:
                self._lock.acquire_write(seconds)
                return
            except OSError as error:
                # A shared file system forgets and finds names while others make and remove them.
                transient = error.errno in (ENOENT, ESTALE) and not isinstance(error, TimeoutError)
                if not transient or time.monotonic() > end:
                    raise
                time.sleep(random.uniform(POLL, 5 * POLL))

    def release(self) -> None:
        self._lock.close()


def is_local(folder: Path) -> bool:
    """Tell whether only this machine's kernel writes there; when in doubt, no."""
    return file_system(folder) in LOCAL_FILE_SYSTEMS


@lru_cache(maxsize=64)
def file_system(folder: Path) -> str:
    """Name the type of the file system that a folder is on; empty when the system does not say."""
    with suppress(OSError):
        return file_system_in(MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"), os.path.realpath(folder))
    return ""


def file_system_in(mountinfo: str, folder: str) -> str:
    """Find the type of the file system of a folder in the text of `/proc/<pid>/mountinfo`."""
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point, the later covers the earlier.
        if inside and len(point) >= best:
            best, found = len(point), right.split()[0]
    return found
