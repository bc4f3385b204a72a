"""`orchestrator logs`."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.addresses import format_address
from orchestrator.cli.render import several, to_json
from orchestrator.cli.workspace import examples, options, place, workspace_of
from orchestrator.errors import NotFound, NotYet
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.db.views import Failure, StepLogs
from orchestrator.machine.kinds import FailureLevel, Mode
from orchestrator.machine.states import RunState, StepRunState

__all__ = ["LogFile", "LogList", "command"]

ORCHESTRATOR = "orchestrator"

LOOK_EVERY = 0.3
"""Seconds between two looks of `-f`."""

MOST_TASKS = 8
"""Task logs that are printed without being asked for."""

MOST_CAUSES = 8
"""Tracebacks that are printed; `--json` has all."""


class LogFile(NamedTuple):
    """A log that exists.

    Attributes
    ----------
    path : str
        Where it is.
    task : int or None
        The task that wrote it; null for the log of a whole step.
    """

    path: str
    task: int | None


class LogList(NamedTuple):
    """The logs of a step run.

    Attributes
    ----------
    step_run : StepLogs or None
        The step run; null for `orchestrator`.
    logs : tuple of LogFile
        Its logs, by task, then by attempt.
    """

    step_run: StepLogs | None
    logs: tuple[LogFile, ...]


@click.command(
    epilog=examples(
        "orchestrator logs evaluate", "orchestrator logs 1795531215 evaluate@3 --task 5", "orchestrator logs narrow -f"
    )
)
@click.argument("run_and_step", nargs=-1, required=True, metavar="[RUN] STEP[@ITER]")
@click.option("--task", type=click.IntRange(min=0), metavar="N", help="Only this task of a parallel step.")
@click.option("-f", "--follow", is_flag=True, help="Wait for the step, and go on until it ends.")
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
    """Print what a step printed, and the tracebacks of what failed.

    RUN is the latest run where it is left out. STEP@3 is iteration 3 of a loop, counted from 0; a bare STEP in a loop
    is its latest iteration. Of a parallel step with many tasks, those that failed are printed, and which others there
    are is said. On a cluster, the step named orchestrator is what those said who advanced the run.
    """
    from orchestrator.db.runs import find_run
    from orchestrator.db.step_runs import find_step_run

    if len(run_and_step) > 2:
        raise click.UsageError("Give a run and a step, or only a step.")
    workspace = workspace_of(rootdir, db)
    path = workspace.database
    run = run_and_step[0] if len(run_and_step) == 2 else None
    if run_and_step[-1] == ORCHESTRATOR and _is_on_cluster(path, run):
        _print_orchestrator(path, run, task, follow=follow, as_json=as_json)
        return
    if follow and not as_json:
        found = _wait_for(path, find_run(path, run).key, run_and_step[-1])
    else:
        found = find_step_run(path, run, run_and_step[-1])
    _check_task(found.step_run.address, found.step_run.n_tasks or 1, task)
    folder = workspace.run(found.key, found.log_dir).logs
    if as_json:
        click.echo(
            to_json(LogList(found, tuple(LogFile(str(log), number) for log, number in _logs(folder, found, task))))
        )
        return
    if follow:
        found = _follow(path, folder, found, task)
    else:
        _print(folder, found, task)
    if task is None:
        _print_failures(found)
        for note in found.notes:
            click.echo(f"==> {note.why} <==")


def _is_on_cluster(path: Path, run: str | None) -> bool:
    from orchestrator.db.runs import find_run

    return find_run(path, run).mode is Mode.SLURM


def _print_orchestrator(path: Path, run: str | None, task: int | None, *, follow: bool, as_json: bool) -> None:
    """Print what orchestrator jobs, and the tails of the steps' jobs, have said."""
    from orchestrator.db.runs import find_run

    record = find_run(path, run)
    _check_task(ORCHESTRATOR, 1, task)
    log = Workspace(path).run(record.key, record.log_dir).orchestrator_log
    if as_json:
        click.echo(to_json(LogList(None, (LogFile(str(log), None),) if log.exists() else ())))
        return
    if not log.exists() and not follow:
        raise NotFound(
            f"No job has advanced run {record.key}: it has no such log.",
            f"How it stands: orchestrator status {record.key}",
        )
    places: dict[Path, int] = {}
    while True:
        record = find_run(path, record.key)
        for _, _, text in _news([(log, None)] if log.exists() else [], places):
            click.echo(text, nl=False)
        sys.stdout.flush()
        if not follow or record.state is not RunState.ACTIVE or record.stalled:
            break
        time.sleep(LOOK_EVERY)
    if follow and record.stalled:
        _say_stalled(f"Run {record.key}", record.key, record.stalled)


def _say_stalled(what: str, key: str, stalled: str) -> None:
    """Nothing more will come, until somebody types this."""
    click.echo(
        f"{what} has not ended, but {stalled}.\nTo go on: orchestrator resume {key}{place()}",
        err=True,
    )


def _check_task(address: str, n: int, task: int | None) -> None:
    if task is not None and task >= n:
        which = "one task: 0" if n == 1 else f"{n} tasks: 0 to {n - 1}"
        raise NotFound(
            f"Step {address} has no task {task}; it has {which}.",
            "Name one of these, or leave out --task.",
        )


def _logs(folder: Path, found: StepLogs, task: int | None) -> list[tuple[Path, int | None]]:
    """List the logs of a step run that exist, with the number of the task: of its own process, or of its tasks."""
    name = format_address(found.label, found.step_run.iteration)
    if not found.parallel:
        whole = folder / f"{name}.log"
        return [(whole, None)] if whole.exists() else []
    logs: list[tuple[Path, int | None]] = []
    files = list(folder.iterdir()) if folder.is_dir() else []
    for job in found.step_run.jobs:
        prefix = f"{name}.{job.token}."
        # The indexes of an array begin at 0 in each batch.
        first = (found.step_run.batch_size or 0) * job.batch if found.numbered_by_batch else 0
        # Not a pattern: a step's name may hold brackets and stars.
        logs += [
            (log, first + int(number))
            for log in files
            if log.name.startswith(prefix)
            and (number := log.name[len(prefix) :].removesuffix(".log")).isdecimal()
            and task in (None, first + int(number))
        ]
    # The order of the jobs, which is that of the attempts, stays within each task.
    return sorted(logs, key=lambda log: log[1] or 0)


def _print(folder: Path, found: StepLogs, task: int | None) -> None:
    logs = _logs(folder, found, task)
    if not logs:
        _say_none(folder, found, task)
        return
    spoken = [(log, number) for log, number in logs if log.stat().st_size]
    if task is None and len({number for _, number in spoken}) > MOST_TASKS:
        spoken = _choose(spoken, found)
    for log, number in spoken:
        if number is not None and task is None:
            click.echo(f"==> task {number} <==")
        with log.open(errors="replace") as file:
            shutil.copyfileobj(file, sys.stdout)
    if not spoken and (task is not None or not found.failures):
        click.echo(f"{_what(found, task)} printed nothing.", err=True)


def _choose(logs: list[tuple[Path, int | None]], found: StepLogs) -> list[tuple[Path, int | None]]:
    """Take the tasks that failed, or else the first: nobody reads hundreds."""
    tasks = list(dict.fromkeys(number for _, number in logs))
    failed = {number for failure in found.failures for number in failure.tasks}
    shown = [number for number in tasks if number in failed] or tasks
    which = "that failed" if shown[0] in failed else "that come first"
    shown = shown[:MOST_TASKS]
    click.echo(
        f"{len(tasks)} tasks of {found.step_run.address} printed something; shown: {len(shown)} {which}.\n"
        f"Any other: --task N, with N from 0 to {(found.step_run.n_tasks or 1) - 1}.",
        err=True,
    )
    return [log for log in logs if log[1] in shown]


def _say_none(folder: Path, found: StepLogs, task: int | None) -> None:
    if found.step_run.state is StepRunState.SKIPPED:
        click.echo(f"{found.step_run.address} was skipped: {found.step_run.reason}.", err=True)
    elif found.collects and task is None and not found.failures:
        command = f"orchestrator status {found.key}{place()}"
        click.echo(f"{found.step_run.address} needed no job, and has no log. What came of it: {command}", err=True)
    elif not found.failures:
        raise NotFound(f"There is no log of {_what(found, task)} ({found.step_run.state}).", f"Logs are in: {folder}")
    elif task is not None:
        command = f"orchestrator logs {found.key} {shlex.quote(found.step_run.address)}"
        raise NotFound(f"There is no log of {_what(found, task)}.", f"See what became of the step: {command}")


def _what(found: StepLogs, task: int | None) -> str:
    address = found.step_run.address
    return address if task is None else f"task {task} of {address}"


def _wait_for(path: Path, key: str, address: str) -> StepLogs:
    """Find a step run that has begun, however long that takes, as long as its run goes on."""
    from orchestrator.db.runs import find_run
    from orchestrator.db.step_runs import find_step_run

    is_told = looked_stalled = False
    while True:
        run, found = find_run(path, key), _step_run(path, key, address)
        if found is not None and _has_begun(found):
            return found
        # Between two processes that advance it, a run looks stalled for a moment.
        if run.state is not RunState.ACTIVE or (looked_stalled and run.stalled):
            break
        if not is_told:
            refresh = " --refresh" if run.mode is Mode.SLURM else ""
            click.echo(f"{address} has not begun: it is waited for.", err=True)
            click.echo(f"How the run stands: orchestrator status {key}{refresh}{place()}", err=True)
        is_told, looked_stalled = True, bool(run.stalled)
        time.sleep(LOOK_EVERY)
    if found is None and run.stalled:
        why = f"Step {address} of run {key} has not begun, and {run.stalled}."
        raise NotYet(why, f"To go on: orchestrator resume {key}")
    return found or find_step_run(path, key, address)


def _step_run(path: Path, key: str, address: str) -> StepLogs | None:
    from orchestrator.db.step_runs import find_step_run

    with suppress(NotYet):
        return find_step_run(path, key, address)
    return None


def _has_begun(found: StepLogs) -> bool:
    # While it is pending, nobody knows yet how many tasks it has. What a resume put back begins anew.
    return found.step_run.state is not StepRunState.PENDING and found.step_run.withdrawn_at is None


def _follow(path: Path, folder: Path, found: StepLogs, task: int | None) -> StepLogs:
    from orchestrator.db.step_runs import find_step_run

    places: dict[Path, int] = {}
    shown: Path | None = None
    while True:
        # Looked at first: what was written before the end is printed after it.
        found = find_step_run(path, found.key, found.step_run.address)
        for log, number, text in _news(_logs(folder, found, task), places):
            if number is not None and task is None and log != shown:
                click.echo(f"==> task {number} <==")
            shown = log
            click.echo(text, nl=False)
        sys.stdout.flush()
        if found.step_run.ended_at is not None:
            if shown is None:
                _print(folder, found, task)
            return found
        if found.stalled:
            _say_stalled(found.step_run.address, found.key, found.stalled)
            return found
        time.sleep(LOOK_EVERY)


def _news(logs: list[tuple[Path, int | None]], places: dict[Path, int]) -> Iterator[tuple[Path, int | None, bytes]]:
    for log, number in logs:
        with log.open("rb") as file:
            file.seek(places.get(log, 0))
            text = file.read()
            places[log] = file.tell()
        if text:
            yield log, number, text


def _print_failures(found: StepLogs) -> None:
    failures = found.failures
    for failure in failures[:MOST_CAUSES]:
        click.echo(f"==> {_headline(failure)} <==")
        if failure.traceback:
            click.echo(failure.traceback.rstrip("\n"))
    if len(failures) > MOST_CAUSES:
        more = several(len(failures) - MOST_CAUSES, "more cause")
        click.echo(f"{more}: orchestrator logs {found.key} {found.step_run.address} --json{place()}", err=True)


def _headline(failure: Failure) -> str:
    kind = f" ({failure.kind})" if failure.kind else ""
    again = ", tried again" if failure.tried_again else ""
    if failure.what is FailureLevel.EXPERIMENTS:
        more = ", ..." if failure.n > len(failure.rows) else ""
        return f"{several(failure.n, 'experiment')} failed: {', '.join(map(str, failure.rows))}{more}"
    if failure.what is FailureLevel.TASK:
        numbers = ", ".join(map(str, failure.tasks))
        return f"task{'s' if len(failure.tasks) > 1 else ''} {numbers} failed{kind}{again}: {failure.why}"
    return f"failed{kind}{again}: {failure.why}"
