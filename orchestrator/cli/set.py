"""`orchestrator set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import echo
from orchestrator.cli.workspace import examples, key_of, workspace_of, workspace_options
from orchestrator.errors import DefinitionError

__all__ = ["command"]

_NUMBER = click.IntRange(min=1)


@click.command(
    epilog=examples(
        "orchestrator set 1795531215 evaluate --mem 8G --time 02:00:00",
        "orchestrator set 1795531215 evaluate --sbatch partition=long",
        "orchestrator set 1795531215 orchestrator --sbatch partition=long",
    )
)
@click.argument("run")
@click.argument("step")
@click.option("--mem", metavar="SIZE", help="Memory per node, such as 8G.")
@click.option("--time", metavar="TIME", help="Time limit, as SLURM writes it: 02:00:00, 1-12.")
@click.option("--cpus-per-task", type=_NUMBER, metavar="N", help="CPUs of each task.")
@click.option("--mem-per-cpu", metavar="SIZE", help="Memory per CPU.")
@click.option("--nodes", type=_NUMBER, metavar="N", help="Nodes of each job.")
@click.option("--ntasks", type=_NUMBER, metavar="N", help="Processes of each job.")
@click.option("--max-concurrent", type=_NUMBER, metavar="N", help="Largest number of tasks that run at the same time.")
@click.option("--sbatch", "sbatch", multiple=True, metavar="NAME=VALUE", help="Any other option of sbatch.")
@change_options
@workspace_options
def command(
    run: str,
    step: str,
    sbatch: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    rootdir: Path | None,
    db: Path | None,
    **named: Any,
) -> None:
    """Change the resources of a step, for later jobs.

    The run is on a cluster. The step `orchestrator` means the orchestrator jobs. A job that is submitted already is not
    changed. The change is recorded with the run; the study is not changed. It holds for all iterations of the
    step, and for retries of failed jobs, until `resume --update` or `submit` takes the resources of the study again.
    """
    from orchestrator.engine.set_resources import new_resources, set_resources

    workspace = workspace_of(rootdir, db)
    key = key_of(workspace, run)
    changes = {name: value for name, value in named.items() if value is not None}
    if sbatch:
        changes["extra_sbatch"] = dict(_option(text) for text in sbatch)
    if not changes:
        raise DefinitionError(
            "set needs to know what to change.", f"For example: orchestrator set {key} {step} --mem 8G --time 02:00:00"
        )
    lines = new_resources(workspace, key, step, changes).lines
    shown = lines or [f"Nothing to do: {step!r} has these resources already."]
    if goes_ahead(shown, dry_run=dry_run, yes=yes, asks=False) and lines:
        set_resources(workspace, key, step, changes)
        echo(f"Recorded for run {key}.")


def _option(text: str) -> tuple[str, str]:
    name, is_there, value = text.partition("=")
    if not is_there or not name:
        raise DefinitionError(f"--sbatch {text!r} is not valid.", "Write it as NAME=VALUE: --sbatch gres=gpu:1")
    return name, value
