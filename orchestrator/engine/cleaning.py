"""Delete what ended runs have left: their records, folders and logs, or only parts of them.

Which runs may be deleted is decided in `orchestrator.machine.cleanable`.

A link is never followed, and only what belongs to this user is deleted. The folder of a run is first renamed, then its
records are deleted, then its files: a process that dies between them leaves nothing that looks like a run, and the next
`clean` deletes the rest.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from orchestrator.db.deletion import cleanable_runs, delete_run
from orchestrator.db.lease_holder import Holder, describe
from orchestrator.db.runs import find_run
from orchestrator.db.store import Store
from orchestrator.engine.lease import hold_lease
from orchestrator.errors import Busy, DataError, LeaseHeld, NotFound, NotOwner
from orchestrator.machine.cleanable import Cleanable, Part, ReasonToKeep, Selection, chosen, why_kept
from orchestrator.table_folder import ARCHIVE, DATA_FOLDER
from orchestrator.text import did_you_mean
from orchestrator.workspace import RunFolder, Workspace

__all__ = ["Cleaning", "clean", "prepare"]

DELETED = ".deleted-"
"""How the names of folders begin that are being deleted."""


class Target(NamedTuple):
    """What is deleted of one run, and its size."""

    run: Cleanable
    folder: RunFolder
    n_files: int
    n_bytes: int


class Cleaning(NamedTuple):
    """What `clean` is about to do.

    Attributes
    ----------
    part : Part
        What of each run is deleted.
    targets : list of Target
        The runs.
    kept : dict of str to ReasonToKeep
        Why others that the user has chosen are kept, by key.
    left_over : list of Path
        Folders that an earlier `clean` has not deleted completely.
    """

    part: Part
    targets: list[Target]
    kept: dict[str, ReasonToKeep]
    left_over: list[Path]


def prepare(workspace: Workspace, selection: Selection, part: Part, *, dry_run: bool) -> Cleaning:
    """Return what `clean` will delete; nothing of a run is changed.

    Raises
    ------
    NotFound
        If a key is that of no run.
    """
    now = time.time()
    runs = cleanable_runs(workspace.database)
    known = [run.key for run in runs]
    for key in set(selection.keys) - set(known):
        what = f"There is no run {key!r} in this workspace.\nThe workspace is {workspace.root}."
        raise NotFound(what, f"{did_you_mean(key, known)}List all runs: orchestrator list")
    targets, kept = [], {}
    for run in chosen(runs, selection, now):
        why = why_kept(run, part)
        if why is None:
            why = _why_in_use(workspace, run.key, now, dry_run=dry_run)
        if why is not None:
            kept[run.key] = why
            continue
        folder = workspace.run(run.key, find_run(workspace.database, run.key).log_dir)
        sizes = [path.lstat() for path in _files(folder, part)]
        if sizes or part is Part.RUN:
            targets.append(Target(run, folder, len(sizes), sum(size.st_size for size in sizes)))
    left_over = [path for path in workspace.root.glob(f"{DELETED}*") if _is_own_folder(path)]
    return Cleaning(part, targets, kept, left_over if part is Part.RUN else [])


def _why_in_use(workspace: Workspace, key: str, now: float, *, dry_run: bool) -> ReasonToKeep | None:
    """Return that another process holds the lease of a run, as one that archives it does; None if none does."""
    try:
        Store(workspace.database).leases.check(key, Holder.this_process(), now, dry_run=dry_run)
    except LeaseHeld as held:
        holder = describe(held.holder) if isinstance(held.holder, Holder) else "another process"
        return ReasonToKeep(f"it is used by {holder}")
    return None


def clean(workspace: Workspace, cleaning: Cleaning) -> list[str]:
    """Delete it.

    Returns
    -------
    list of str
        What could not be deleted, in sentences.
    """
    store, left = Store(workspace.database), []
    for target in cleaning.targets:
        key = target.run.key
        try:
            store.own_record(key)
            with hold_lease(store, key) as fence:
                # What has changed since it was said is kept.
                [run] = [run for run in cleanable_runs(workspace.database) if run.key == key]
                kept = why_kept(run, cleaning.part)
                left += [f"Run {key} is kept: {kept.why}."] if kept else _clean(store, target, cleaning.part, fence)
        except (Busy, DataError, NotOwner) as error:
            left.append(f"Run {key} is kept: {error.message}")
    for path in cleaning.left_over:
        left += _remove(path)
    return left


def _clean(store: Store, target: Target, part: Part, fence: int) -> list[str]:
    """Delete the result files or the logs of a run; else its records, its folder and its logs.

    Returns
    -------
    list of str
        What could not be deleted, as sentences.
    """
    folder, key = target.folder, target.run.key
    if part is Part.RESULT_FILES:
        return [line for path in _result_files(folder) for line in _remove(path)]
    if part is Part.LOGS:
        return _remove_logs(folder)
    away = folder.workspace / f"{DELETED}{key}.{os.urandom(4).hex()}"
    if os.path.lexists(folder.path):
        if not _is_own_folder(folder.path):
            raise DataError(f"{folder.path} is a link or no folder of yours. Remove it, then type the command again.")
        folder.path.rename(away)
    left = _remove_logs(folder)
    delete_run(store.path, key, fence)
    return [*left, *(_remove(away) if away.exists() else [])]


def _remove(path: Path) -> list[str]:
    """Remove a folder with all that is in it, without following a link; return what is left, in a sentence."""
    failed: list[str] = []
    # `rmtree` works below the descriptors of the folders, and refuses a link.
    shutil.rmtree(path, onerror=lambda function, name, error: failed.append(str(name)))
    return [f"Not deleted: {failed[0]}" + (f" and {len(failed) - 1} more" if failed[1:] else "")] if failed else []


def _is_own_folder(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _files(folder: RunFolder, part: Part) -> Iterator[Path]:
    """Yield the files that are deleted."""
    if part is not Part.RESULT_FILES:
        yield from _logs(folder)
    roots = {Part.RUN: [folder.path], Part.LOGS: [], Part.RESULT_FILES: _result_files(folder)}[part]
    for root in roots:
        for where, _, names in os.walk(root):
            yield from (Path(where, name) for name in names)


def _result_files(folder: RunFolder) -> list[Path]:
    found = []
    for where, names, _ in os.walk(folder.path):
        if Path(where).name == DATA_FOLDER and ARCHIVE in names:
            found.append(Path(where, ARCHIVE))
        names[:] = [name for name in names if not name.startswith(".")]
    return [path for path in found if _is_own_folder(path)]


def _logs(folder: RunFolder) -> list[Path]:
    """Return the logs of a run; none if other runs have theirs in the same folder, or if it is behind a link."""
    if folder.shares_logs or not _is_below_no_link(folder.workspace, folder.logs):
        return []
    return [path for path in folder.logs.glob("*.log") if stat.S_ISREG(path.lstat().st_mode)]


def _remove_logs(folder: RunFolder) -> list[str]:
    logs = _logs(folder)
    if logs:
        descriptor = os.open(folder.logs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for path in logs:
                with suppress(FileNotFoundError):
                    os.unlink(path.name, dir_fd=descriptor)
        except OSError as error:
            return [f"Not deleted: {shlex.quote(str(folder.logs))} ({error.strerror})"]
        finally:
            os.close(descriptor)
        with suppress(OSError):  # it has other files
            folder.logs.rmdir()
    return []


def _is_below_no_link(root: Path, path: Path) -> bool:
    """Whether a folder of this user exists and no part of its path below the workspace is a link."""
    if not path.is_relative_to(root):
        return path.exists() and _is_own_folder(path)
    at = root
    for name in path.relative_to(root).parts:
        at /= name
        if name == ".." or not os.path.lexists(at) or not _is_own_folder(at):
            return False
    return True
