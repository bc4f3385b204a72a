"""`orchestrator report`."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.output_file import make_folder_of
from orchestrator.cli.render import echo
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options
from orchestrator.errors import DataError, NotFound
from orchestrator.machine.states import RunState

if TYPE_CHECKING:
    from orchestrator.cli.reports.report_values import Results
    from orchestrator.db.views import RunView
    from orchestrator.workspace import Workspace

__all__ = ["command"]

SECONDS = 10.0
"""Time between two versions of a report that is watched."""


@click.command(
    epilog=examples(
        "orchestrator report",
        "orchestrator report 1795531215 -o report.html --output accuracy --max",
        "orchestrator report --watch",
    )
)
@click.argument("run", required=False)
@click.option(
    "-o", "path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="[default: report-RUN.html]"
)
@click.option("--output", metavar="NAME", help="The output that is compared. [default: the first number]")
@click.option("--max", "largest", is_flag=True, help="The largest value is the best one, and not the smallest.")
@click.option(
    "--where", metavar="CONDITION", help="Only experiments for which this is true are results; as of `table`."
)
@click.option("--watch", is_flag=True, help="Write it again until the run ends; the page reloads itself.")
@click.option("--project-dir", metavar="DIR", help="Which table, if the run has several. [default: the largest]")
@workspace_options
def command(
    run: str | None,
    path: Path | None,
    output: str | None,
    largest: bool,
    where: str | None,
    watch: bool,
    project_dir: str | None,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Write what a run has found into one HTML file.

    RUN defaults to the latest run, which may be active. The file contains all that it needs: it can be sent by mail and
    opened without a network. It shows what was asked and found, where the time went, what failed, what the tasks used,
    and where the run comes from. Values of secrets are left out of the command line, but not out of texts that your
    code prints in an exception.
    """
    from orchestrator.cli.reports.report_values import Results

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    results = Results(output, where, largest=largest)
    path = path or Path(f"report-{key}.html")
    view = _write(workspace, key, path, results, project_dir, watch=watch)
    echo(f"Wrote {path}", err=True)
    if not watch or not _is_active(view):
        return
    echo("It is written again until the run ends. Ctrl-C ends only this.", err=True)
    while _is_active(view):
        time.sleep(SECONDS)
        view = _write(workspace, key, path, results, project_dir, watch=watch)
    echo(f"Run {key}: {view.state}. Wrote {path} for the last time.", err=True)


def _is_active(run: RunView) -> bool:
    return run.state is RunState.ACTIVE


def _write(
    workspace: Workspace,
    key: str,
    path: Path,
    results: Results,
    project_dir: str | None,
    *,
    watch: bool,
) -> RunView:
    """Write the report as the run is now.

    Raises
    ------
    NotFound
        If there is no such table or output.
    DataError
        If the file can't be written.
    """
    from orchestrator.atomic import write_atomically
    from orchestrator.cli.reports.page import page_of
    from orchestrator.cli.reports.report_content import report_of
    from orchestrator.cli.reports.report_records import read_records

    now = time.time()
    records = read_records(workspace, key, now, ask_slurm=not watch)
    table = None
    if project_dir is not None:
        table = next((found for found in records.tables if found.project_dir == project_dir), None)
        if table is None:
            names = ", ".join(found.project_dir for found in records.tables)
            hint = f"Its tables: {names}" if names else f"Show its status: orchestrator status {key}"
            raise NotFound(f"Run {key} has no table {project_dir!r}.", hint)
    report = report_of(records, now, results, table=table)
    text = page_of(report, reload_after=SECONDS if watch and _is_active(report.run) else None)
    try:
        make_folder_of(path)
        write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise DataError(
            f"{path} can't be written: {error.strerror or error}.",
            f"Name another file: orchestrator report {shlex.quote(key)} -o FILE",
        ) from error
    return report.run
