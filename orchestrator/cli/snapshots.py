"""`orchestrator snapshots`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from orchestrator.amounts import size_text
from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import clock, echo, plural, table
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options
from orchestrator.errors import DefinitionError

__all__ = ["command"]


@click.command(epilog=examples("orchestrator snapshots", "orchestrator snapshots 1795531215 --keep 5"))
@click.argument("run", required=False)
@click.option("--keep", metavar="N|all", help="Keep only the last N tables from now on; or all.")
@change_options
@workspace_options
def command(run: str | None, keep: str | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Show which tables of a run are kept, as they were.

    When a step begins, its table is copied; files that have not changed need no space. `fork` and
    `resume --table-as-then` go back to these copies. The last 50 are kept by default. RUN defaults to the latest run.
    """
    from orchestrator.engine.kept_tables import change_limit, listed_tables

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    found, limit = listed_tables(workspace, key)
    if keep is None:
        rows = [[each.address, each.table, clock(each.kept_at, time.time()), size_text(each.n_bytes)] for each in found]
        if rows:
            echo("\n".join(table(["STEP", "TABLE", "BEGAN", "SIZE"], rows, right=(3,), flexible=0)))
        total, most = size_text(sum(each.n_bytes for each in found)), "all" if limit is None else f"the last {limit}"
        echo(f"{plural(len(found), 'table')} of run {key} kept, {total}. Rule: {most}.")
        return
    max_tables = _number(keep)
    n = 0 if max_tables is None else max(0, len(found) - max_tables)
    kept = {None: "all tables", 0: "no table", 1: "the last table"}.get(max_tables, f"the last {max_tables} tables")
    lines = [f"Keeps {kept} of run {key} from now on."]
    if n:
        lines.append(f"Deletes {plural(n, 'table')} that {'is' if n == 1 else 'are'} older.")
    if goes_ahead(lines, dry_run=dry_run, yes=yes, asks=n > 0):
        echo(f"Deleted {plural(change_limit(workspace, key, max_tables), 'table')}.")


def _number(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or len(text) > 9:
        raise DefinitionError(f"--keep {text!r} is not valid.", "Use a number, or all.")
    return int(text)
