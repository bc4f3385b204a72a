"""Processes that a test looks at from outside."""

from __future__ import annotations

import contextlib
from pathlib import Path


def lives(pid: int | str) -> bool:
    """Tell whether a process does anything still; where nobody waits for orphans, the dead stay in the list."""
    # What is not there, or goes while it is read, does nothing.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
