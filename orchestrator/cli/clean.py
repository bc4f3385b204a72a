"""`orchestrator clean`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.amounts import size_text
from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import echo, plural
from orchestrator.cli.workspace import examples, workspace_of, workspace_options
from orchestrator.errors import DefinitionError
from orchestrator.machine.cleanable import Part, Selection, age_in_seconds
from orchestrator.machine.states import RunState

if TYPE_CHECKING:
    from orchestrator.engine.cleaning import Cleaning

__all__ = ["command"]

MOST_NAMED = 20
"""Number of runs that are named; of the others only the number is printed."""

_WHAT = {
    Part.RUN: "Deletes run {key}: records, tables, code and logs",
    Part.LOGS: "Deletes the logs of run {key}",
    Part.RESULT_FILES: "Deletes the archived result files of run {key}",
}


@click.command(
    epilog=examples(
        "orchestrator clean 1795531215",
        "orchestrator clean --state failed --state cancelled --older-than 30d",
        "orchestrator clean --logs --older-than 12w",
    )
)
@click.argument("runs", metavar="[RUNS]", nargs=-1)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in RunState if state is not RunState.ACTIVE]),
    help="Only runs in this state. May be repeated.",
)
@click.option("--older-than", metavar="AGE", help="Only runs that ended so long ago: 90m, 12h, 30d, 4w.")
@click.option("--logs", is_flag=True, help="Delete only their logs.")
@click.option(
    "--result-files",
    is_flag=True,
    help="Delete only the archived result files, and with them time and host of each experiment. Tables stay.",
)
@change_options
@workspace_options
def command(
    runs: tuple[str, ...],
    states: tuple[str, ...],
    older_than: str | None,
    logs: bool,
    result_files: bool,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Delete ended runs, or parts of them.

    Name the runs, or choose them by state or age. A run that is active, or belongs to another user, is kept. Links are
    not followed. What is deleted is said first, with its size, and can't be restored.
    """
    from orchestrator.engine.cleaning import clean, prepare

    if logs and result_files:
        raise click.UsageError("--logs and --result-files can't be combined.")
    if not runs and not states and older_than is None:
        raise DefinitionError(
            "clean needs to know which runs to delete.",
            "Show what would be deleted: orchestrator clean --older-than 30d --dry-run",
        )
    workspace = workspace_of(rootdir, db)
    part = Part.LOGS if logs else Part.RESULT_FILES if result_files else Part.RUN
    selection = Selection(runs, states, None if older_than is None else age_in_seconds(older_than))
    cleaning = prepare(workspace, selection, part, dry_run=dry_run)
    has_work = bool(cleaning.targets or cleaning.left_over)
    if not goes_ahead(_lines(cleaning), dry_run=dry_run, yes=yes, asks=has_work):
        return
    left = clean(workspace, cleaning)
    for line in left:
        echo(line, err=True)
    if has_work and not left:
        n_bytes = sum(target.n_bytes for target in cleaning.targets)
        what = {Part.RUN: "", Part.LOGS: "the logs of ", Part.RESULT_FILES: "the archived result files of "}[part]
        echo(f"Deleted {what}{plural(len(cleaning.targets), 'run')}: {size_text(n_bytes)}.")
    is_refused = bool(cleaning.kept and runs and not has_work)
    raise click.exceptions.Exit(int(bool(left) or is_refused))


def _lines(cleaning: Cleaning) -> list[str]:
    lines = []
    for target in cleaning.targets[:MOST_NAMED]:
        what = _WHAT[cleaning.part].format(key=target.run.key)
        lines.append(f"{what} ({plural(target.n_files, 'file')}, {size_text(target.n_bytes)}).")
    more = cleaning.targets[MOST_NAMED:]
    if more:
        n_bytes = sum(target.n_bytes for target in more)
        lines.append(f"Does the same for {plural(len(more), 'more run')} ({size_text(n_bytes)}).")
    lines += [f"Deletes what an earlier clean has left: {path.name}." for path in cleaning.left_over]
    for key, kept in list(cleaning.kept.items())[:MOST_NAMED]:
        lines.append(f"Keeps run {key}: {kept.why}.\n{kept.hint}".rstrip())
    n_kept = len(cleaning.kept) - MOST_NAMED
    lines += [f"Keeps {plural(n_kept, 'more run')}."] if n_kept > 0 else []
    return lines or ["Nothing to do: there is nothing to delete."]
