"""Addresses of step runs, as a user types and reads them: `run@4`, in nested loops `run@3.1`, outside loops `run`."""

from __future__ import annotations

__all__ = ["format_address", "parse_address"]


def format_address(name: str, iteration: str) -> str:
    """Write an address.

    Parameters
    ----------
    name : str
        Of the step, or its label.
    iteration : str
        From 0, `"3.1"` in nested loops; empty outside loops.
    """
    return f"{name}@{iteration}" if iteration else name


def parse_address(text: str) -> tuple[str, str]:
    """Read an address; what does not end in `@` and an iteration is the name of a step.

    Returns
    -------
    tuple of (str, str)
        The name and the iteration, empty where there is none.
    """
    name, _, iteration = text.rpartition("@")
    if not name or not all(part.isdecimal() for part in iteration.split(".")):
        return text, ""
    return name, iteration
