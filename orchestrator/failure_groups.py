"""Groups of failures with the same cause: the error, how often it happened, and the first experiments it affects.

Which failures the command `failures` shows as one is decided in `orchestrator.cli.failure_causes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MAX_CAUSES", "MAX_ROWS", "FailureGroup", "cause_of", "group_of", "without_numbers"]

MAX_ROWS = 100
"""Number of experiments or files that are recorded by their labels; of the others only the count is recorded."""


MAX_CAUSES = 100
"""Number of different causes that are recorded for each task and each job; of the others only the count is recorded."""


_NUMBER = re.compile(r"[+-]?(?:\d[\d.]*(?:e[+-]?\d+)?|\b(?:inf|nan)\b)", re.IGNORECASE)


class FailureGroup:
    """Failures with the same cause.

    Parameters
    ----------
    first : mapping
        The first failure as JSON values: `type`, `message`, `traceback`.

    Attributes
    ----------
    n : int
        Number of failures.
    rows : list of int
        Labels of the first failed experiments, sorted; at most `MAX_ROWS`.
    """

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.first = first
        self.n = 0
        self.rows: list[int] = []

    def add(self, n: int, rows: Iterable[int]) -> None:
        """Add failures with the same cause.

        Parameters
        ----------
        n : int
            Number of failures.
        rows : iterable of int
            Labels of their experiments.
        """
        self.n += n
        self.rows = sorted([*self.rows, *rows])[:MAX_ROWS]

    def to_json(self) -> dict[str, Any]:
        """Return the group as JSON values, as receipts and events contain it."""
        return {**self.first, "n": self.n, "rows": self.rows}


def group_of(groups: dict[tuple[str, str], FailureGroup], failure: Mapping[str, Any]) -> FailureGroup:
    """Return the group of a failure among groups by type and message; a missing one is added.

    With `MAX_CAUSES` groups, further causes share one group: a message that names its experiment, times ten thousand
    experiments, would make files and records grow with the experiments.
    """
    cause = (str(failure.get("type", "")), str(failure.get("message", "")))
    if cause not in groups and len(groups) >= MAX_CAUSES:
        cause = ("other errors", f"only {MAX_CAUSES} are recorded with their text")
        failure = {"type": cause[0], "message": cause[1], "traceback": ""}
    return groups.setdefault(cause, FailureGroup(failure))


def cause_of(failure: Mapping[str, Any]) -> str:
    """Return type and place of the exception of a failure, whatever its message; empty if it was no exception."""
    place = failure.get("place")
    return f"{failure.get('type')} at {place}" if place else ""


def without_numbers(message: str) -> str:
    """Return a message in which all numbers are the same: messages with the values of an experiment are one cause."""
    return _NUMBER.sub("#", message)
