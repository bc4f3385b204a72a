"""`orchestrator retry`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.console import console_options, echo_run, jobs_option
from orchestrator.cli.outcome import exit_if_ended
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator retry", "orchestrator retry 1795531215 --update study.py"))
@click.argument("run", required=False)
@click.option(
    "--update",
    metavar="STUDY.py",
    help="Use this study instead of the code stored with the run; also its SlurmCluster.",
)
@jobs_option
@console_options
@change_options
@workspace_options
def command(
    run: str | None,
    update: str | None,
    jobs: int | None,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Evaluate the failed experiments of a run again.

    Experiments that have a result are not evaluated. The run has ended: it may have succeeded with failures, or failed.
    Each failed experiment is evaluated by the step, and in the iteration, in which it failed. The other iterations are
    kept. The steps after the last one that evaluates experiments run again, because they used the results; a run that
    has failed also continues with what is left. RUN defaults to the latest run.
    """
    from orchestrator.engine import commands
    from orchestrator.engine.preview import about_stored_code, preview

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    # First, so that a run without failed experiments is refused before the study is loaded.
    lines, repeats = preview(workspace, key, commands.RETRY)
    checked, config = None, None
    if update is not None:
        from orchestrator.definition.study import load_study

        checked, config = commands.check_update(workspace, key, load_study(update))
        lines, repeats = preview(workspace, key, commands.RETRY, checked)
    elif dry_run:
        lines += about_stored_code(workspace, key, commands.RETRY)
    if not goes_ahead(lines, dry_run=dry_run, yes=yes, asks=repeats):
        return
    commands.retry(workspace, key, update=checked, config=config, jobs=jobs)
    echo_run(workspace, key)
    exit_if_ended(workspace, key)
