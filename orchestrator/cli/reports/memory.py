"""How the memory of tasks grew from one experiment to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.addresses import format_address
from orchestrator.cli.reports.report_values import MemoryLine

if TYPE_CHECKING:
    from orchestrator.data.records import Record

__all__ = ["memory_of"]

MOST_POINTS, MOST_LINES = 200, 8
"""Points of a line, and lines of the chart."""


def memory_of(records: Iterable[Record | None]) -> list[MemoryLine]:
    """Return, for each step, the task with several experiments whose memory grew most; the largest growth first.

    Parameters
    ----------
    records : iterable of Record or None
        How the experiments were evaluated.
    """
    by_task: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        if record is not None and record.memory:
            by_task.setdefault((record.token, record.task), []).append(record)
    best: dict[str, list[Record]] = {}
    for found in by_task.values():
        if len(found) > 1:
            found.sort(key=lambda record: record.started_at)
            step = found[0].step
            if step not in best or _growth(found) > _growth(best[step]):
                best[step] = found
    lines = sorted(best.values(), key=_growth, reverse=True)[:MOST_LINES]
    return [_line(found) for found in lines]


def _growth(found: Sequence[Record]) -> float:
    return (found[-1].memory or 0.0) - (found[0].memory or 0.0)


def _line(found: Sequence[Record]) -> MemoryLine:
    first, n = found[0], len(found)
    every = -(-n // MOST_POINTS)
    shown = sorted({*range(0, n, every), n - 1})
    points = [(at + 1, round(found[at].memory or 0.0, 1)) for at in shown]
    return MemoryLine(first.step, format_address(first.step, first.iteration), first.task, n, points)
