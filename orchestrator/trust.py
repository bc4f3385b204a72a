"""Whose files are believed: those of the user that this process runs as. In all others anything may be planted."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["is_foreign", "is_own", "others_may_write", "owner_of"]


def is_own(path: Path) -> bool:
    """Whether a file or folder is there and belongs to this process's user.

    Root gets no exception: it can read what a user planted, and must not run it.
    """
    return _uid(path) == os.geteuid()


def is_foreign(path: Path, beside: Path | None = None) -> bool:
    """Whether a file or folder is there and belongs to another user than this process's.

    Where there is a file `beside` it, the owner of that one counts instead.
    """
    expected = None if beside is None else _uid(beside)
    return _uid(path) not in (None, os.geteuid() if expected is None else expected)


def _uid(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_uid
    return None


def owner_of(path: Path) -> str:
    """Return the name of the user that a file or folder belongs to, or the user's number where it has no name.

    Raises
    ------
    OSError
    """
    import pwd  # only what is refused needs it

    uid = path.stat().st_uid
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"uid {uid}"


def others_may_write(folder: Path) -> bool:
    """Whether other users may put files into a folder, be it one where they can't remove those of others (`/tmp`).

    Raises
    ------
    OSError
    """
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_group_of_one(found.st_gid)


def _is_group_of_one(gid: int) -> bool:
    """Whether a group is this user's alone: many systems give each user a group, which may write by default."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (gid, group.gr_name) and set(group.gr_mem) <= {user.pw_name}
