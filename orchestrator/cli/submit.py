"""`orchestrator submit`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.workspace import examples, new_workspace, options, place

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator submit study.py",
        "orchestrator submit study.py:second --cluster cluster.yaml",
        "orchestrator submit study.py --project-job trial --from-step evaluate",
    )
)
@click.argument("study", metavar="STUDY.py[:ATTR]")
@click.option("--cluster", metavar="FILE.yaml", help="The cluster. [default: the SlurmCluster in the study]")
@click.option("--project-job", metavar="KEY", help="Key of the run; one that exists goes on. [default: new digits]")
@click.option("--from-step", metavar="STEP", help="Leave out the steps before this one.")
@options
def command(
    study: str,
    cluster: str | None,
    project_job: str | None,
    from_step: str | None,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Submit a study to a SLURM cluster. Its own jobs bring it to its end.

    STUDY.py holds a Pipeline named `pipeline`, or a single one of any name; else name it after a colon. In the same way
    it holds a SlurmCluster named `cluster`, unless a file is given. With the KEY of a run that exists, that run goes on
    with the study and the cluster as they are now.
    """
    from orchestrator.definition.study import cluster_of, load_study
    from orchestrator.engine.commands import submit

    workspace = new_workspace(rootdir, db)
    loaded = load_study(study)
    pipeline = loaded.pipeline if from_step is None else loaded.pipeline.from_step(from_step)
    key = submit(pipeline, cluster_of(loaded, cluster), workspace, project_job=project_job, study=loaded)
    click.echo(f"{workspace.root / key}\nWatch it: orchestrator status {key}{place()}")
