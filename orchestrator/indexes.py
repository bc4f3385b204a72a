"""Index lists as SLURM writes them: `0-9,12`."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["format_indexes", "parse_indexes"]


def parse_indexes(text: str) -> list[int]:
    """Read an index list.

    Parameters
    ----------
    text : str
        Like `"0-9,12"`; empty for none.

    Returns
    -------
    list of int
        In the order written.
    """
    indexes: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes.extend(range(int(first), int(last or first) + 1))
    return indexes


def format_indexes(indexes: Iterable[int]) -> str:
    """Write an index list, sorted and as short as can be.

    Parameters
    ----------
    indexes : iterable of int
        Each 0 or more; repeated ones count once.

    Returns
    -------
    str
    """
    spans: list[list[int]] = []
    for index in sorted(set(indexes)):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
