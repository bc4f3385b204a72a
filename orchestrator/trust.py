"""Whose files are trusted: only those of the user that this process runs as. Other users could write anything.

Folders and links of root are trusted, too: root can write anything in any case, and sets links such as `logs` to a
scratch disk.

Others may write (`others_may_write`) if all users may, or a group that does not belong to this user alone
(`_is_group_of_one`). A group that shares a workspace on purpose: `orchestrator.sharing`.

This is asked of the database and the workspace (`orchestrator.cli.workspace`, `orchestrator.db.opening`). The engine's
own files are read with `open_private` and `read_private`, which ask it of the open file and of its folders.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import ELOOP, ENOTDIR, ENXIO
from pathlib import Path
from typing import BinaryIO

from orchestrator.damage import LARGEST, Damaged, read_limited
from orchestrator.errors import NotAllowed

__all__ = [
    "ENGINE",
    "check_folder",
    "check_links",
    "check_run_folder",
    "is_foreign",
    "is_own",
    "is_planted",
    "is_trusted_folder",
    "lets_others_write",
    "name_of_user",
    "open_private",
    "others_may_write",
    "owner_of",
    "read_private",
]

ENGINE = ".orchestrator"
"""Name of the folder with the engine's own files."""

FOLDER = getattr(os, "O_PATH", os.O_RDONLY)  # macOS has none
"""How a folder is opened that may be passed through, but not listed."""


def open_private(path: Path) -> BinaryIO:
    """Open a file that only this user can have written.

    It must be a regular file of this user that others can't write to. So must its folder and the folders above, up to
    `.orchestrator`. For the folder of the run above that, `check_run_folder` has the rule. Each is opened below the one
    before, so nothing can be put in its place after the check.

    Raises
    ------
    NotAllowed
        If another user owns one of them, or may write to it.
    Damaged
        If it is no regular file, or one of the folders is a link.
    OSError
        If it does not exist, or can't be read now.
    """
    folder = _open_folder(path.parent)
    try:
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (ELOOP, ENXIO):  # a link; a socket
            raise Damaged("it is no regular file") from None
        error.filename = str(path)
        raise
    finally:
        os.close(folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Damaged("it is no regular file")
        _check_private(path, found, _lets_others_write(found))
    except BaseException:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor


def read_private(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a file that only this user can have written; raise as `open_private`.

    A file with more than `largest` bytes is `Damaged`, too.
    """
    with open_private(path) as file:
        return read_limited(file, largest)


def check_folder(path: Path) -> None:
    """Raise `NotAllowed` if other users can put files, and so links, into a folder, or have put a link in its place."""
    check_links(path)
    found = path.stat()
    _check_private(path, found, _may_others_write(found))


def check_links(*paths: Path) -> None:
    """Raise `NotAllowed` if one of the paths is a link of another user. Links of this user and of root are used."""
    for path in paths:
        if is_planted(path):
            raise NotAllowed(
                f"{path} is a link of {name_of_user(path.lstat().st_uid)}, so it is not used.", _hint_for_foreign(path)
            )


def check_run_folder(path: Path, *, is_new: bool = False) -> None:
    """Raise `NotAllowed` if the folder of a run belongs to another user, or all users may replace what is in it.

    A link of another user is refused, too. The folder is made so that only its user can write to it. If the user has
    let a group write to it, it is used. One that does not exist is not refused.

    Parameters
    ----------
    path : Path
        The folder.
    is_new : bool, default False
        Whether the run does not exist yet, so that it can have another folder.
    """
    check_links(path)
    with suppress(FileNotFoundError):
        _check_run_folder(path, path.stat(), is_new=is_new)


def _check_run_folder(path: Path, found: os.stat_result, *, is_new: bool = False) -> None:
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
    if not _is_trusted(found):
        raise NotAllowed(
            f"The folder of a run, {path}, belongs to {name_of_user(found.st_uid)} ({mode}), so it is not used.",
            "Use another key: --project-job KEY" if is_new else _hint_for_foreign_run(path),
        )
    if found.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        raise NotAllowed(
            f"All users may write to the folder of a run, {path} ({mode}), so it is not used.",
            f"If its content is right: chmod o-w {_quoted(path)}",
        )


def _open_folder(path: Path) -> int:
    """Open a folder by way of those above it, from the folder of the run on, and check each."""
    parts = path.parts
    is_of_engine = ENGINE in parts
    first = len(parts) - 1 - parts[::-1].index(ENGINE) if is_of_engine else len(parts)
    at, descriptor = Path(*parts[:first]), None
    for name in ["", *parts[first:]]:
        at /= name
        is_run_folder = is_of_engine and not name
        if is_run_folder:
            check_links(at)
        follow = 0 if is_run_folder else os.O_NOFOLLOW
        try:
            inside = os.open(name or at, FOLDER | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=descriptor)
        except OSError as error:
            if error.errno in (ELOOP, ENOTDIR):
                raise Damaged(f"{at} is a link, or no folder") from None
            error.filename = str(at)
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)
        descriptor = inside
        try:
            found = os.fstat(descriptor)
            if is_run_folder:
                _check_run_folder(at, found)
            else:
                _check_private(at, found, _lets_others_write(found))
        except BaseException:
            os.close(descriptor)
            raise
    assert descriptor is not None
    return descriptor


def _check_private(path: Path, found: os.stat_result, may_others_write: bool) -> None:
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
    if not _is_trusted(found):
        raise NotAllowed(
            f"{path} belongs to {name_of_user(found.st_uid)} ({mode}), so it is not used.", _hint_for_foreign(path)
        )
    if may_others_write:
        raise NotAllowed(
            f"Other users may write to {path} ({mode}), so it is not used.",
            f"If its content is right: chmod go-w {_quoted(path)}",
        )


def _hint_for_foreign_run(path: Path) -> str:
    return (
        f"If it is the folder of your run, take over what is in it: orchestrator takeover {_quoted(path.name)}\n"
        f"If it is in the place of yours, move it away: mv {_quoted(path)} {_quoted(f'{path}.foreign')}\n"
        "Then put yours back."
    )


def _hint_for_foreign(path: Path) -> str:
    hint = f"Move it away: mv {_quoted(path)} {_quoted(f'{path}.foreign')}"
    if ENGINE not in path.parts:
        return hint
    key = path.parts[len(path.parts) - path.parts[::-1].index(ENGINE) - 2]
    return f"{hint}\nThen continue the run: orchestrator resume {_quoted(key)}"


def _quoted(word: str | Path) -> str:
    import shlex  # only for the texts of errors

    return shlex.quote(str(word))


def is_own(path: Path) -> bool:
    """Whether a file or folder exists and belongs to this process's user.

    This holds for root, too: root can read files of other users, but must not run code from them.
    """
    return _uid(path) == os.geteuid()


def is_planted(path: Path) -> bool:
    """Whether a path is a link of another user, not of root, which may lead to files of this user."""
    with suppress(OSError):
        found = path.lstat()
        return stat.S_ISLNK(found.st_mode) and not _is_trusted(found)
    return False


def is_trusted_folder(path: Path) -> bool:
    """Whether a folder exists and belongs to this process's user, or to root and others may not write to it."""
    with suppress(OSError):
        found = path.stat()
        return found.st_uid == os.geteuid() or (found.st_uid == 0 and not _may_others_write(found))
    return False


def _is_trusted(found: os.stat_result) -> bool:
    """Whether the owner of a file is this process's user, or that of a folder or link is root."""
    return found.st_uid == os.geteuid() or (found.st_uid == 0 and not stat.S_ISREG(found.st_mode))


def is_foreign(path: Path, beside: Path | None = None) -> bool:
    """Whether a file or folder exists and belongs to another user than this process's.

    If the file `beside` exists, its owner is compared instead of this process's user.
    """
    expected = None if beside is None else _uid(beside)
    return _uid(path) not in (None, os.geteuid() if expected is None else expected)


def _uid(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_uid
    return None


def owner_of(path: Path) -> str:
    """Return the name of the user that owns a file or folder; the number if the user has no name.

    Raises
    ------
    OSError
        If the file does not exist, or can't be reached.
    """
    return name_of_user(path.stat().st_uid)


def name_of_user(uid: int) -> str:
    """Return the name of a user; the number if the user has no name."""
    import pwd  # not needed if everything is trusted

    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"uid {uid}"


def others_may_write(folder: Path) -> bool:
    """Whether other users may create files in a folder, also if they can't remove those of others (as in `/tmp`).

    Raises
    ------
    OSError
        If the folder does not exist, or can't be reached.
    """
    return _may_others_write(folder.stat())


def _may_others_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_group_of_one(found.st_gid)


def lets_others_write(path: Path) -> bool:
    """Whether the permissions of a file that is made private let its group or all users write to it.

    This holds for a group with only this user, too: the system may not know all its members.
    """
    return _lets_others_write(path.stat())


def _lets_others_write(found: os.stat_result) -> bool:
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _is_group_of_one(gid: int) -> bool:
    """Whether a group belongs to this user alone: many systems have one for each user, which may write by default.

    It does if it is the user's primary group, has the user's name, and lists no other user. `gr_mem` does not list the
    users with this as their primary group. So a group of another name may have further users, and does not count.
    """
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (gid, group.gr_name) and set(group.gr_mem) <= {user.pw_name}
