"""`orchestrator logs`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.render import to_json
from orchestrator.cli.workspace import database, key_of, options
from orchestrator.errors import NotFound

__all__ = ["command"]

LOOK_EVERY = 0.3
"""Seconds between two looks of `-f`."""

MOST_TASKS = 8
"""Task logs that are printed without being asked for."""


@click.command()
@click.argument("run_and_step", nargs=-1, required=True, metavar="[RUN] STEP[@ITER]")
@click.option("--task", type=click.IntRange(min=0), metavar="N", help="Only this task of a parallel step.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the step ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths of the logs and the failures, as JSON.")
@options
def command(
    run_and_step: tuple[str, ...],
    task: int | None,
    follow: bool,
    as_json: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Print what a step printed, and the tracebacks of what failed in it.

    RUN is the latest run where it is left out. STEP@3 is iteration 3 of a loop, counted from 0; a bare STEP in a loop
    is its latest iteration.

    \b
    Examples:
      orchestrator logs evaluate
      orchestrator logs 1795531215 evaluate@3 --task 5
      orchestrator logs narrow -f
    """
    from orchestrator.db.queries import find_step_run

    if len(run_and_step) > 2:
        raise click.UsageError("Give a run and a step, or only a step.")
    path = database(rootdir, db)
    key = key_of(path, run_and_step[0] if len(run_and_step) == 2 else None)
    found = find_step_run(path, key, run_and_step[-1])
    folder = path.parent / "logs" / key
    if as_json:
        logs = [str(log) for log in _logs(folder, found, task)]
        click.echo(to_json({"step_run": found, "logs": logs, "failures": found["failures"]}))
        return
    if follow:
        _follow(path, folder, found, task)
        found = find_step_run(path, key, run_and_step[-1])
    else:
        _print(folder, found, task)
    if task is None:
        _print_failures(found)


def _logs(folder: Path, found: dict[str, Any], task: int | None) -> list[Path]:
    """Name the logs of a step run that exist: of its own process, or of its tasks."""
    name = found["label"] + (f"@{found['iteration']}" if found["iteration"] else "")
    whole = folder / f"{name}.log"
    logs = [whole] if task is None and whole.exists() else []
    if found["parallel"]:
        for job in found["jobs"]:
            which = "*" if task is None else str(task)
            logs += sorted(folder.glob(f"{name}.{job['token']}.{which}.log"), key=_task)
    elif task not in (None, 0):
        raise NotFound(f"Step {found['address']} has one task, 0.", "Leave out --task.")
    elif task == 0 and whole.exists():
        logs = [whole]
    return logs


def _task(log: Path) -> int:
    return int(log.name.rsplit(".", 2)[1])


def _print(folder: Path, found: dict[str, Any], task: int | None) -> None:
    logs = _logs(folder, found, task)
    if not logs:
        what = found["address"] if task is None else f"task {task} of {found['address']}"
        if found["state"] == "skipped":
            click.echo(f"{what} was skipped: {found['reason']}.", err=True)
            return
        raise NotFound(f"There is no log of {what} ({found['state']}).", f"Logs are in: {folder}")
    spoken = [log for log in logs if log.stat().st_size]
    failed = {number for failure in found["failures"] for number in failure["tasks"]}
    if found["parallel"] and task is None and len(spoken) > MOST_TASKS:
        shown = [log for log in spoken if _task(log) in failed][:MOST_TASKS] or spoken[:MOST_TASKS]
        click.echo(f"{len(shown)} of {len(spoken)} logs; the others: --task N (0 to {found['n_tasks'] - 1})", err=True)
        spoken = shown
    for log in spoken:
        if found["parallel"] and task is None:
            click.echo(f"==> task {_task(log)} <==")
        click.echo(log.read_text(errors="replace"), nl=False)
    if not spoken and not found["failures"]:
        click.echo(f"{found['address']} printed nothing.", err=True)


def _follow(path: Path, folder: Path, found: dict[str, Any], task: int | None) -> None:
    from orchestrator.db.queries import find_step_run

    places: dict[Path, int] = {}
    shown: Path | None = None
    while True:
        # Looked at first: what was written before the end is printed after it.
        found = find_step_run(path, folder.name, found["address"])
        for log, text in _news(_logs(folder, found, task), places):
            if found["parallel"] and task is None and log != shown:
                click.echo(f"==> task {_task(log)} <==")
            shown = log
            click.echo(text, nl=False)
        if found["ended_at"] is not None:
            return
        time.sleep(LOOK_EVERY)


def _news(logs: list[Path], places: dict[Path, int]) -> Iterator[tuple[Path, bytes]]:
    for log in logs:
        with log.open("rb") as file:
            file.seek(places.get(log, 0))
            text = file.read()
            places[log] = file.tell()
        if text:
            yield log, text


def _print_failures(found: dict[str, Any]) -> None:
    for failure in found["failures"]:
        if failure["what"] == "experiments failed":
            rows = ", ".join(map(str, failure["rows"]))
            more = ", ..." if failure["n"] > len(failure["rows"]) else ""
            click.echo(f"==> {failure['n']} failed: experiment {rows}{more} <==")
        elif failure["what"] == "task failed":
            tasks = ", ".join(map(str, failure["tasks"]))
            click.echo(f"==> task {tasks} failed ({failure['kind']}): {failure['why']} <==")
        else:
            click.echo(f"==> failed ({failure['kind']}): {failure['why']} <==")
        if failure["traceback"]:
            click.echo(failure["traceback"].rstrip("\n"))
