"""Give a run of another user to this one: its row, and copies of its table and logs.

The files of the former owner stay as they are, under another name. Its code, environment and scripts are not taken
over: the new owner gives the run code of his own. The records that follow are decided by `after_takeover` in
`orchestrator.machine.rewind`; whether a run may be
taken over is decided in `orchestrator.db.ownership`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.data.table_links import is_link_of_a_table
from orchestrator.db.ownership import change_owner, owner_to_replace
from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.create import FOLDER_OF_RUN
from orchestrator.engine.lease import hold_lease
from orchestrator.errors import DataError
from orchestrator.holes import copy_written
from orchestrator.machine.kinds import Mode
from orchestrator.machine.rewind import after_takeover
from orchestrator.table_folder import LOCK
from orchestrator.trust import ENGINE, is_foreign, name_of_user, owner_of
from orchestrator.workspace import RunFolder, Workspace

__all__ = ["about_takeover", "take_over"]


def about_takeover(workspace: Workspace, key: str, *, force: bool = False) -> list[str]:
    """Return what `takeover` will do, in sentences; none for a run that belongs to this user.

    Raises
    ------
    LeaseHeld, Busy
        As `take_over`.
    """
    store = Store(workspace.database)
    uid, folder = owner_to_replace(store.path, key, time.time(), force=force), _folder(store, key)
    if uid == os.geteuid() and not any(_foreign(folder)):
        return []
    lines = [f"Makes run {key} yours. It belongs to {name_of_user(uid)}, who can't change it after that."]
    if uid == os.geteuid():  # a takeover that was interrupted
        lines = [f"Ends the takeover of run {key}. It is recorded as yours, but files of it belong to another user."]
    if any(_foreign(folder)):
        lines.append("Copies its tables and logs. The files of the former owner are kept under another name.")
    return lines


def take_over(workspace: Workspace, key: str, *, force: bool = False) -> str:
    """Make a run of another user one of this user.

    Parameters
    ----------
    workspace : Workspace
        Where it is recorded.
    key : str
        The run's key.
    force : bool, default False
        Whether its jobs count as ended that have not ended in the records.

    Returns
    -------
    str
        The result, and what to type next.

    Raises
    ------
    LeaseHeld, Busy
        If a process advances it, or a job of it may be left.
    DataError
        If its files can't be copied; the command can be repeated.
    """
    store = Store(workspace.database)
    record, folder = store.record(key), _folder(store, key)
    if record.uid == os.geteuid() and not any(_foreign(folder)):
        return f"Nothing to do: run {key} belongs to you."
    former = change_owner(store.path, key, time.time(), force=force)
    with hold_lease(store, key) as fence:
        kept = [_adopt(path, mode) for path, mode in _foreign(folder)]
        changes = after_takeover(store.load(key), "taken over")
        store.write(key, fence, changes, time.time())
    lines = [f"Run {key} belongs to you now."]
    if former != os.geteuid():
        lines = [f"Run {key} belongs to you now; it belonged to {name_of_user(former)}."]
    lines += [f"The former files are kept in {path}" for path in kept]
    return "\n".join([*lines, _how_to_continue(folder, record)])


def _folder(store: Store, key: str) -> RunFolder:
    from orchestrator.db.runs import find_run

    return store.workspace.run(key, find_run(store.path, key).log_dir)


def _foreign(folder: RunFolder) -> Iterator[tuple[Path, int]]:
    """Yield the folders of a run that belong to another user, with their permissions; each before those in it."""
    for path, mode in ((folder.path, FOLDER_OF_RUN), (folder.engine, 0o700), (folder.logs, 0o755)):
        if is_foreign(path):
            yield path, mode


def _adopt(folder: Path, mode: int) -> Path:
    """Move a folder of another user away, and put a copy that belongs to this user in its place.

    Returns
    -------
    Path
        Where the folder is now.
    """
    aside = _free_name(folder.with_name(f"{folder.name}.of-{owner_of(folder)}"))
    copy = folder.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        copy.mkdir(mode=mode)
        if folder.name != ENGINE:
            _copy_files(folder, copy)
        folder.rename(aside)
        copy.rename(folder)
    except OSError as error:
        shutil.rmtree(copy, ignore_errors=True)
        raise DataError(
            f"{folder} can't be replaced by a copy that belongs to you: {error.strerror}.",
            f"Copy the whole workspace, and take the run over there: cp -r {shlex.quote(str(folder.parent))} COPY",
        ) from error
    return aside


def _free_name(path: Path) -> Path:
    names = (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, 10_000)))
    return next(name for name in names if not os.path.lexists(name))


def _copy_files(source: Path, target: Path) -> None:
    """Copy the regular files below a folder, without those of the engine, and the links by which tables are read.

    By descriptors, so that no link is followed.

    The owner of the folder can change it meanwhile.
    """
    for at, folders, files, descriptor in os.fwalk(source, follow_symlinks=False):
        here = target / Path(at).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in (*files, *folders):
            if is_link_of_a_table(source / at / name):
                (here / name).symlink_to((source / at / name).readlink())
        folders[:] = [name for name in folders if name != ENGINE]
        for name in files:
            if _is_regular(name, descriptor):
                _copy_file(name, descriptor, here / name)


def _is_regular(name: str, folder: int) -> bool:
    return name != LOCK and stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _copy_file(name: str, folder: int, target: Path) -> None:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    with open(descriptor, "rb") as source, target.open("xb") as copy:  # noqa: PTH123 - a descriptor
        copy_written(source, copy)


def _how_to_continue(folder: RunFolder, record: RunRecord) -> str:
    study = shlex.quote(record.study) if record.study else "STUDY.py"
    if record.bundle_digest and folder.bundle(record.bundle_digest).is_dir():
        return f"To continue it with the stored code, which you have not written: orchestrator resume {record.key}"
    if record.mode is Mode.SLURM:
        return f"To continue it with code of your own: orchestrator submit {study} --project-job {record.key}"
    return f"To continue it with code of your own: orchestrator resume {record.key} --update {study}"
