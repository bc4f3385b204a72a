"""`orchestrator scripts`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.render import echo, echo_output
from orchestrator.cli.workspace import examples
from orchestrator.text import to_bytes

__all__ = ["command"]


@click.command(epilog=examples("orchestrator scripts study.py", "orchestrator scripts study.py orchestrator"))
@click.argument("study", metavar="STUDY.py[:ATTR]")
@click.argument("label", required=False)
@click.option(
    "--cluster", metavar="FILE.yaml", help="Read the cluster from this file. [default: the SlurmCluster in STUDY.py]"
)
@click.option("--project-job", metavar="KEY", default="PLACEHOLDER", help="Key of the run. [default: PLACEHOLDER]")
@click.option("--rootdir", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the workspace.")
def command(study: str, label: str | None, cluster: str | None, project_job: str, rootdir: Path | None) -> None:
    """Print the scripts that `submit` would pass to sbatch.

    Nothing is written or submitted. LABEL selects one script. TOKEN, TASKS, ITERATION and JOB are placeholders for
    values that are known only at submission.
    """
    from orchestrator.definition.flatten import plan_of
    from orchestrator.definition.study import cluster_of, load_study
    from orchestrator.engine.cluster.check import script_texts
    from orchestrator.errors import NotFound
    from orchestrator.expansion import expanded

    loaded = load_study(study)
    workspace = Path(expanded(rootdir or "", "--rootdir"))
    scripts = script_texts(loaded.pipeline, cluster_of(loaded, cluster), project_job, workspace)
    if label is not None and label not in scripts:
        is_step = any(step.label == label for step in plan_of(loaded.pipeline.all_steps).steps())
        why = f"Step {label!r} needs no script: it has no job" if is_step else f"There is no script {label!r}"
        raise NotFound(f"{why}.", f"The scripts are: {', '.join(scripts)}")
    shown = scripts if label is None else {label: scripts[label]}
    for name, text in shown.items():
        if label is None:
            echo(f"==> {name} <==")
        echo_output(to_bytes(f"{text.rstrip()}\n"))
        if label is None:
            echo()
