"""Write the report of a run as one HTML file that needs no network."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.failures import headline, inputs_text, numbers_text
from orchestrator.cli.render import clock, duration, plural, state_of
from orchestrator.cli.reports.usage import amount, resources_text
from orchestrator.visible import visible, visible_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.cli.failure_causes import FailureCause
    from orchestrator.cli.reports.report_values import Axis, Charts, Report, TaskMap, Timeline
    from orchestrator.cli.reports.usage import StepUsage

__all__ = ["page_of"]

FILES = Path(__file__).parent / "page_files"

MOST_CAUSES, MOST_LINES, LONGEST_LINE = 12, 40, 500
"""Causes of failures, and lines of a traceback, that are shown."""


def page_of(report: Report, *, reload_after: float | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    report : Report
        What it says.
    reload_after : float, optional
        Seconds after which the page in a browser reloads itself.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {"duration": duration, "amount": amount, "plural": plural, "number": _number}

    usage = [_usage(step) for step in report.efficiency.steps]

    def text_of(name: str) -> Markup:
        return Markup((FILES / name).read_text(encoding="utf-8"))

    return environment.get_template("page.html.jinja").render(
        report=report,
        run=report.run,
        state=state_of(report.run),
        started=clock(report.run.started_at or report.run.created_at, 0.0),
        made=clock(report.made_at, 0.0),
        causes=[_cause(cause) for cause in report.failures.causes[:MOST_CAUSES]],
        n_more_causes=max(0, len(report.failures.causes) - MOST_CAUSES),
        usage=usage,
        has_bars=any(part is not None for step in usage for *_, part in step["bars"]),
        task_map_titles=[_title(tasks) for tasks in report.task_maps],
        steps=_steps(report),
        run_has_iterations=any(depth for _, depth, _ in report.question.steps),
        css=text_of("page.css"),
        script=text_of("page.js"),
        echarts=text_of("echarts/echarts.min.js"),
        data=Markup(_json(_data(report, reload_after))),
    )


def _number(value: float) -> str:
    return f"{value:.6g}"


def _steps(report: Report) -> str:
    return ", ".join(
        name + (f" (up to {n_planned} times)" if depth else "") for name, depth, n_planned in report.question.steps
    )


def _cause(cause: FailureCause) -> Mapping[str, Any]:
    """Return the texts of one cause of failures."""
    lines = (cause.traceback or "").rstrip().splitlines() or list(cause.last_lines)
    if len(lines) > MOST_LINES:
        lines = [*lines[:2], f"  ... {plural(len(lines) - MOST_LINES, 'line')} left out ...", *lines[2 - MOST_LINES :]]
    first = cause.experiments[0].experiment if cause.experiments else None
    return {
        "headline": headline(cause),
        "message": textwrap.shorten(cause.message or "", 300, placeholder="..."),
        "experiments": numbers_text([failed.experiment for failed in cause.experiments[:100]])
        + (f" and {len(cause.experiments) - 100} more" if len(cause.experiments) > 100 else ""),
        "inputs": inputs_text(cause.experiments),
        "hosts": ", ".join(f"{host} ({n})" for host, n in cause.hosts.items()),
        "hint": cause.hint or "",
        "about": f"Traceback of experiment {first}" if cause.traceback and first is not None else "Last output",
        "lines": "\n".join(line[:LONGEST_LINE] for line in lines),
    }


def _usage(step: StepUsage) -> Mapping[str, Any]:
    """Return the bars and the advice of one step."""
    memory, seconds, cpus = step.memory_requested, step.seconds_requested, step.cpus_requested
    bars = [
        ("Memory", amount(step.memory), "" if memory is None else amount(memory), _part(step.memory, memory)),
        (
            "Longest task",
            duration(step.longest_seconds),
            "" if seconds is None else duration(seconds),
            _part(step.longest_seconds, seconds),
        ),
        ("Busy CPUs", f"{step.cpus:.1f}", "" if cpus is None else str(cpus), _part(step.cpus, cpus)),
    ]
    return {
        "step": step.step,
        "n_tasks": step.n_tasks,
        "bars": bars,
        "advice": step.advice,
        "queue": [duration(seconds) for seconds in step.queue_seconds],
        "resources": resources_text(step.resources) if step.resources else "",
    }


def _part(used: float, requested: float | None) -> float | None:
    """Return the used percent of what was requested, at most 100."""
    return None if not requested else round(min(100.0, 100.0 * used / requested), 1)


def _title(tasks: TaskMap) -> str:
    shown = f"{plural(len(tasks.cells), 'task')} of step {tasks.step}"
    left_out = f"; {plural(tasks.n_left_out, 'earlier iteration')} left out" if tasks.n_left_out else ""
    return shown + left_out


# --- data of the charts --------------------------------------------------------------------------


def _json(value: Any) -> str:
    """Return JSON that can stand in a script element, whatever its texts contain."""
    text = json.dumps(visible_values(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _data(report: Report, reload_after: float | None) -> dict[str, Any]:
    return {
        "reload": reload_after,
        "objective": report.objective,
        "largest": report.largest,
        "convergence": None if report.convergence is None else _rounded(report.convergence.steps),
        "iterations": []
        if report.convergence is None
        else [list(iteration.__dict__.values()) for iteration in report.convergence.iterations],
        "charts": None if report.charts is None else _charts(report.charts),
        "timeline": _timeline(report.timeline),
        "memory": [[line.step, line.address, line.task, list(line.points)] for line in report.memory],
        "tasks": [[tasks.step, list(tasks.rows), tasks.n_columns, list(tasks.cells)] for tasks in report.task_maps],
    }


def _rounded(steps: Sequence[tuple[int, float]]) -> list[list[float]]:
    return [[number, float(f"{value:.9g}")] for number, value in steps]


def _charts(charts: Charts) -> dict[str, Any]:
    # Without a gap, the numbers of the evaluations need no place.
    n = len(charts.numbers)
    return {
        "n": charts.n,
        "shown": n,
        "numbers": None if n == charts.n else _packed(charts.numbers),
        "iterations": _packed(charts.iterations),
        "objective": _axis(charts.objective),
        "inputs": [_axis(axis) for axis in charts.inputs],
    }


def _axis(axis: Axis) -> dict[str, Any]:
    values = _packed(axis.values)
    return {"name": axis.name, "values": values, "categories": list(axis.categories), "log": axis.is_log}


def _packed(values: NDArray[np.float32]) -> str:
    """Return numbers as base64 of their four bytes, the lowest first."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _timeline(timeline: Timeline) -> dict[str, Any]:
    rows = {row: number for number, row in enumerate(timeline.rows)}
    spans = [
        [
            len(rows) if span.kind == "idle" else rows[span.row],
            round(span.begin, 3),
            round(span.end, 3),
            span.kind,
            span.label,
            int(span.has_failed),
            "" if span.label == span.row else span.label.replace(f"{span.row}@", ""),
        ]
        for span in timeline.spans
    ]
    return {"rows": [*timeline.rows, "nothing ran"], "spans": spans}
