"""Turn answers into text that fits 80 columns, or into JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.db.views import RunView

__all__ = ["WIDTH", "clock", "cut", "duration", "paint", "several", "shorten", "source", "table", "to_json"]

WIDTH = 80
LEAST = 8
"""Columns that a cell keeps, however wide the others are."""

_COLOURS = {"succeeded": 32, "failed": 31, "stalled": 31, "cancelled": 33, "active": 36, "skipped": 2, "waiting": 2}


def to_json(value: Any) -> str:
    """Write a view, or JSON values, as JSON: names that end in `_at` are times, in ISO 8601, UTC."""
    from orchestrator.db.views import json_values

    return json.dumps(_timed(json_values(value)), indent=2)


def _timed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _iso(inner) if name.endswith("_at") else _timed(inner) for name, inner in value.items()}
    return [_timed(inner) for inner in value] if isinstance(value, list) else value


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(seconds: float | None) -> str:
    """Write a duration: `0.3 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def clock(seconds: float | None, now: float) -> str:
    """Write a time of day in local time, with the date where it is not today's."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds)
    is_today = moment.date() == datetime.fromtimestamp(now).date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def shorten(text: str, width: int) -> str:
    """Make one line of a text, cut to a width."""
    return cut(" ".join(text.split()), width)


def cut(text: str, width: int) -> str:
    """Cut a line to a width."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def several(n: int, thing: str) -> str:
    """Count things: `1 task`, `2 tasks`."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def source(run: RunView) -> str:
    """Write where a run's study is, as it is typed: `STUDY.py[:ATTR]`."""
    attr = f":{run.study_attr}" if run.study_attr not in (None, "pipeline") else ""
    return shlex.quote(run.study + attr) if run.study else "STUDY.py"


def paint(state: str, text: str | None = None) -> str:
    """Colour a state, in a terminal that wants colours."""
    text = state if text is None else text
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{_COLOURS[state]}m{text}\x1b[0m" if wanted and state in _COLOURS else text


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), give: int | None = None
) -> list[str]:
    """Align columns.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequence of str
    right : sequence of int
        Columns of numbers, aligned to the right.
    give : int, optional
        The column whose cells are cut where a line would be wider than 80 columns.

    Returns
    -------
    list of str
        Lines; a state in the second column is coloured.
    """
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    if give is not None:
        too_much = max(0, sum(widths) + 2 * (len(widths) - 1) - WIDTH)
        widths[give] = min(widths[give], max(widths[give] - too_much, len(header[give]), LEAST))

    def line(cells: Sequence[str], *, colour: bool) -> str:
        if give is not None:
            cells = [cut(cell, widths[give]) if column == give else cell for column, cell in enumerate(cells)]
        padded = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        if colour:
            padded[1] = paint(cells[1], padded[1])
        return "  ".join(padded).rstrip()

    return [line(header, colour=False), *(line(row, colour=True) for row in rows)]
