"""`orchestrator archive`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.amounts import size_text
from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.output_file import make_folder_of
from orchestrator.cli.render import echo
from orchestrator.cli.workspace import examples, key_of, typed_options, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator archive 1795531215 -o run.tar.zst"))
@click.argument("run", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file: .tar.zst, .tar.gz, .tar.xz or .tar. [default: RUN.tar.gz]",
)
@change_options
@workspace_options
def command(
    run: str | None, output: Path | None, dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None
) -> None:
    """Write an ended run to one file, which `import` reads.

    The file has the records, the folder and the logs of the run, but not the environment of its jobs. The run itself is
    not changed; `clean` deletes it. RUN defaults to the latest run.
    """
    from orchestrator.engine.transfer import about_archive, archive

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    output = output or Path(f"{key}.tar.gz")
    if goes_ahead(about_archive(workspace, key, output, dry_run=dry_run), dry_run=dry_run, yes=yes, asks=False):
        make_folder_of(output)
        n_bytes = archive(workspace, key, output)
        echo(f"{output} ({size_text(n_bytes)})\nTo delete the run here: orchestrator clean {key}{typed_options()}")
