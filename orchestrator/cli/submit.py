"""`orchestrator submit`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.consent import asker, change_options
from orchestrator.cli.console import echo_run
from orchestrator.cli.workspace import examples, group_option, new_workspace, workspace_options

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator submit study.py",
        "orchestrator submit study.py:second --cluster cluster.yaml",
        "orchestrator submit study.py --project-job trial --from-step evaluate",
        "orchestrator submit study.py --probe",
    )
)
@click.argument("study", metavar="STUDY.py[:ATTR]")
@click.option(
    "--cluster", metavar="FILE.yaml", help="Read the cluster from this file. [default: the SlurmCluster in STUDY.py]"
)
@click.option(
    "--project-job", metavar="KEY", help="Key of the run; an existing run is continued. [default: a new number]"
)
@click.option(
    "--probe/--no-probe",
    default=None,
    help="Try env_setup and runner first in a job, and wait for it; or nowhere. [default: try them on this machine]",
)
@click.option("--from-step", metavar="STEP", help="Skip the steps before this one.")
@group_option
@change_options
@workspace_options
def command(
    study: str,
    cluster: str | None,
    project_job: str | None,
    probe: bool | None,
    from_step: str | None,
    group: str | None,
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Submit a study to a SLURM cluster.

    The jobs of the run submit each other; no process stays on the login node.

    STUDY.py defines a pipeline and a SlurmCluster. If it defines several, the ones named `pipeline` and `cluster` are
    used; ATTR names another pipeline. The name of a module, such as package.study, can take the place of the path. With
    the KEY of an existing run, that run continues with the current study and cluster.
    """
    from orchestrator.definition.study import cluster_of, load_study
    from orchestrator.engine.commands import check_free, submit

    workspace = new_workspace(rootdir, db, group)
    check_free(workspace, project_job, dry_run=dry_run)
    loaded = load_study(study)
    pipeline = loaded.pipeline if from_step is None else loaded.pipeline.from_step(from_step)
    on = cluster_of(loaded, cluster)
    agrees = asker(dry_run=dry_run, yes=yes)
    key = submit(pipeline, on, workspace, project_job=project_job, study=loaded, probe=probe, agrees=agrees)
    if key is not None:
        echo_run(workspace, key)
