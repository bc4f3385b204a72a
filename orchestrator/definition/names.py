"""Names that files and SLURM bear."""

from __future__ import annotations

import re

__all__ = ["slug"]


def slug(name: str) -> str:
    """Turn a display name into one that files and SLURM bear."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "step"
