"""Processes that a test observes."""

from __future__ import annotations

import contextlib
from pathlib import Path


def lives(pid: int | str) -> bool:
    """Whether a process still runs; a dead process stays in the list if its parent does not wait for it."""
    # A process that is missing, or ends while it is read, does not run.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
