"""Addresses of step runs in commands and messages: `run@4`, in nested loops `run@3.1`, outside loops `run`."""

from __future__ import annotations

__all__ = ["format_address", "parse_address"]


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
