"""The guard: the lock around each access to the database, and when it is one of the kernel or one of hard links.

On a local file system it is a lock of the kernel, which is released when its holder dies. On other file systems fcntl
and flock may have no effect on other machines, so the lock is made of hard links and has a heartbeat. The lock is
acquired before the connection is opened and released after it is closed: pages that were read earlier would be stale.

All machines use the same kind. To the server of a network file system, a folder is local that is not local to others.
The first of the others leaves a file; from then on, the server, too, uses the lock of hard links.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT, ESTALE
from pathlib import Path
from typing import TypeVar

from orchestrator.atomic import PRIVATE
from orchestrator.db.file_systems import is_local
from orchestrator.errors import DatabaseBusy, DatabaseError
from orchestrator.kernel_lock import POLL, KernelLock
from orchestrator.sharing import mode_beside

__all__ = ["guarded", "has_kernel_lock"]

# In seconds. The wait is longer than the stale time, because each waiting process counts that from its own start.
WAIT = 90.0
HEARTBEAT = 5.0
STALE = 30.0

LONGEST_HOLD = 5.0
"""Seconds for which a lock of the kernel is held at most: a transaction takes milliseconds."""


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Hold the lock of a database: no other process has access to it.

    Parameters
    ----------
    path : Path
        The database, without symbolic links. The lock is the file `<path>.guard`.

    Raises
    ------
    DatabaseBusy
        If the lock was not free within 90 s.
    DatabaseError
        If the lock can't be created in the folder.
    """
    file = path.with_name(f"{path.name}.guard")
    lock: KernelLock | _HardLinkLock | None = None
    try:
        try:
            lock = _acquired(path, file)
        except TimeoutError:
            raise DatabaseBusy(
                f"Other processes used {path} for {WAIT:.0f} s.", "Nothing was changed. Retry the command later."
            ) from None
        except (OSError, RuntimeError) as error:
            hint = "Use a folder that you may write to, on a file system with hard links: --db FILE"
            if file.is_symlink() or file.is_dir():
                hint = f"Move it away: mv {shlex.quote(str(file))} {shlex.quote(f'{file}.damaged')}"
            raise DatabaseError(f"The lock {file} can't be acquired: {error}.", hint) from error
        yield
    finally:
        if lock is not None:
            lock.release()


def has_kernel_lock(path: Path) -> bool:
    """Whether the lock of a database is one of the kernel, and not one of hard links."""
    return is_local(path.parent) and not _shared(path).exists()


def _shared(path: Path) -> Path:
    """Return the file that says that a database is used by several machines."""
    return path.with_name(f"{path.name}.guard.shared")


def _acquired(path: Path, file: Path) -> KernelLock | _HardLinkLock:
    mode = mode_beside(path)
    if has_kernel_lock(path):
        kernel = _acquire(KernelLock(file, mode))
        # Another machine may have come while this process waited.
        if has_kernel_lock(path):
            return kernel
        kernel.release()
    _share(path, file, mode)
    return _acquire(_HardLinkLock(file) if mode == PRIVATE else _LockOfGroup(file, mode))


def _share(path: Path, file: Path, mode: int) -> None:
    """Say that a database is used by several machines, and wait until no lock of the kernel can be held any more.

    The file is empty until a process has waited.
    """
    shared = _shared(path)
    with suppress(FileNotFoundError):
        if shared.lstat().st_size:
            return
    with os.fdopen(os.open(shared, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, mode), "ab") as text:
        if mode != PRIVATE and os.fstat(text.fileno()).st_uid == os.geteuid():
            os.fchmod(text.fileno(), mode)  # whatever the umask
        if file.exists():
            time.sleep(LONGEST_HOLD)
        text.write(b"Several machines use the database: its lock is made of hard links.\n")


def _acquire(lock: L) -> L:
    try:
        lock.acquire(WAIT)
    except BaseException:
        lock.release()
        raise
    return lock


class _HardLinkLock:
    def __init__(self, path: Path) -> None:
        from filelock import SoftReadWriteLock  # not needed for the kernel's lock

        # One instance per lock, not one per process: threads wait for each other as processes do.
        self._lock = SoftReadWriteLock(
            str(path),
            is_singleton=False,
            heartbeat_interval=HEARTBEAT,
            stale_threshold=STALE,
            poll_interval=POLL,
        )

    def acquire(self, seconds: float) -> None:
        import random  # not needed for the kernel's lock

        end = time.monotonic() + seconds
        while True:
            try:
                self._try(seconds)
                return
            except OSError as error:
                # A shared file system may lose a name for a moment while other processes create and remove names.
                transient = error.errno in (ENOENT, ESTALE) and not isinstance(error, TimeoutError)
                if not transient or time.monotonic() > end:
                    raise
                time.sleep(random.uniform(POLL, 5 * POLL))

    def _try(self, seconds: float) -> None:
        self._lock.acquire_write(seconds)

    def release(self) -> None:
        self._lock.close()


class _LockOfGroup(_HardLinkLock):
    """A file that members of a group may remove when its heartbeat ends; the files of `_HardLinkLock` are private."""

    def __init__(self, path: Path, mode: int) -> None:
        from filelock import SoftFileLease

        self._lease = SoftFileLease(
            f"{path}.lease", lease_duration=STALE, heartbeat_interval=HEARTBEAT, mode=mode, poll_interval=POLL
        )

    def _try(self, seconds: float) -> None:
        self._lease.acquire(seconds)

    def release(self) -> None:
        self._lease.release()


L = TypeVar("L", KernelLock, _HardLinkLock)
