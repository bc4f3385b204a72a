"""`orchestrator logs`."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.addresses import format_address
from orchestrator.cli.experiment_log import (
    address_of_experiment,
    find_output,
    follow_experiment,
    print_experiment,
    print_part,
    print_why_failed,
)
from orchestrator.cli.outcome import next_command, text_and_code
from orchestrator.cli.render import echo, echo_output, plural, say, to_json
from orchestrator.cli.workspace import examples, typed_options, workspace_of, workspace_options
from orchestrator.errors import NotFound, NotYet
from orchestrator.machine.kinds import FailureLevel, Mode
from orchestrator.machine.states import RunState, StepRunState
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.db.views import Failure, RunView, StepLogs

__all__ = ["LogFile", "LogList", "command", "logs_of"]

ORCHESTRATOR = "orchestrator"

POLL_SECONDS = 0.3
"""Seconds between two reads with `--follow`."""

MOST_TASKS = 8
"""Task logs that are printed without `--task`."""

MOST_CAUSES = 8
"""Tracebacks that are printed; `--json` has all."""


class LogFile(NamedTuple):
    """An existing log.

    Attributes
    ----------
    path : str
        Path of the file.
    task : int or None
        Number of the task that wrote it; null for the log of a whole step.
    begin : int
        With `--experiment`: where in the file, in bytes, the output of the experiment begins; otherwise 0.
    end : int or None
        With `--experiment`: where it ends; otherwise null, as while the experiment runs.
    """

    path: str
    task: int | None
    begin: int = 0
    end: int | None = None


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
        "orchestrator logs evaluate",
        "orchestrator logs 1795531215 evaluate@3 --task 5",
        "orchestrator logs --experiment 57",
        "orchestrator logs evaluate -f",
    )
)
@click.argument("run_and_step", nargs=-1, metavar="[RUN] [STEP[@ITER]]")
@click.option("--task", type=click.IntRange(min=0), metavar="N", help="Print only this task of a parallel step.")
@click.option(
    "--experiment",
    type=click.IntRange(min=0),
    metavar="ROW",
    help="Print what this experiment has printed, and why it failed.",
)
@click.option("-f", "--follow", is_flag=True, help="Wait until the step starts, and print its log until it ends.")
@click.option("--json", "as_json", is_flag=True, help="Print paths of logs, and failures, as JSON.")
@workspace_options
def command(
    run_and_step: tuple[str, ...],
    task: int | None,
    experiment: int | None,
    follow: bool,
    as_json: bool,
    rootdir: Path | None,
    db: Path | None,
) -> None:
    """Print the log of a step, and the tracebacks of its failures.

    RUN defaults to the latest run. STEP@3 is iteration 3 of a loop, counted from 0; STEP alone is the latest iteration.
    With --experiment, STEP defaults to the step that evaluated it last.
    For a parallel step with many tasks, only the logs of failed tasks are printed, with a count of the others. On a
    cluster, the step name `orchestrator` prints the orchestrator log: the messages of all jobs that advanced the run.
    """
    from orchestrator.db.runs import find_run
    from orchestrator.db.step_runs import find_step_run

    if len(run_and_step) > 2:
        raise click.UsageError("Give a run and a step, or a step only.")
    if task is not None and experiment is not None:
        raise click.UsageError("Use --task or --experiment, not both.")
    workspace = workspace_of(rootdir, db)
    path = workspace.database
    run = run_and_step[0] if len(run_and_step) == 2 else None
    if run is None and run_and_step != (ORCHESTRATOR,):
        run, step = _run_or_step(path, run_and_step, experiment)
    else:
        step = run_and_step[-1]
    if step == ORCHESTRATOR and _is_on_cluster(path, run):
        _print_orchestrator(path, run, task, follow=follow, as_json=as_json)
        return
    if follow and not as_json:
        step_logs = _wait_for(path, find_run(path, run).key, step)
    else:
        step_logs = find_step_run(path, run, step)
    if experiment is not None:
        _print_experiment(path, step_logs, experiment, follow=follow, as_json=as_json)
        return
    _check_task(step_logs.step_run.address, step_logs.step_run.n_tasks or 1, task)
    folder = workspace.run(step_logs.key, step_logs.log_dir).logs
    if as_json:
        logs = tuple(LogFile(str(log), number) for log, number in logs_of(folder, step_logs, task))
        echo(to_json(LogList(step_logs, logs)))
        return
    if follow:
        step_logs = _follow(path, folder, step_logs, task)
    else:
        _print_logs(folder, step_logs, task)
    if task is None:
        _print_failures(step_logs)
        for note in step_logs.notes:
            echo(f"==> {note.why} <==")


def _run_or_step(path: Path, words: tuple[str, ...], experiment: int | None) -> tuple[str | None, str]:
    """Return the run and the step that no word or one word names; of an experiment, the step that has evaluated it.

    Raises
    ------
    NotFound
        If it names no step, and there is no experiment whose step is found.
    """
    from orchestrator.db.runs import step_names

    key, names = step_names(path, None)
    if words and words[0] not in names:
        try:
            key, names = step_names(path, words[0])
        except NotFound:
            return None, words[0]
    elif words:
        return None, words[0]
    if experiment is not None:
        return key, address_of_experiment(path, key, experiment)
    raise NotFound(
        f"logs needs a step. The steps of run {key}: {', '.join(names)}.",
        f"For example: orchestrator logs {key} {shlex.quote(names[0])}",
    )


def _print_experiment(path: Path, step_logs: StepLogs, row: int, *, follow: bool, as_json: bool) -> None:
    if as_json:
        found = find_output(path, step_logs, row)
        logs: tuple[LogFile, ...] = ()
        if found is not None:
            logs = (LogFile(str(found.log), found.part.task, found.part.begin, found.part.end),)
        echo(to_json(LogList(step_logs, logs)))
    elif follow:
        follow_experiment(path, step_logs, row, POLL_SECONDS)
        print_why_failed(Workspace(path), step_logs, row)
    else:
        print_experiment(path, step_logs, row)
        print_why_failed(Workspace(path), step_logs, row)


def _is_on_cluster(path: Path, run: str | None) -> bool:
    from orchestrator.db.runs import find_run

    return find_run(path, run).mode is Mode.SLURM


def _print_orchestrator(path: Path, run: str | None, task: int | None, *, follow: bool, as_json: bool) -> None:
    """Print the messages of the jobs that advanced a run."""
    from orchestrator.db.runs import find_run

    record = find_run(path, run)
    _check_task(ORCHESTRATOR, 1, task)
    log = Workspace(path).run(record.key, record.log_dir).orchestrator_log
    if as_json:
        echo(to_json(LogList(None, (LogFile(str(log), None),) if log.exists() else ())))
        return
    if not log.exists() and not follow:
        raise NotFound(
            f"Run {record.key} has no orchestrator log: no job has advanced it yet.",
            f"Show its status: orchestrator status {record.key}",
        )
    offset = 0
    while True:
        record = find_run(path, record.key)
        if log.exists():
            offset = print_part(log, offset)
        if not follow or record.state is not RunState.ACTIVE or record.stalled:
            break
        time.sleep(POLL_SECONDS)
    if follow and record.stalled:
        _print_stalled(record)


def _print_stalled(run: RunView) -> None:
    """Print that the log ends here, and the command that continues the run."""
    about, command = next_command(run)
    say(f"{text_and_code(run)[0]}\n{about}{command}", err=True)


def _check_task(address: str, n: int, task: int | None) -> None:
    if task is not None and task >= n:
        which = "one task: 0" if n == 1 else f"{n} tasks: 0 to {n - 1}"
        raise NotFound(
            f"Step {address} has no task {task}; it has {which}.",
            "Use one of these, or omit --task.",
        )


def logs_of(folder: Path, step_logs: StepLogs, task: int | None) -> list[tuple[Path, int | None]]:
    """Return the existing logs of a step run; those of a parallel step with the number of the task."""
    name = format_address(step_logs.label, step_logs.step_run.iteration)
    if not step_logs.parallel:
        whole = folder / f"{name}.log"
        return [(whole, None)] if whole.exists() else []
    logs: list[tuple[Path, int | None]] = []
    files = list(folder.iterdir()) if folder.is_dir() else []
    for job in step_logs.step_run.jobs:
        prefix = f"{name}.{job.token}."
        # The indexes of an array start at 0 in each batch.
        first = (step_logs.step_run.batch_size or 0) * job.batch if step_logs.numbered_by_batch else 0
        # Not a glob pattern: a step's name may contain brackets and asterisks.
        logs += [
            (log, first + int(number))
            for log in files
            if log.name.startswith(prefix)
            and (number := log.name[len(prefix) :].removesuffix(".log")).isdecimal()
            and task in (None, first + int(number))
        ]
    # The sort is stable: within a task, the order of the attempts stays.
    return sorted(logs, key=lambda log: log[1] or 0)


def _print_logs(folder: Path, step_logs: StepLogs, task: int | None) -> None:
    logs = logs_of(folder, step_logs, task)
    if not logs:
        _print_no_log(folder, step_logs, task)
        return
    written = [(log, number) for log, number in logs if log.stat().st_size]
    if task is None and len({number for _, number in written}) > MOST_TASKS:
        written = _of_failed_tasks(written, step_logs)
    for log, number in written:
        if number is not None and task is None:
            echo(f"==> task {number} <==")
        print_part(log)
    if not written and (task is not None or not step_logs.failures):
        echo(f"{_subject(step_logs, task)} printed nothing.", err=True)


def _of_failed_tasks(logs: list[tuple[Path, int | None]], step_logs: StepLogs) -> list[tuple[Path, int | None]]:
    """Return the logs of the first failed tasks, or of the first tasks if none failed."""
    tasks = list(dict.fromkeys(number for _, number in logs))
    failed = {number for failure in step_logs.failures for number in failure.tasks}
    candidates = [number for number in tasks if number in failed] or tasks
    shown = candidates[:MOST_TASKS]
    thing = "failed task" if shown[0] in failed else "task"
    first = f"the first {len(shown)} of " if len(shown) < len(candidates) else ""
    echo(
        f"{len(tasks)} tasks of {step_logs.step_run.address} have a log. "
        f"Printed: {first}{plural(len(candidates), thing)}.\n"
        f"For another one, add --task N, with N from 0 to {(step_logs.step_run.n_tasks or 1) - 1}.",
        err=True,
    )
    return [log for log in logs if log[1] in shown]


def _print_no_log(folder: Path, step_logs: StepLogs, task: int | None) -> None:
    if step_logs.step_run.state is StepRunState.SKIPPED:
        echo(f"{step_logs.step_run.address} was skipped: {step_logs.step_run.reason}.", err=True)
    elif step_logs.collects and task is None and not step_logs.failures:
        command = f"orchestrator status {step_logs.key}{typed_options()}"
        echo(f"{step_logs.step_run.address} ran without a job, and has no log.\nShow its result: {command}", err=True)
    elif not step_logs.failures:
        raise NotFound(
            f"There is no log of {_subject(step_logs, task)} ({step_logs.step_run.state}).",
            f"The logs are in: {folder}",
        )
    elif task is not None:
        command = f"orchestrator logs {step_logs.key} {shlex.quote(step_logs.step_run.address)}"
        raise NotFound(
            f"There is no log of {_subject(step_logs, task)}.", f"Show the logs and failures of the step: {command}"
        )


def _subject(step_logs: StepLogs, task: int | None) -> str:
    address = step_logs.step_run.address
    return address if task is None else f"task {task} of {address}"


def _wait_for(path: Path, key: str, address: str) -> StepLogs:
    """Return a step run as soon as it has started; wait as long as its run is active and not stalled."""
    from orchestrator.db.runs import find_run
    from orchestrator.db.step_runs import find_step_run

    is_announced = was_stalled = False
    while True:
        run, step_logs = find_run(path, key), _step_run(path, key, address)
        if step_logs is not None and _has_started(step_logs):
            return step_logs
        # Between two processes that advance it, a run looks stalled for a moment.
        if run.state is not RunState.ACTIVE or (was_stalled and run.stalled):
            break
        if not is_announced:
            refresh = " --refresh" if run.mode is Mode.SLURM else ""
            echo(f"Waiting for {address} to start.", err=True)
            echo(f"Show the status of the run: orchestrator status {key}{refresh}{typed_options()}", err=True)
        is_announced, was_stalled = True, bool(run.stalled)
        time.sleep(POLL_SECONDS)
    if step_logs is None and run.stalled:
        why = f"Step {address} has not started, and run {key} is stalled: {run.stalled}."
        raise NotYet(why, "".join(next_command(run)))
    return step_logs or find_step_run(path, key, address)


def _step_run(path: Path, key: str, address: str) -> StepLogs | None:
    from orchestrator.db.step_runs import find_step_run

    with suppress(NotYet):
        return find_step_run(path, key, address)
    return None


def _has_started(step_logs: StepLogs) -> bool:
    # The number of tasks of a pending step is not known. A withdrawn step run is repeated as another one.
    return step_logs.step_run.state is not StepRunState.PENDING and step_logs.step_run.withdrawn_at is None


def _follow(path: Path, folder: Path, step_logs: StepLogs, task: int | None) -> StepLogs:
    """Print what is appended to the logs, until the step run has ended or is stalled; return its last state."""
    from orchestrator.db.runs import find_run
    from orchestrator.db.step_runs import find_step_run

    offsets: dict[Path, int] = {}
    last_printed: Path | None = None
    while True:
        # The state is read before the log, so that nothing that was written before the end is missed.
        step_logs = find_step_run(path, step_logs.key, step_logs.step_run.address)
        for log, number in logs_of(folder, step_logs, task):
            begin = offsets.get(log, 0)
            if log.stat().st_size > begin:
                if number is not None and task is None and log != last_printed:
                    echo(f"==> task {number} <==")
                offsets[log] = print_part(log, begin)
                last_printed = log
        if step_logs.step_run.ended_at is not None:
            if last_printed is None:
                _print_logs(folder, step_logs, task)
            return step_logs
        if step_logs.stalled:
            run = find_run(path, step_logs.key)
            if run.stalled:  # not only for a moment
                _print_stalled(run)
                return step_logs
        time.sleep(POLL_SECONDS)


def _print_failures(step_logs: StepLogs) -> None:
    failures = step_logs.failures
    for failure in failures[:MOST_CAUSES]:
        echo(f"==> {_headline(failure)} <==")
        if failure.traceback:
            echo_output(f"{failure.traceback.rstrip()}\n".encode("utf-8", "backslashreplace"))
    if len(failures) > MOST_CAUSES:
        more = plural(len(failures) - MOST_CAUSES, "more cause")
        command = f"orchestrator logs {step_logs.key} {shlex.quote(step_logs.step_run.address)} --json"
        echo(f"{more}; to see all: {command}{typed_options()}", err=True)


def _headline(failure: Failure) -> str:
    kind = f" ({failure.kind})" if failure.kind else ""
    retried = ", retried" if failure.was_retried else ""
    if failure.what is FailureLevel.EXPERIMENTS:
        more = ", ..." if failure.n > len(failure.rows) else ""
        return f"{plural(failure.n, 'experiment')} failed: {', '.join(map(str, failure.rows))}{more}"
    if failure.what is FailureLevel.TASK:
        numbers = ", ".join(map(str, failure.tasks))
        return f"task{'s' if len(failure.tasks) > 1 else ''} {numbers} failed{kind}{retried}: {failure.why}"
    return f"failed{kind}{retried}: {failure.why}"
