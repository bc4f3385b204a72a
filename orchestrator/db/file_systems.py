"""On which type of file system a folder is, and whether only this machine uses it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["LOCAL_FILE_SYSTEMS", "file_system", "file_system_in", "is_local"]

LOCAL_FILE_SYSTEMS = frozenset(
    "bcachefs btrfs ext2 ext3 ext4 f2fs jfs overlay ramfs reiserfs tmpfs xfs zfs".split()  # noqa: SIM905
)
"""File systems that only one machine uses. Any other one, also an unknown one, counts as shared."""

MOUNTS = Path("/proc/self/mountinfo")


def is_local(folder: Path) -> bool:
    """Whether a folder is on a file system of this machine alone; False if that is not known."""
    return file_system(folder) in LOCAL_FILE_SYSTEMS


@lru_cache(maxsize=64)
def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on; empty if the system does not say."""
    with suppress(OSError):
        return file_system_in(MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"), os.path.realpath(folder))
    return ""


def file_system_in(mountinfo: str, folder: str) -> str:
    """Return the type of the file system of a folder, from the text of `/proc/<pid>/mountinfo`."""
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        # Of two mounts at the same point, the later one hides the earlier one.
        if inside and len(point) >= best:
            best, found = len(point), right.split()[0]
    return found
