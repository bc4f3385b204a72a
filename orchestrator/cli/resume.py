"""`orchestrator resume`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.console import console_options, echo_run, jobs_option
from orchestrator.cli.outcome import exit_if_ended
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator resume",
        "orchestrator resume 1795531215 --from-step evaluate@3",
        "orchestrator resume 1795531215 --update study.py",
        "orchestrator resume 1795531215 --as-edited",
        "orchestrator resume --accept-failed",
    )
)
@click.argument("run", required=False)
@click.option(
    "--from-step", metavar="STEP[@ITER]", help="Repeat the run from this step. In a loop, STEP alone means iteration 0."
)
@click.option(
    "--table-as-then",
    is_flag=True,
    help="With --from-step: also put the tables back as they were when that step began.",
)
@click.option(
    "--update",
    metavar="STUDY.py",
    help="Use this study instead of the code stored with the run; also its SlurmCluster, if it defines one.",
)
@jobs_option
@click.option(
    "--as-edited", is_flag=True, help="Take the tables as they are, although a file has values of other types."
)
@click.option(
    "--accept-failed",
    is_flag=True,
    help="Accept the failed experiments of the step that failed because of them.",
)
@console_options
@change_options
@workspace_options
def command(
    run: str | None,
    from_step: str | None,
    table_as_then: bool,
    update: str | None,
    jobs: int | None,
    as_edited: bool,
    accept_failed: bool,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Continue a run from where it stopped, or from a step.

    Experiments that have a result are not evaluated again. With --update a loop may have become longer or shorter, and
    its `until` may be another function; the steps after the loop run again. RUN defaults to the latest run.
    """
    from orchestrator.engine import commands
    from orchestrator.engine.preview import about_next, about_stored_code, preview

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    commands.check_free(workspace, key, dry_run=dry_run)
    checked, config = None, None
    if update is not None:
        from orchestrator.definition.study import load_study

        checked, config = commands.check_update(workspace, key, load_study(update))
    begin = commands.begin_of(workspace, key, checked, from_step, accepts_failed=accept_failed, puts_back=table_as_then)
    lines, repeats = preview(workspace, key, begin, checked)
    if dry_run:
        lines = lines or about_next(workspace, key)
    if dry_run and checked is None:
        lines += about_stored_code(workspace, key, begin)
    if not goes_ahead(lines, dry_run=dry_run, yes=yes, asks=repeats):
        return
    commands.resume(
        workspace,
        key,
        from_step=from_step,
        accepts_failed=accept_failed,
        puts_back=table_as_then,
        update=checked,
        config=config,
        jobs=jobs,
        as_edited=as_edited,
    )
    echo_run(workspace, key)
    exit_if_ended(workspace, key)
