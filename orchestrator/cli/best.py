"""`orchestrator best`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.addresses import format_address
from orchestrator.cli.render import echo, plural, shorten, to_json
from orchestrator.cli.workspace import examples, typed_options, workspace_of, workspace_options
from orchestrator.errors import NotYet

if TYPE_CHECKING:
    from orchestrator.cli.table_rows import Rows
    from orchestrator.db.views import RunView

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator best", "orchestrator best 1795531215 --output accuracy --max", "orchestrator best -n 5"
    )
)
@click.argument("run", required=False)
@click.option("--output", metavar="NAME", help="The output that is compared. [default: the only one]")
@click.option("--max", "largest", is_flag=True, help="The largest value is the best one, and not the smallest.")
@click.option("-n", "n", type=click.IntRange(min=1), default=1, metavar="N", help="Number of experiments.")
@click.option("--json", "as_json", is_flag=True, help="Print the experiments as JSON.")
@click.option("--project-dir", metavar="DIR", help="Which table, if the run has several.")
@workspace_options
def command(
    run: str | None,
    output: str | None,
    largest: bool,
    n: int,
    as_json: bool,
    project_dir: str | None,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Print the best finished experiment of a run.

    RUN defaults to the latest run, which may be active. The best experiment has the smallest value of the output, with
    --max the largest. All that is known of it is printed: inputs, outputs, and how it was evaluated.
    """
    from orchestrator.cli.run_table import one_table
    from orchestrator.cli.table_rows import best_first, objective_of, rows_of
    from orchestrator.db.runs import find_run

    workspace = workspace_of(rootdir, db)
    view = find_run(workspace.database, run)
    rows = rows_of(one_table(workspace, view.key, project_dir), view.key)
    name = output or objective_of(rows, f"orchestrator best {view.key} --output")
    best = best_first(rows, name, largest=largest)
    if not len(best.frame):
        raise NotYet(
            f"No experiment of run {view.key} has finished with a value of {name!r}.",
            f"Show its progress: orchestrator status {view.key}",
        )
    if as_json:
        echo(to_json(best.as_json()[:n]))
    else:
        n_finished = int((rows.frame[rows.status] == "FINISHED").sum())
        _print(view, best, name, n, n_finished, largest=largest)


def _print(run: RunView, best: Rows, name: str, n: int, n_finished: int, *, largest: bool) -> None:
    title = f" ({shorten(run.name, 30)})" if run.name else ""
    which = "largest" if largest else "smallest"
    counted = plural(n_finished, "finished experiment")
    n_without = n_finished - len(best.frame)
    without = f"; {n_without} {'has' if n_without == 1 else 'have'} no value of {name}" if n_without else ""
    echo(f"Run {run.key}{title}: {which} {name} of {counted}{without}\n")
    if n == 1:
        _print_one(run, best, name)
    else:
        from orchestrator.cli.render import screen_width
        from orchestrator.cli.table_text import columns_that_fit, rows_text

        click.echo("\n".join(rows_text(best, columns_that_fit(best, n, screen_width()), n)))


def _print_one(run: RunView, best: Rows, name: str) -> None:
    from orchestrator.cli.table_rows import EXPERIMENT
    from orchestrator.cli.table_text import cell_text

    label, row = best.frame.index[0], best.frame.iloc[0]
    first = [name, *(other for other in best.outputs if other != name), *best.inputs]
    others = [other for other in map(str, best.frame.columns) if other not in (*first, best.status)]
    cells = [(other, cell_text(row[other], other)) for other in (*first, *others)]
    shown = [(EXPERIMENT, str(label)), *((other, text) for other, text in cells if text)]
    width = max(len(other) for other, _ in shown)
    echo("\n".join(f"{other.ljust(width)}  {text}" for other, text in shown))
    record = best.table.records[best.table.data.labels().index(label)]
    if record is not None:
        address = shlex.quote(format_address(record.step, record.iteration))
        echo(f"\nIts output: orchestrator logs {run.key} {address} --experiment {label}{typed_options()}")
