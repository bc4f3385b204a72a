"""`orchestrator run`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import asker, change_options
from orchestrator.cli.console import console_options, echo_run, jobs_option
from orchestrator.cli.outcome import exit_if_ended
from orchestrator.cli.workspace import examples, group_option, new_workspace, workspace_options

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator run study.py",
        "orchestrator run study.py:second --jobs 4",
        "orchestrator run study.py --project-job trial --from-step evaluate",
    )
)
@click.argument("study", metavar="STUDY.py[:ATTR]")
@click.option(
    "--project-job", metavar="KEY", help="Key of the run; an existing run is continued. [default: a new number]"
)
@click.option("--from-step", metavar="STEP", help="Skip the steps before this one.")
@jobs_option
@group_option
@console_options
@change_options
@workspace_options
def command(
    study: str,
    project_job: str | None,
    from_step: str | None,
    jobs: int | None,
    group: str | None,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Run a study on this machine until it ends.

    STUDY.py defines a pipeline. If it defines several, the one named `pipeline` is run, or that named by ATTR. The name
    of a module, such as package.study, can take the place of the path. The exit code tells how the run ended, as that
    of `wait`.
    """
    from orchestrator.definition.study import load_study
    from orchestrator.engine.commands import check_free, start

    workspace = new_workspace(rootdir, db, group)
    check_free(workspace, project_job, dry_run=dry_run)
    loaded = load_study(study)
    pipeline = loaded.pipeline if from_step is None else loaded.pipeline.from_step(from_step)
    agrees = asker(dry_run=dry_run, yes=yes)
    key = start(pipeline, workspace, project_job=project_job, study=loaded, jobs=jobs, agrees=agrees)
    if key is None:
        return
    echo_run(workspace, key)
    exit_if_ended(workspace, key)
