"""`orchestrator efficiency`."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.render import duration, echo, screen_width, shorten, table, to_json
from orchestrator.cli.workspace import examples, workspace_of, workspace_options
from orchestrator.machine.kinds import Mode
from orchestrator.visible import visible_values

if TYPE_CHECKING:
    from orchestrator.cli.reports.usage import Efficiency, StepUsage
    from orchestrator.db.views import RunView

__all__ = ["command", "render"]


@click.command(epilog=examples("orchestrator efficiency", "orchestrator efficiency 1795531215 --json"))
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@workspace_options
def command(run: str | None, as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Compare requested with used memory, time and CPUs.

    With a suggestion what to request next time. RUN defaults to the latest run, which may be active. Each task measures
    itself: its duration, the CPU time of its processes, and the peak memory of the largest of them. Tasks that were
    killed are missing; of them, SLURM's accounting (sacct) says the peak memory, where it is measured.
    """
    from orchestrator.cli.reports.tasks import efficiency_of, tasks_of
    from orchestrator.cli.run_table import tables_of
    from orchestrator.db.status import run_status

    workspace = workspace_of(rootdir, db)
    status = run_status(workspace.database, run, time.time(), whole=True)
    tasks = tasks_of(workspace, status, tables_of(workspace, status.run.key))
    found = efficiency_of(workspace, status, tasks)
    echo(to_json(found) if as_json else render(*visible_values((status.run, found))))


def render(run: RunView, found: Efficiency) -> str:
    """Write the usage and the advice for a terminal of at least 80 columns."""
    name = f" ({shorten(run.name, 30)})" if run.name else ""
    if not found.steps:
        return f"Run {run.key}{name}: no task has ended yet"
    lines = [f"Run {run.key}{name}: used and requested", "", *_table(found.steps)]
    waited = [step for step in found.steps if step.queue_seconds]
    if waited:
        lines += ["", *_queue(waited)]
    advised = [step for step in found.steps if step.advice]
    for step in advised:
        lines += ["", *_advice(step, run.mode)]
    if run.mode is Mode.LOCAL:
        lines += ["", *_on_a_cluster(found.steps)]
    elif not advised:
        lines += ["", "The requests fit."]
    return "\n".join(lines)


def _table(steps: Sequence[StepUsage]) -> list[str]:
    from orchestrator.cli.reports.usage import amount

    columns: list[tuple[str, list[str]]] = [
        ("STEP", [shorten(step.step, screen_width()) for step in steps]),
        ("TASKS", [str(step.n_tasks) for step in steps]),
        ("MEMORY", [amount(step.memory) for step in steps]),
        ("OF", ["" if step.memory_requested is None else amount(step.memory_requested) for step in steps]),
        ("LONGEST", [duration(step.longest_seconds) for step in steps]),
        ("OF", ["" if step.seconds_requested is None else duration(step.seconds_requested) for step in steps]),
        ("CPUS", [f"{step.cpus:.1f}" for step in steps]),
        ("OF", ["" if step.cpus_requested is None else str(step.cpus_requested) for step in steps]),
    ]
    shown = [(name, cells) for name, cells in columns if any(cells)]
    rows = list(map(list, zip(*(cells for _, cells in shown), strict=True)))
    return table([name for name, _ in shown], rows, right=range(1, len(shown)), flexible=0)


def _queue(steps: Sequence[StepUsage]) -> list[str]:
    """Return how long the tasks waited: half of them at most the first time, and the longest one."""
    half, longest = zip(*(step.queue_seconds for step in steps), strict=True)
    rows = [
        [shorten(step.step, screen_width()), duration(median), duration(most)]
        for step, median, most in zip(steps, half, longest, strict=True)
    ]
    return table(["WAITED IN THE QUEUE", "MEDIAN", "LONGEST"], rows, right=(1, 2), flexible=0)


def _advice(step: StepUsage, mode: Mode) -> list[str]:
    from orchestrator.cli.reports.usage import resources_text

    lines = [f"Step {step.step}:"]
    for sentence in step.advice:
        lines += textwrap.wrap(sentence, screen_width(), initial_indent="  - ", subsequent_indent="    ")
    if step.resources and mode is Mode.SLURM:
        lines.append(f"  Next time: {resources_text(step.resources)}")
    return lines


def _on_a_cluster(steps: Sequence[StepUsage]) -> list[str]:
    """Return what the steps of a run on this machine should request on a cluster."""
    from orchestrator.cli.reports.usage import resources_text

    wanted: dict[str, list[str]] = {}
    for step in steps:
        if step.resources:
            wanted.setdefault(resources_text(step.resources), []).append(step.step)
    lines = ["This machine sets no limits."]
    if wanted:
        lines[0] += " On a cluster, this would be enough:"
    for resources, names in wanted.items():
        lines += [f"  {shorten(', '.join(names), screen_width() - 3)}:", f"    {resources}"]
    return lines
