"""Failures with one cause are one group: what went wrong, how often, and the first experiments that it struck."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["ROWS_KEPT", "FailureGroup"]

ROWS_KEPT = 100
"""Experiments or files that are kept by number; a count tells the rest."""


class FailureGroup:
    """Failures that have one cause.

    Parameters
    ----------
    first : mapping
        What the first of them says, as JSON values: `type`, `message`, `traceback`.

    Attributes
    ----------
    n : int
        How many they are.
    rows : list of int
        The first experiments among them, at most `ROWS_KEPT`, sorted.
    """

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.first = first
        self.n = 0
        self.rows: list[int] = []

    def add(self, n: int, rows: Iterable[int]) -> None:
        """Add failures with the same cause."""
        self.n += n
        self.rows = sorted([*self.rows, *rows])[:ROWS_KEPT]

    def to_json(self) -> dict[str, Any]:
        """Give what receipts and events keep of it."""
        return {**self.first, "n": self.n, "rows": self.rows}
