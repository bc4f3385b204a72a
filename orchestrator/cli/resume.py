"""`orchestrator resume`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.workspace import examples, key_of, options, place, workspace_of
from orchestrator.machine.states import RunState

__all__ = ["command"]


@click.command(
    epilog=examples(
        "orchestrator resume",
        "orchestrator resume 1795531215 --from-step evaluate@3",
        "orchestrator resume 1795531215 --update study.py",
    )
)
@click.argument("run", required=False)
@click.option(
    "--from-step", metavar="STEP[@ITER]", help="Go back to this step; a bare name in a loop: its iteration 0."
)
@click.option("--update", metavar="STUDY.py", help="Take the code of this study instead of what the run keeps.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes. [default: your CPUs]")
@options
def command(
    run: str | None,
    from_step: str | None,
    update: str | None,
    jobs: int | None,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Go on with a run, from where it stands or from a step.

    What has a result is not evaluated again. RUN is the latest run where it is left out.
    """
    from orchestrator.db.runs import find_run
    from orchestrator.engine import commands

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    study = None
    if update is not None:
        from orchestrator.definition.study import load_study

        study = load_study(update)
    commands.resume(workspace, key, from_step=from_step, update=study, jobs=jobs)
    goes_on = find_run(workspace.database, key).state is RunState.ACTIVE
    label = "Watch it" if goes_on else "What happened in it"
    click.echo(f"{workspace.root / key}\n{label}: orchestrator status {key}{place()}")
