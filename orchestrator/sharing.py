"""Workspaces that a group shares on purpose, and databases of other users that this user has allowed.

A workspace is shared if its database and its folder are writable for a group, and the folder gives that group to what
is created in it, and if this user has said so: with `--group`, or `orchestrator db allow`. In a folder of a group, any
member can make a file with these permissions, also one of another user: it is enough to rename it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import Damaged
from orchestrator.errors import DatabaseError, DefinitionError
from orchestrator.trust import is_own, owner_of, read_private
from orchestrator.workspace import DATABASE, Workspace

__all__ = [
    "allow",
    "check_can_allow",
    "is_allowed",
    "is_shared",
    "mode_beside",
    "mode_of_lock",
    "seems_shared",
    "share",
]

SHARED = 0o660
"""Permissions of the database, its lock and its journal in a shared workspace."""

FOLDER = 0o2770


def share(workspace: Workspace, name: str) -> None:
    """Create the database of a new workspace for all members of a group, or use the one that they share already.

    Raises
    ------
    DefinitionError
        If there is no such group, or this user is not a member.
    DatabaseError
        If there is a database that is not shared with the group, or the folder belongs to another user.
    """
    gid, database = _gid_of(name), workspace.database
    if not os.path.lexists(database):
        _create(workspace, gid)
    elif _group_of(database) != gid:
        raise DatabaseError(
            f"{database} exists, and is not shared with the group {name}.",
            "Leave --group out, or create another workspace: --rootdir FOLDER",
        )
    allow(database)


def _create(workspace: Workspace, gid: int) -> None:
    root, database = workspace.root, workspace.database
    root.mkdir(parents=True, exist_ok=True)
    if not is_own(root):
        raise DatabaseError(
            f"The folder {root} belongs to {owner_of(root)}.", "Use a folder of yours: --rootdir FOLDER"
        )
    logs = root / "logs"
    logs.mkdir(exist_ok=True)
    for folder in (root, logs):
        os.chown(folder, -1, gid)
        folder.chmod((stat.S_IMODE(folder.stat().st_mode) | FOLDER) & ~stat.S_IWOTH)
    descriptor = os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE)
    try:
        os.fchown(descriptor, -1, gid)
        os.fchmod(descriptor, SHARED)
    finally:
        os.close(descriptor)


def is_shared(database: Path) -> bool:
    """Whether this user and a group share a database on purpose."""
    return seems_shared(database) and is_allowed(database)


def seems_shared(database: Path) -> bool:
    """Whether a database has the permissions of one that a group shares that this user is a member of."""
    return _group_of(database) in (os.getegid(), *os.getgroups())


def mode_beside(database: Path) -> int:
    """Return the permissions of the files that belong to a database."""
    return PRIVATE if _group_of(database) is None else SHARED


def mode_of_lock(folder: Path) -> int:
    """Return the permissions of a lock in a folder of a run.

    In a shared workspace, those members who may write to the folder can hold its lock.
    """
    for above in folder.absolute().parents:
        if os.path.lexists(above / DATABASE):
            found = folder.stat()
            is_for_group = found.st_mode & stat.S_IWGRP and found.st_gid == _group_of(above / DATABASE)
            return SHARED if is_for_group else PRIVATE
    return PRIVATE


def _group_of(database: Path) -> int | None:
    """Return the group that a database is shared with; None if it is private."""
    with suppress(OSError):
        file = database.lstat()
        if not file.st_mode & stat.S_IWGRP:
            return None
        folder = database.parent.stat()
        is_group = stat.S_ISREG(file.st_mode) and not (file.st_mode | folder.st_mode) & stat.S_IWOTH
        has_folder = folder.st_mode & FOLDER == FOLDER and folder.st_gid == file.st_gid
        return file.st_gid if is_group and has_folder else None
    return None


def _gid_of(name: str) -> int:
    import grp  # only a new workspace needs it

    own = {os.getegid(), *os.getgroups()}
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        why = f"There is no group {name!r}."
    else:
        if gid in own:
            return gid
        why = f"You are not a member of the group {name}."
    names = []
    for known in sorted(own):
        with suppress(KeyError):
            names.append(grp.getgrgid(known).gr_name)
    raise DefinitionError(why, f"Your groups are: {', '.join(names)}")


# --- the user's list of databases ----------------------------------------------------------------


def allow(database: Path) -> Path:
    """Record that a database is used when it is found, and with the group that shares it.

    Another user could have placed it.

    Returns
    -------
    Path
        The file of the record.

    Raises
    ------
    DatabaseError
        If there is no database, or the record can't be written.
    """
    file = check_can_allow(database)
    line = _line(database)
    lines = _allowed(file)
    if line not in lines:
        write_atomically(file, "".join(f"{one}\n" for one in [*lines, line]).encode(errors="surrogateescape"), PRIVATE)
    return file


def check_can_allow(database: Path) -> Path:
    """Return the file in which `allow` records a database, and raise what it would raise."""
    file = _file_of_allowed()
    if not database.is_file() or "\n" in str(database):
        raise DatabaseError(f"There is no database at {database}.", "Name a database: --db FILE")
    if file is None:
        raise DatabaseError("You have no home folder, so nothing can be recorded.", "Name the database: --db FILE")
    return file


def is_allowed(database: Path) -> bool:
    """Whether this user has allowed a database, and it still belongs to the same user."""
    file = _file_of_allowed()
    return file is not None and database.is_file() and _line(database) in _allowed(file)


def _line(database: Path) -> str:
    return f"{database.stat().st_uid} {database.resolve()}"


def _file_of_allowed() -> Path | None:
    with suppress(RuntimeError):
        folder = os.environ.get("XDG_CONFIG_HOME")
        return Path(folder or Path.home() / ".config") / "orchestrator" / "allowed-databases"
    return None


def _allowed(file: Path) -> list[str]:
    """Return the lines of the record. One that another user could have written raises `NotAllowed`."""
    try:
        return read_private(file).decode(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, Damaged) as error:
        import shlex  # only for the text of this error

        raise DatabaseError(
            f"{file} can't be read: {error}.", f"Move it away: mv {shlex.quote(str(file))} {shlex.quote(f'{file}.old')}"
        ) from error
