"""Names that users and files see: addresses of step runs (`run@4`, in nested loops `run@3.1`), studies, and slugs."""

from __future__ import annotations

import re

__all__ = ["format_address", "format_study", "parse_address", "slug"]


def format_address(name: str, iteration: str) -> str:
    """Return the address of a step run.

    Parameters
    ----------
    name : str
        Name or label of the step.
    iteration : str
        The iteration, from 0; `"3.1"` in nested loops; empty outside loops.

    Returns
    -------
    str
        The address.
    """
    return f"{name}@{iteration}" if iteration else name


def parse_address(text: str) -> tuple[str, str]:
    """Return the parts of an address. A text that does not end in `@` and an iteration is the name of a step.

    Parameters
    ----------
    text : str
        The address.

    Returns
    -------
    name : str
        Name of the step.
    iteration : str
        The iteration; empty if the address has none.
    """
    name, _, iteration = text.rpartition("@")
    if not name or not all(part.isdecimal() for part in iteration.split(".")):
        return text, ""
    return name, iteration


def format_study(path: str | None, attr: str | None) -> str:
    """Return a study as an argument of a command: `STUDY.py[:ATTR]`."""
    if not path:
        return "STUDY.py"
    import shlex  # Most processes write no command.

    return shlex.quote(path if attr in (None, "pipeline") else f"{path}:{attr}")


def slug(name: str) -> str:
    """Return a name without the characters that file names and SLURM's job names can't have.

    Parameters
    ----------
    name : str
        Name of a step or a pipeline.

    Returns
    -------
    str
        Letters, digits and ``. _ -``; ``"step"`` if nothing remains.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "step"
