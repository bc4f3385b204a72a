"""`orchestrator failures`."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.addresses import parse_address
from orchestrator.cli.outcome import commands_after_failures
from orchestrator.cli.render import echo, is_foreign_run, plural, screen_width, shorten, state_of, to_json
from orchestrator.cli.workspace import examples, typed_options, workspace_of, workspace_options
from orchestrator.indexes import format_indexes
from orchestrator.machine.kinds import FailureLevel
from orchestrator.visible import visible_values
from orchestrator.wrapping import above_command, with_command

if TYPE_CHECKING:
    from orchestrator.cli.failure_causes import FailedExperiment, FailureCause, FailureList
    from orchestrator.db.views import RunView

__all__ = ["command", "headline", "inputs_text", "numbers_text", "render"]

MOST_CAUSES = 12
"""Causes that are shown; `--json` has all."""

MOST_LINES = 30
"""Lines of a traceback that are shown: the first two and the last ones."""

MOST_INPUTS = 12
"""Inputs that are shown."""


@click.command(epilog=examples("orchestrator failures", "orchestrator failures 1795531215 --json"))
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all failed experiments with their inputs, as JSON.")
@workspace_options
def command(run: str | None, as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Show why experiments, tasks and steps of a run have failed.

    RUN defaults to the latest run. Experiments are grouped by the type of their exception and the line of code that
    raised it. Each group has the numbers of the experiments, their inputs, the hosts, and the traceback of the first.
    An experiment that failed and later succeeded is not listed.
    """
    from orchestrator.cli.failure_causes import failures_of
    from orchestrator.db.status import run_status

    workspace = workspace_of(rootdir, db)
    status = run_status(workspace.database, run, time.time())
    found = failures_of(workspace, status)
    if as_json:
        echo(to_json(found))
        return
    if not found.causes:
        from orchestrator.cli.status import ask_briefly, with_answer

        now = time.time()
        status = with_answer(status, ask_briefly(workspace.database, status, now), now)
    shown: FailureList = visible_values(found)
    click.echo(render(visible_values(status.run), shown, typed_options(), screen_width()))


def render(run: RunView, found: FailureList, options: str = "", width: int = 80) -> str:
    """Write the failures of a run for a terminal.

    Parameters
    ----------
    run : RunView
        The run.
    found : FailureList
        Its failures.
    options : str, default ""
        The options that name the workspace, for the commands that are shown.
    width : int, default 80
        Columns of the terminal.
    """
    name = f" ({shorten(run.name, 30)})" if run.name else ""
    if not found.causes:
        if state_of(run) != "stalled":
            return f"Run {run.key}{name}: no failures"
        lines = textwrap.wrap(f"Run {run.key}{name}: no failures, but it is stalled: {run.stalled}", width)
        return "\n".join([*lines, *above_command("To see what to do: ", f"orchestrator status {run.key}{options}")])
    summary = f"{found.n_failed} of {plural(found.n_experiments, 'experiment')} failed" if found.n_failed else run.state
    paragraphs = [[f"Run {run.key}{name}: {summary}, {plural(len(found.causes), 'cause')}"]]
    paragraphs += [_cause(cause, run, options, width) for cause in found.causes[:MOST_CAUSES]]
    more = len(found.causes) - MOST_CAUSES
    if more > 0:
        paragraphs.append(
            [f"{plural(more, 'more cause')}; to see all: orchestrator failures {run.key} --json{options}"]
        )
    if not is_foreign_run(run):
        commands = commands_after_failures(run, options)
        paragraphs.append([line for text, command in commands for line in with_command("", f"{text}{command}")])
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _cause(cause: FailureCause, run: RunView, options: str, width: int) -> list[str]:
    first = cause.experiments[0] if cause.experiments else None
    lines = textwrap.wrap(headline(cause), width, subsequent_indent="  ")
    rows = [("message", _message(cause))]
    if cause.what is FailureLevel.EXPERIMENTS:
        rows += [("experiments", numbers_text([failed.experiment for failed in cause.experiments]))]
        rows += [("iterations", _iterations(cause))]
    elif cause.tasks:
        rows += [("tasks", numbers_text(cause.tasks))]
        rows += [("evaluated", numbers_text([failed.experiment for failed in cause.experiments]))]
    rows += [("inputs", inputs_text(cause.experiments))]
    rows += [
        ("hosts", ", ".join(host if len(cause.hosts) == 1 else f"{host} ({n})" for host, n in cause.hosts.items()))
    ]
    hint, _, to_type = (cause.hint or "").partition("\n")
    rows += [("hint", hint)]
    for name, text in rows:
        lines += textwrap.wrap(text, width, initial_indent=f"  {name:<13}", subsequent_indent=" " * 15, max_lines=4)
    lines += [f"{' ' * 15}{to_type}{options}"] if to_type else []
    if cause.traceback:
        lines += _quoted(_about(first, len(cause.experiments)), cause.traceback.rstrip().splitlines(), width)
    elif cause.last_lines:
        lines += _quoted(_printed_by(cause, first), cause.last_lines, width)
    if first is not None and first.address is None and run.forked_from is not None:
        return [*lines, f"  Before this run was forked: orchestrator failures {run.forked_from}{options}"]
    command = _log_command(cause, first, run.key, options)
    return [*lines, f"  {command}"] if command else lines


def headline(cause: FailureCause) -> str:
    """Return how many experiments or tasks of which step failed, and with what."""
    step = f"step {cause.step}: " if cause.step else ""
    place = "" if cause.place is None else f" at {_short_place(cause.place)}"
    if cause.what is FailureLevel.EXPERIMENTS:
        kind = cause.type or "without a record of it"
        return f"{step}{plural(cause.n, 'experiment')} failed, {kind}{place}"
    if cause.what is FailureLevel.TASK:
        return f"{step}{plural(cause.n, 'task')} failed, {cause.type}"
    return f"{step}failed, {cause.type}" if cause.type else f"{step}failed"


def _short_place(place: str) -> str:
    file, _, line = place.rpartition(":")
    return f"{Path(file).name}:{line}"


def _message(cause: FailureCause) -> str:
    """Return the message, unless the traceback shows it."""
    if cause.traceback or not cause.message:
        return ""
    differ = len({failed.message for failed in cause.experiments}) > 1 and cause.what is FailureLevel.EXPERIMENTS
    return ("first: " if differ else "") + " ".join(cause.message.split())


def numbers_text(numbers: Sequence[int]) -> str:
    """Return numbers with ranges: `7, 24, 72-73`."""
    return format_indexes(numbers).replace(",", ", ")


def _iterations(cause: FailureCause) -> str:
    addresses = [parse_address(failed.address or "") for failed in cause.experiments]
    found = list(dict.fromkeys(iteration for _, iteration in addresses if iteration))
    if all(iteration.isdecimal() for iteration in found):
        return numbers_text([int(iteration) for iteration in found])
    return ", ".join(found)


def inputs_text(experiments: Sequence[FailedExperiment]) -> str:
    """Return the inputs that have the same value in all experiments, and the ranges of the others."""
    if not experiments:
        return ""
    names = list(dict.fromkeys(name for failed in experiments for name in failed.inputs))
    shown = [f"{name} {_range([failed.inputs.get(name) for failed in experiments])}" for name in names[:MOST_INPUTS]]
    more = [f"and {plural(len(names) - MOST_INPUTS, 'more input')}"] if len(names) > MOST_INPUTS else []
    return ", ".join([*shown, *more])


def _range(values: Sequence[Any]) -> str:
    if all(type(value) in (int, float) for value in values):
        low, high = min(values), max(values)
        return _text(low) if low == high else f"{_text(low)} to {_text(high)}"
    texts = list(dict.fromkeys(map(_text, values)))
    return " or ".join(texts[:3]) + (f" or {len(texts) - 3} others" if len(texts) > 3 else "")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return shorten(str(value), 24)


def _about(first: FailedExperiment | None, n: int) -> str:
    if first is None:
        return "traceback:"
    values = ", ".join(f"{name} = {_text(value)}" for name, value in list(first.inputs.items())[:MOST_INPUTS])
    which = f"experiment {first.experiment}" if n > 1 else "the experiment"
    return f"traceback of {which}" + (f", with {values}:" if n > 1 and values else ":")


def _printed_by(cause: FailureCause, first: FailedExperiment | None) -> str:
    if cause.what is FailureLevel.EXPERIMENTS and first is not None:
        return f"last lines that experiment {first.experiment} printed:"
    return (
        "last lines of the log:" if cause.shown_task is None else f"last lines of the log of task {cause.shown_task}:"
    )


def _quoted(about: str, lines: Iterable[str], width: int) -> list[str]:
    """Write lines of the user's code as they are: paths in them are copied."""
    shown = list(lines)
    if len(shown) > MOST_LINES:
        left_out = len(shown) - MOST_LINES
        shown = [*shown[:2], f"  ... {plural(left_out, 'line')} left out ...", *shown[2 - MOST_LINES :]]
    about_lines = textwrap.wrap(about, width, initial_indent="  ", subsequent_indent="  ")
    return [*about_lines, *(f"    {line.expandtabs(4)}".rstrip() for line in shown)]


def _log_command(cause: FailureCause, first: FailedExperiment | None, key: str, options: str) -> str:
    if cause.what is FailureLevel.EXPERIMENTS:
        if first is None or first.address is None:
            return ""
        return f"orchestrator logs {key} {shlex.quote(first.address)} --experiment {first.experiment}{options}"
    task = "" if cause.shown_task is None else f" --task {cause.shown_task}"
    return f"orchestrator logs {key} {shlex.quote(cause.address)}{task}{options}" if cause.address else ""
