"""Whose files are trusted: only those of the user that this process runs as. Other users could write anything.

This is asked of the database and the workspace (`orchestrator.cli.workspace`, `orchestrator.db.opening`), the code of a
run (`orchestrator.definition.bundle`) and its environment (`orchestrator.handoff.environment`).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["is_foreign", "is_own", "others_may_write", "owner_of"]


def is_own(path: Path) -> bool:
    """Whether a file or folder exists and belongs to this process's user.

    This holds for root, too: root can read files of other users, but must not run code from them.
    """
    return _uid(path) == os.geteuid()


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
    import pwd  # not needed if everything is trusted

    uid = path.stat().st_uid
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
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_group_of_one(found.st_gid)


def _is_group_of_one(gid: int) -> bool:
    """Whether a group has only this user: many systems have one for each user, which may write by default."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (gid, group.gr_name) and set(group.gr_mem) <= {user.pw_name}
