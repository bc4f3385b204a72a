"""Rows of a table as text that fits into a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.render import plural, shorten
from orchestrator.cli.table_rows import EXPERIMENT, Rows
from orchestrator.data.values import is_missing
from orchestrator.visible import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cell_text", "columns_that_fit", "left_out", "rows_text"]

LONGEST_CELL = 24

FIRST_OF_RECORD = ("iteration", "step", "seconds", "attempt", "host")
"""What is shown of the record of an experiment before its further inputs and outputs."""


def rows_text(rows: Rows, names: list[str], n_rows: int | None) -> list[str]:
    """Return rows as lines; the columns are aligned.

    Parameters
    ----------
    rows : Rows
        The rows.
    names : list of str
        The columns.
    n_rows : int or None
        Number of rows that are shown; None: all.
    """
    frame = rows.frame if n_rows is None else rows.frame.iloc[:n_rows]
    columns = [_column(frame, name) for name in (EXPERIMENT, *names)]
    widths = [max(map(len, column)) for column in columns]
    right = [True, *(_is_number(frame[name]) for name in names)]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in zip(*columns, strict=True)
    ]


def columns_that_fit(rows: Rows, n_rows: int | None, width: int | None) -> list[str]:
    """Return the columns that have values and fit into a width, the important ones first; in their order."""
    frame = rows.frame if n_rows is None else rows.frame.iloc[:n_rows]
    with_values = [name for name in map(str, frame.columns) if name in rows.outputs or not _is_empty(frame[name])]
    if width is None:
        return with_values
    important = [rows.status, *rows.outputs[:3], *rows.inputs[:3], *FIRST_OF_RECORD, *with_values]
    left = width - max(map(len, _column(frame, EXPERIMENT)))
    chosen: set[str] = set()
    for name in dict.fromkeys(name for name in important if name in with_values):
        needed = 2 + max(map(len, _column(frame, name)))
        if needed <= left:
            left -= needed
            chosen.add(name)
    return [name for name in with_values if name in chosen]


def left_out(rows: Rows, names: list[str], n_rows: int | None) -> list[str]:
    """Return which columns that have values, and how many rows, are not shown."""
    others = [name for name in map(str, rows.frame.columns) if name not in names and not _is_empty(rows.frame[name])]
    n_left = 0 if n_rows is None else max(0, len(rows.frame) - n_rows)
    lines = [f"{plural(len(others), 'more column')}: {', '.join(others)}"] if others else []
    return [*lines, *([f"{plural(n_left, 'more row')}: --rows {len(rows.frame)}"] if n_left else [])]


def cell_text(value: Any, name: str = "") -> str:
    """Return a cell as text: a number with six digits, a missing one as nothing."""
    if is_missing(value):
        return ""
    if isinstance(value, datetime):
        return datetime.fromtimestamp(value.timestamp()).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.1f}" if name == "memory" else f"{value:.6g}"
    shape = getattr(value, "shape", None)
    return f"array {'x'.join(map(str, shape))}" if shape else shorten(visible(str(value)), LONGEST_CELL)


def _column(frame: pd.DataFrame, name: str) -> list[str]:
    cells = frame.index if name == EXPERIMENT else frame[name]
    return [visible(name), *(cell_text(cell, name) for cell in cells)]


def _is_empty(column: pd.Series[Any]) -> bool:
    return not column.notna().any()


def _is_number(column: pd.Series[Any]) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))
