"""`orchestrator efficiency`."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.render import WIDTH, duration, echo, shorten, table, to_json
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
    """Write the usage and the advice for a terminal of 80 columns."""
    from orchestrator.cli.reports.usage import amount

    name = f" ({shorten(run.name, 30)})" if run.name else ""
    if not found.steps:
        return f"Run {run.key}{name}: no task has ended yet"
    rows = [
        [
            shorten(step.step, WIDTH),
            str(step.n_tasks),
            amount(step.memory),
            "" if step.memory_requested is None else amount(step.memory_requested),
            duration(step.longest_seconds),
            "" if step.seconds_requested is None else duration(step.seconds_requested),
            f"{step.cpus:.1f}",
            str(step.cpus_requested),
        ]
        for step in found.steps
    ]
    header = ["STEP", "TASKS", "MEMORY", "OF", "LONGEST", "OF", "CPUS", "OF"]
    lines = [f"Run {run.key}{name}: used and requested", ""]
    lines += table(header, rows, right=range(1, 8), flexible=0)
    advised = [step for step in found.steps if step.advice]
    for step in advised:
        lines += ["", *_advice(step)]
    if not advised:
        lines += ["", "The requests fit."]
    if run.mode is Mode.LOCAL:
        lines += ["", "This machine sets no limits. The requests are those of a run on a cluster."]
    return "\n".join(lines)


def _advice(step: StepUsage) -> list[str]:
    lines = [f"Step {step.step}:"]
    for sentence in step.advice:
        lines += textwrap.wrap(sentence, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    if step.resources:
        fields = ", ".join(f"{name}={to!r}".replace("'", '"') for name, to in step.resources.items())
        lines.append(f"  Next time: SlurmResources({fields})")
    return lines
