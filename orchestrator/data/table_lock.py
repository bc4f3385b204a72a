"""The lock of a table, which excludes other writers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EISDIR, ELOOP, ENOSYS
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.table_links import in_the_way
from orchestrator.errors import DataError, TableBusy
from orchestrator.kernel_lock import KernelLock
from orchestrator.sharing import mode_of_lock
from orchestrator.table_folder import LOCK, data_folder
from orchestrator.trust import check_links

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["locked"]

_LOCK_SECONDS = 60.0


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
        raise in_the_way(base / LOCK) from error
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
