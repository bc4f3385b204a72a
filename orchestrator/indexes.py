"""Lists of array indexes as SLURM writes them: `0-9,12`."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["format_indexes", "parse_indexes"]


def parse_indexes(text: str) -> list[int]:
    """Return the indexes in a list.

    Parameters
    ----------
    text : str
        A list such as `"0-9,12"`; empty for no indexes.

    Returns
    -------
    list of int
        The indexes, in the order of the text.
    """
    indexes: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes.extend(range(int(first), int(last or first) + 1))
    return indexes


def format_indexes(indexes: Iterable[int]) -> str:
    """Return a list of indexes as the shortest text.

    Parameters
    ----------
    indexes : iterable of int
        The indexes, each 0 or more. Duplicates are removed.

    Returns
    -------
    str
        Sorted indexes and ranges, such as `"0-9,12"`.
    """
    spans: list[list[int]] = []
    for index in sorted(set(indexes)):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
