"""`orchestrator status`."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.render import WIDTH, clock, duration, paint, several, shorten, source, table, to_json
from orchestrator.cli.slurm_words import answer, as_recorded
from orchestrator.cli.workspace import examples, options, place, workspace_of
from orchestrator.errors import Busy, SchedulerUnreachable

if TYPE_CHECKING:
    from orchestrator.db.failures import Cause
    from orchestrator.db.views import (
        Failure,
        JobView,
        ResultNote,
        RunStatus,
        RunView,
        StepRunView,
        StepSummary,
    )
    from orchestrator.engine.cluster.queue_report import QueueReport
from orchestrator.machine.kinds import FailureLevel, Mode, Role
from orchestrator.machine.states import CLUSTER_KINDS, FailureKind, JobState, RunState
from orchestrator.workspace import Workspace

__all__ = ["command", "render"]

MOST_FAILURES = MOST_NOTES = 5
"""Causes, and notes of what is not in the table, that are shown; `--json` has all."""

MOST_NUMBERS = 8
"""Experiments or tasks that are named for one cause."""


@click.command(
    epilog=examples("orchestrator status", "orchestrator status 1795531215 --json", "orchestrator status --refresh")
)
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known, as JSON.")
@click.option("--refresh", is_flag=True, help="Ask SLURM, too, and show its answer beside the records.")
@options
def command(run: str | None, as_json: bool, refresh: bool, rootdir: Path | None, db: Path | None) -> None:
    """Show what a run has done, what failed and why, what comes next.

    RUN is the latest run where it is left out. All is from the records, and nothing is written. With --refresh, SLURM
    is asked once; if it does not answer, the records are shown, and the exit code is 75.
    """
    from orchestrator.db.status import run_status
    from orchestrator.db.views import json_values

    workspace, now = workspace_of(rootdir, db), time.time()
    found = _with_counts(workspace, run_status(workspace.database, run, now, whole=as_json))
    report, unanswered = _ask(workspace.database, found, now) if refresh else (None, None)
    if report is not None:
        found = found._replace(run=found.run._replace(stalled=report.stalled))
    if as_json:
        click.echo(to_json({**json_values(found), "slurm": report} if refresh else found))
    else:
        click.echo(render(found, now, place(), report, is_refreshed=refresh))
    if unanswered is not None:
        raise unanswered


def _ask(path: Path, found: RunStatus, now: float) -> tuple[QueueReport | None, SchedulerUnreachable | None]:
    """Ask SLURM; give the error if it does not answer."""
    if found.run.mode is not Mode.SLURM:
        click.echo(f"Run {found.run.key} runs on this machine: there is no SLURM to ask.", err=True)
        return None, None
    from orchestrator.engine.cluster.queue_report import ask_slurm

    try:
        return ask_slurm(path, found, now), None
    except SchedulerUnreachable as error:
        return None, error


def _with_counts(workspace: Workspace, found: RunStatus) -> RunStatus:
    """Look how many tasks of the batch that runs have ended: one listing of a folder."""
    if found.now is None:
        return found
    jobs = tuple(_with_count(workspace, found.run.key, job) for job in found.now.jobs)
    return found._replace(now=found.now._replace(jobs=jobs))


def _with_count(workspace: Workspace, key: str, job: JobView) -> JobView:
    if job.state not in (JobState.QUEUED, JobState.RUNNING) or job.role is not Role.BATCH:
        return job
    from orchestrator.handoff.receipt import receipts_of

    with suppress(Busy):  # the records are worth showing without
        return job._replace(n_tasks_ended=len(receipts_of(workspace.run(key).job(job.token))))
    return job


def render(
    found: RunStatus, now: float, place: str = "", report: QueueReport | None = None, *, is_refreshed: bool = False
) -> str:
    """Write a status for a terminal of 80 columns.

    Parameters
    ----------
    found : RunStatus
        What the records say.
    now : float
        Epoch seconds.
    place : str, default ""
        The options that name the workspace, for the commands that are shown.
    report : QueueReport, optional
        What SLURM says.
    is_refreshed : bool, default False
        Whether SLURM was asked.

    Returns
    -------
    str
    """
    run = found.run
    paragraphs = [
        _headline(run, now, place),
        _steps(found.steps),
        _now_and_next(found, now, place, is_refreshed=is_refreshed),
        [] if report is None else answer(run, report, now, place),
        _failures(_not_asked_for(found.failures, run.state), run.key, place),
        _notes(found.notes, run.key, place),
        _to_type(found, place),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _headline(run: RunView, now: float, place: str) -> list[str]:
    name = f" ({shorten(run.name, 30)})" if run.name else ""
    lines = [f"Run {run.key}{name}: {paint('stalled' if run.stalled else run.state)}"]
    if run.stalled:
        # SLURM's own words are in it, and what has to be mended.
        lines += _wrapped(run.stalled)
    elif run.reason and run.state is not RunState.ACTIVE:
        lines += _wrapped(run.reason)
    began, took = clock(run.started_at or run.created_at, now), duration(run.seconds)
    if run.stalled:
        lines.append(f"  began {began}, last change {clock(run.last_event_at, now)} (after {took})")
    else:
        lines.append(f"  began {began}, {'took' if run.ended_at else 'for'} {took}")
    if run.holder and run.state is RunState.ACTIVE and not run.stalled:
        holder = run.holder
        part_of = f" (job {holder.scheduler_id})" if holder.scheduler_id else ""
        lines.append(f"  by process {holder.pid} on {holder.host}{part_of}")
    if run.study:
        lines.append(f"  study {run.study}")
    return lines + (_ending(run, place) if run.state is RunState.ACTIVE else [])


def _ending(run: RunView, place: str) -> list[str]:
    if run.cancel_requested_at:
        return _typed("  asked to stop; to see it end: ", f"orchestrator cancel {run.key}{place}")
    if run.failing:
        why = _wrapped(f"it has to fail: {run.failing}")
        return [*why, *_typed("  to see it end: ", f"orchestrator advance {run.key}{place}")]
    return []


def _wrapped(text: str, more: str = "  ") -> list[str]:
    return textwrap.wrap(shorten(text, 4 * WIDTH), WIDTH, initial_indent="  ", subsequent_indent=more)


def _steps(steps: Iterable[StepSummary]) -> list[str]:
    rows = []
    for step in steps:
        count = f"{step.n} of {step.n_planned}" if step.depth else ""
        evaluated = step.n_finished or step.n_failed
        rows.append(
            [
                "  " * step.depth + shorten(step.name, WIDTH),
                step.state,
                count,
                str(step.n_finished) if evaluated else "",
                str(step.n_failed) if step.n_failed else "",
                duration(step.seconds),
            ]
        )
    lines = table(["STEP", "STATE", "ITERATIONS", "FINISHED", "FAILED", "TIME"], rows, right=(2, 3, 4, 5), give=0)
    again = [step.name for step in steps if step.n_put_back and (step.n_finished or step.n_failed)]
    if again:
        lines.append(shorten(f"Counted since a resume began there anew: {', '.join(again)}", WIDTH))
    return lines


def _now_and_next(found: RunStatus, now: float, place: str, *, is_refreshed: bool) -> list[str]:
    run = found.run
    if run.stalled is not None and run.mode is Mode.LOCAL:
        return []
    lines = [] if found.now is None else _now(found.now, now)
    lines += as_recorded(found, place, is_refreshed=is_refreshed)
    return lines + ([f"Next: {shorten(found.next, WIDTH - 6)}"] if found.next and not run.stalled else [])


def _now(step_run: StepRunView, now: float) -> list[str]:
    begin = step_run.started_at or step_run.created_at
    took = duration(max(0.0, now - begin))
    lines = [f"Now:  {shorten(step_run.address, 50)}, for {took}"]
    for job in step_run.jobs:
        if job.ended_at is None:
            tasks = ""
            if job.n_tasks_ended is not None:
                tasks = f", {job.n_tasks_ended} of {several(job.n_tasks, 'task')} ended"
            again = f", attempt {job.attempt}" if job.attempt > 1 else ""
            why = f" ({job.reason})" if job.reason else ""
            line = f"job {job.scheduler_id or job.token} {job.state}{again}{tasks}{why}"
            lines.append(f"      {shorten(line, WIDTH - 6)}")
    return lines


# --- what failed ---------------------------------------------------------------------------------


def _not_asked_for(failures: Iterable[Failure], state: RunState) -> list[Failure]:
    """Leave out what ended because the user stopped the run; a job that scancel ended is a failure like any other."""
    asked_for = {FailureKind.INTERRUPTED} | ({FailureKind.CANCELLED} if state is RunState.CANCELLED else set())
    return [failure for failure in failures if failure.kind not in asked_for]


def _failures(failures: Iterable[Failure], key: str, place: str) -> list[str]:
    """Show a cause once, in however many iterations it came."""
    from orchestrator.db.failures import causes

    # The user can't prevent what the cluster did, and it was tried again.
    told = causes(failure for failure in failures if not (failure.tried_again and failure.kind in CLUSTER_KINDS))
    if not told:
        return []
    lines = ["Failures:"]
    for cause in told[:MOST_FAILURES]:
        lines += _cause(cause)
    if len(told) > MOST_FAILURES:
        lines.append(
            f"  and {several(len(told) - MOST_FAILURES, 'more cause')}: orchestrator status {key} --json{place}"
        )
    command = f"orchestrator logs {key} {shlex.quote(told[0].failures[0].address)}{place}"
    return [*lines, *_typed("  Tracebacks: ", command)]


def _cause(cause: Cause) -> list[str]:
    first = cause.failures[0]
    places = len({failure.address for failure in cause.failures})
    where = first.address + (f" and {several(places - 1, 'more iteration')}" if places > 1 else "")
    lines = [shorten(f"{where}: {_who(cause, with_numbers=places == 1)}", WIDTH - 2)]
    if first.why:
        differ = len({failure.why for failure in cause.failures}) > 1
        lines.append(f"  {shorten(('first: ' if differ else '') + first.why, WIDTH - 4)}")
    return [f"  {line}" for line in lines]


def _who(cause: Cause, *, with_numbers: bool) -> str:
    first = cause.failures[0]
    again = ", tried again" if first.tried_again else ""
    if first.what is FailureLevel.EXPERIMENTS:
        numbers = _numbers(cause.rows, cause.n) if with_numbers else ""
        return f"{several(cause.n, 'experiment')} failed{numbers}"
    if first.what is FailureLevel.TASK:
        tasks = sorted({(failure.address, task) for failure in cause.failures for task in failure.tasks})
        numbers = _numbers([task for _, task in tasks], len(tasks)) if with_numbers else ""
        return f"{several(len(tasks), 'task')} failed, {first.kind}{numbers}{again}"
    return f"failed, {first.kind}{again}" if first.kind else f"failed{again}"


def _numbers(numbers: Sequence[int], n: int) -> str:
    some = ", ".join(map(str, numbers[:MOST_NUMBERS]))
    return f" ({some}{', ...' if n > MOST_NUMBERS else ''})" if numbers else ""


def _notes(notes: Sequence[ResultNote], key: str, place: str) -> list[str]:
    lines = []
    for note in notes[:MOST_NOTES]:
        lines += _wrapped(f"{note.address}: {note.why}", more="    ")
    if len(notes) > MOST_NOTES:
        lines.append(f"  and {len(notes) - MOST_NOTES} more: orchestrator status {key} --json{place}")
    return ["Not in the table:", *lines] if lines else []


# --- what to type --------------------------------------------------------------------------------


def _to_type(found: RunStatus, place: str) -> list[str]:
    run = found.run
    if not run.stalled and run.state not in (RunState.FAILED, RunState.CANCELLED):
        return []
    at = f" from {shorten(found.resume_from, 32)}" if found.resume_from else ""
    mended = ", once what failed is mended" if run.state is RunState.FAILED else ""
    resume = f"orchestrator resume {run.key}{place}"
    said = []
    if run.stalled and run.mode is Mode.SLURM:
        said = _typed("What they said who advanced it: ", f"orchestrator logs {run.key} orchestrator{place}")
    lines = said + _typed(f"To go on{at}{mended}: ", resume)
    if run.study and any(failure.kind == FailureKind.EXCEPTION for failure in found.failures) and mended:
        # The run keeps the code that failed: to resume it as it is would fail again.
        lines += _typed("If you mended the study for that: ", f"{resume} --update {source(run)}")
    if run.study and any(failure.kind == FailureKind.REFUSED for failure in found.failures) and mended:
        # Nor does a resume ask for other resources, or another cluster.
        again = f"orchestrator submit {source(run)} --project-job {run.key}{place}"
        lines += _typed("If you mended its resources or the cluster for that: ", again)
    return lines


def _typed(text: str, command: str) -> list[str]:
    """Keep a command in one piece, so that it can be copied."""
    if len(text + command) <= WIDTH:
        return [text + command]
    return [text.rstrip(), " " * (len(text) - len(text.lstrip()) + 2) + command]
