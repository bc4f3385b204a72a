"""`orchestrator fork`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.console import echo_run, jobs_option
from orchestrator.cli.outcome import exit_if_ended
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator fork 1795531215 --from propose@4",
        "orchestrator fork 1795531215 --from propose@4 --update study.py",
        "orchestrator fork 1795531215 --update study.py",
    )
)
@click.argument("run", required=False)
@click.option(
    "--from", "from_step", metavar="STEP[@ITER]", help="The new run begins with this step. [default: where RUN stands]"
)
@click.option("--project-job", metavar="KEY", help="Key of the new run. [default: that of RUN with a number]")
@click.option(
    "--update",
    metavar="STUDY.py",
    help="Use this study instead of the code stored with the run; also its SlurmCluster.",
)
@jobs_option
@change_options
@workspace_options
def command(
    run: str | None,
    from_step: str | None,
    project_job: str | None,
    update: str | None,
    jobs: int | None,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Begin a new run at a step of another one.

    The tables are those that the step began with then. Everything is copied: RUN is not changed, and neither run can
    change the other. `snapshots` shows which tables are kept. A run that has succeeded is continued by a fork with a
    longer pipeline: --update. RUN defaults to the latest run.
    """
    from orchestrator.engine import commands
    from orchestrator.engine.fork import make_fork, prepare_fork

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    checked, config = None, None
    if update is not None:
        from orchestrator.definition.study import load_study

        checked, config = commands.check_update(workspace, key, load_study(update))
    fork = prepare_fork(workspace, key, from_step, project_job, update, checked)
    if not goes_ahead(fork.lines, dry_run=dry_run, yes=yes, asks=False):
        return
    new = make_fork(workspace, fork)
    commands.resume(workspace, new, update=checked, config=config, jobs=jobs, warns=False)
    echo_run(workspace, new)
    exit_if_ended(workspace, new)
