"""`orchestrator import`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import echo, plural
from orchestrator.cli.workspace import examples, new_workspace, typed_options, workspace_options

__all__ = ["command"]


@click.command(
    "import",
    epilog=examples("orchestrator import run.tar.zst", "orchestrator import run.tar.zst --project-job again"),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--project-job", metavar="KEY", help="Key of the run here. [default: as it was]")
@change_options
@workspace_options
def command(
    file: Path, project_job: str | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None
) -> None:
    """Read a run from a file that `archive` wrote.

    The run becomes yours. Nothing of its code is run before a `resume`.
    """
    from orchestrator.engine.transfer import import_run, read_contents

    workspace = new_workspace(rootdir, db)
    contents = read_contents(workspace, file, project_job)
    if not goes_ahead(contents.lines, dry_run=dry_run, yes=yes, asks=True):
        return
    done = import_run(workspace, file, contents, project_job)
    if done.left_out:
        echo(f"Left out: {plural(len(done.left_out), 'link')} to other places, such as {done.left_out[0]}.", err=True)
    echo(f"{workspace.root / done.key}\nShow its status: orchestrator status {done.key}{typed_options()}")
