"""Groups of failures with the same cause: the error, how often it happened, and the first experiments it affects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MAX_ROWS", "FailureGroup"]

MAX_ROWS = 100
"""Number of experiments or files that are recorded by their labels; of the others only the count is recorded."""


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
