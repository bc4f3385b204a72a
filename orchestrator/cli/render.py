"""Write values as text of at most 80 columns, or as JSON."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.addresses import format_study
from orchestrator.amounts import plural
from orchestrator.host import drop_output, has_width, is_device, is_screen, is_terminal, terminal_width
from orchestrator.visible import visible
from orchestrator.wrapping import screen_lines

if TYPE_CHECKING:
    from orchestrator.db.views import RunView

__all__ = [
    "WIDTH",
    "clock",
    "coloured",
    "duration",
    "echo",
    "echo_output",
    "how_stopped",
    "is_foreign_run",
    "plural",
    "say",
    "screen_width",
    "shorten",
    "state_of",
    "study_argument",
    "table",
    "to_json",
    "truncate",
]

WIDTH = 80
MIN_CELL_WIDTH = 8
"""Columns that a truncated cell keeps at least."""

_COLOURS = {
    "succeeded": 32,
    "failed": 31,
    "stalled": 31,
    "cancelled": 33,
    "held": 33,
    "stopped": 33,
    "active": 36,
    "skipped": 2,
    "waiting": 2,
}


def to_json(value: Any) -> str:
    """Return a view, or JSON values, as JSON; names that end in `_at` are times in ISO 8601, UTC."""
    from orchestrator.db.views import json_values

    return json.dumps(_with_iso_times(json_values(value)), indent=2)


def _with_iso_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_iso_time(name, inner) for name, inner in value.items()}
    return [_with_iso_times(inner) for inner in value] if isinstance(value, list) else value


def _with_iso_time(name: str, value: Any) -> Any:
    if name in ("inputs", "outputs"):  # their names are the user's
        return value
    return _iso(value) if name.endswith("_at") else _with_iso_times(value)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_foreign_run(run: RunView) -> bool:
    """Whether a run belongs to another user, so that this one can only read it."""
    return run.uid != os.geteuid()


def state_of(run: RunView) -> str:
    """Return the state of a run, or that it is held, stopped or stalled.

    It is stopped if a signal has ended its process (`orchestrator.engine.interrupts`), and stalled as `why_stalled` in
    `orchestrator.machine.stalled` says.
    """
    return "held" if run.held_at else "stopped" if run.stopped_at else "stalled" if run.stalled else run.state


def how_stopped(run: RunView, now: float) -> str:
    """Return how and when the process of a run was stopped: `Ctrl-C at 17:17`; empty if it was not stopped."""
    from orchestrator.machine.wording import STOPS

    if run.stopped_at is None or run.stopped_by is None:
        return ""
    at = clock(run.stopped_at, now)
    return f"{STOPS[run.stopped_by]} at {at if '-' in at else at[:5]}"


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a text without colours; its control characters are shown as escapes.

    It is dropped if the terminal was closed: the command, such as a run, continues and has its own exit code.
    """
    try:
        click.echo(visible(text), err=err)
    except OSError:
        stream = sys.stderr if err else sys.stdout
        if not is_device(stream):
            raise
        drop_output(stream)


def say(text: str, *, err: bool = False) -> None:
    """Print sentences, wrapped in a terminal; each line of the text may end with a command, without options."""
    for line in screen_lines(text, has_width=has_width(sys.stderr if err else sys.stdout)):
        echo(line, err=err)


def echo_output(content: bytes) -> int:
    """Print output of the user's code: unchanged into a file or pipe, on a terminal with its escapes shown.

    Returns
    -------
    int
        Number of bytes that were printed. On a terminal the last bytes may be the begin of a character.
    """
    if not is_terminal(sys.stdout):
        click.echo(content, nl=False)
        return len(content)
    text, n_printed = codecs.utf_8_decode(content, "backslashreplace", False)
    sys.stdout.write(visible(text))
    sys.stdout.flush()
    return n_printed


def duration(seconds: float | None) -> str:
    """Return a duration as text: `0.3 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
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
    """Return a local time of day, with the date if it is not today."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds)
    is_today = moment.date() == datetime.fromtimestamp(now).date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def shorten(text: str, width: int) -> str:
    """Return a text as one line, truncated to a width."""
    return truncate(" ".join(text.split()), width)


def truncate(text: str, width: int) -> str:
    """Return a line truncated to a width."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def screen_width() -> int:
    """Return the width of the terminal, but at least 80 columns; of a pipe 80, or what COLUMNS says."""
    return max(WIDTH, terminal_width(WIDTH))


def study_argument(run: RunView) -> str:
    """Return the study of a run as an argument of a command: `STUDY.py[:ATTR]`."""
    return format_study(run.study, run.study_attr)


def coloured(state: str, text: str | None = None) -> str:
    """Return a state, coloured if the terminal supports colours."""
    text = state if text is None else text
    has_colours = is_screen(sys.stdout) and not os.environ.get("NO_COLOR")
    return f"\x1b[{_COLOURS[state]}m{text}\x1b[0m" if has_colours and state in _COLOURS else text


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), flexible: int | None = None
) -> list[str]:
    """Return the lines of a table; a state in the second column is coloured.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        Cells, row by row.
    right : sequence of int
        Numbers of the columns that are aligned to the right.
    flexible : int, optional
        Number of the column whose cells are truncated if a line would be wider than the terminal.
    """
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    if flexible is not None:
        excess = max(0, sum(widths) + 2 * (len(widths) - 1) - screen_width())
        widths[flexible] = min(widths[flexible], max(widths[flexible] - excess, len(header[flexible]), MIN_CELL_WIDTH))

    def line(cells: Sequence[str], *, colour: bool) -> str:
        if flexible is not None:
            cells = [
                truncate(cell, widths[flexible]) if column == flexible else cell for column, cell in enumerate(cells)
            ]
        padded = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        if colour:
            padded[1] = coloured(cells[1], padded[1])
        return "  ".join(padded).rstrip()

    return [line(header, colour=False), *(line(row, colour=True) for row in rows)]
