"""The folder of temporary files: in memory if there is room, since files of tests need not survive a reboot."""

from __future__ import annotations

import os

IN_MEMORY, ON_DISK = "/dev/shm", "/tmp"
ROOM = 2 * 2**30


def short_root() -> str:
    """Return a folder with a short path, as the sockets of a SLURM cluster need one."""
    try:
        state = os.statvfs(IN_MEMORY)
    except OSError:
        return ON_DISK
    has_room = state.f_bavail * state.f_frsize >= ROOM
    may_run_scripts = not state.f_flag & os.ST_NOEXEC
    return IN_MEMORY if has_room and may_run_scripts and os.access(IN_MEMORY, os.W_OK) else ON_DISK
