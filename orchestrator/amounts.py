"""How amounts are written for a user: a number of bytes, and a number of things.

Sizes on disk are in units of 1000, as of `ls --si`. Memory that a job requests or has used is in SLURM's units of
1024: `memory_in_mb` in `orchestrator.definition.resources`.
"""

from __future__ import annotations

__all__ = ["plural", "size_text"]


def size_text(n_bytes: float) -> str:
    """Return a number of bytes as text: `312 B`, `4.1 kB`, `20.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def plural(n: int, thing: str) -> str:
    """Return a number with its noun: `1 task`, `2 tasks`."""
    return f"{n} {thing}{'' if n == 1 else 's'}"
