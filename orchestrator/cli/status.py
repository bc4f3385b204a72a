"""`orchestrator status`.

Which command continues a run, and which ones follow failed experiments, is decided in `orchestrator.cli.outcome`, also
for `wait` and `logs`.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.outcome import commands_after_failures, has_full_disk, next_command, request_more
from orchestrator.cli.render import (
    clock,
    coloured,
    duration,
    echo,
    how_stopped,
    is_foreign_run,
    plural,
    screen_width,
    shorten,
    state_of,
    study_argument,
    table,
    to_json,
)
from orchestrator.cli.slurm_status import queue_lines, record_lines, stuck_lines, waiting_lines
from orchestrator.cli.workspace import examples, key_of, typed_options, workspace_of, workspace_options
from orchestrator.errors import Busy, SchedulerUnreachable
from orchestrator.machine.kinds import FailureLevel, Mode
from orchestrator.machine.queue_time import queue_seconds
from orchestrator.machine.stalled import NO_JOB_LEFT
from orchestrator.machine.states import CLUSTER_KINDS, FailureKind, RunState, requested_kinds
from orchestrator.trust import name_of_user
from orchestrator.visible import visible_values
from orchestrator.wrapping import above_command

if TYPE_CHECKING:
    from orchestrator.db.failures import Cause
    from orchestrator.db.views import (
        Failure,
        ResultNote,
        RunStatus,
        RunView,
        StepRunView,
        StepSummary,
    )
    from orchestrator.engine.cluster.queue_report import QueueReport
    from orchestrator.workspace import Workspace

__all__ = [
    "SECONDS_TO_ASK_BRIEFLY",
    "ask_briefly",
    "command",
    "is_queued",
    "is_silent",
    "read_status",
    "render",
    "with_answer",
]

MOST_FAILURES = MOST_NOTES = 5
"""Causes of failures, and notes on results that are not in the table, that are shown; `--json` has all."""

QUIET = 10.0
"""Seconds without a change of the records after which SLURM's answer says whether the run is alive."""

SECONDS_TO_ASK_BRIEFLY = 5.0
"""Time limit of that question."""

SHORT_PAUSE = 1.0
"""Seconds between a stop and a resume, or in the queue, that are not shown."""

MOST_NUMBERS = 8
"""Experiments or tasks that are listed for one cause."""


@click.command(
    epilog=examples(
        "orchestrator status",
        "orchestrator status 1795531215 --json",
        "orchestrator status --watch",
        "orchestrator status --refresh",
    )
)
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all details, as JSON.")
@click.option("--refresh", is_flag=True, help="Also ask SLURM, and show its answer.")
@click.option("--watch", "is_watched", is_flag=True, help="Show the status until the run has ended.")
@workspace_options
def command(
    run: str | None, as_json: bool, refresh: bool, is_watched: bool, rootdir: Path | None, db: Path | None
) -> None:
    """Show what a run did, what failed and why, and what is next.

    RUN defaults to the latest run. The status is read from the records and from the files of the tasks that run;
    nothing is written. SLURM is asked why tasks wait, and, if the records have not changed for some seconds, whether a
    job of the run is left; only if none is, its whole answer is shown. With --refresh, its answer is shown in any case;
    if it does not answer, only the records are shown, and the exit code is 75.

    With --watch, the status is drawn again and again, or, without a terminal, a line is printed when something has
    changed. It ends with the run, with the exit code of `wait`. Ctrl-C ends only the watching.
    """
    from orchestrator.db.views import json_values

    workspace, now = workspace_of(rootdir, db), time.time()
    if is_watched:
        if as_json or refresh:
            raise click.UsageError("--watch can't be combined with --json or --refresh.")
        from orchestrator.cli.watch import watch

        watch(workspace, key_of(workspace, run))
    status = read_status(workspace, run, now, whole=as_json)
    unanswered: SchedulerUnreachable | None = None
    if refresh:
        report, unanswered = _ask(workspace.database, status, now)
    else:
        report = ask_briefly(workspace.database, status, now)
    status = with_answer(status, report, now)
    if as_json:
        echo(to_json({**json_values(status), "slurm": report} if refresh else status))
    else:
        status, report = visible_values((status, report))
        click.echo(render(status, now, typed_options(), report, is_refreshed=refresh))
    if unanswered is not None:
        raise unanswered


def read_status(workspace: Workspace, key: str | None, now: float, *, whole: bool = False) -> RunStatus:
    """Return the status of a run, from the records and from the files of the tasks that run."""
    from orchestrator.db.status import run_status

    status = run_status(workspace.database, key, now, whole=whole)
    if status.now is None:
        return status
    from orchestrator.engine.live import live_status

    return live_status(workspace, status, now)


def with_answer(status: RunStatus, report: QueueReport | None, now: float) -> RunStatus:
    """Return a status that is stalled, or not, as SLURM's answer says."""
    if report is None:
        return status
    run = status.run._replace(stalled=report.stalled)
    if status.run.stalled and not run.stalled:
        run = run._replace(seconds=now - (run.started_at or run.created_at) - run.idle_seconds)
    return status._replace(run=run)


def _ask(path: Path, status: RunStatus, now: float) -> tuple[QueueReport | None, SchedulerUnreachable | None]:
    """Return SLURM's answer, or the error if there is none."""
    if is_foreign_run(status.run):
        owner = name_of_user(status.run.uid)
        echo(f"Run {status.run.key} belongs to {owner}. SLURM is not asked: it may hide the jobs of others.", err=True)
        return None, None
    if status.run.mode is not Mode.SLURM:
        echo(f"Run {status.run.key} runs on this machine, not on SLURM: --refresh has no effect.", err=True)
        return None, None
    from orchestrator.engine.cluster.queue_report import ask_slurm

    try:
        return ask_slurm(path, status, now), None
    except SchedulerUnreachable as error:
        return None, error


def ask_briefly(path: Path, status: RunStatus, now: float) -> QueueReport | None:
    """Return SLURM's answer, for why jobs wait; None if it does not answer soon.

    If no job of the run is left although the records show some, they may have died at once. That is believed only if
    the records have not changed for some time.
    """
    is_quiet = _is_quiet(status.run, now)
    if not _can_be_asked_about(status.run) or not (is_quiet or status.now):
        return None
    from orchestrator.engine.cluster.queue_report import ask_slurm

    try:
        report = ask_slurm(path, status, now, seconds=SECONDS_TO_ASK_BRIEFLY)
    except (SchedulerUnreachable, Busy):
        return None
    return report if is_quiet else report._replace(stalled=None)


def is_silent(run: RunView, now: float) -> bool:
    """Whether only SLURM's answer says if a run that is active in the records is alive."""
    return _can_be_asked_about(run) and _is_quiet(run, now)


def _can_be_asked_about(run: RunView) -> bool:
    # squeue is asked for the jobs of this user only.
    is_open = run.mode is Mode.SLURM and run.state is RunState.ACTIVE and not run.stalled
    return is_open and not is_foreign_run(run)


def _is_quiet(run: RunView, now: float) -> bool:
    return not run.holder and now - run.last_event_at >= QUIET


def render(
    status: RunStatus, now: float, options: str = "", report: QueueReport | None = None, *, is_refreshed: bool = False
) -> str:
    """Write a status for a terminal, of at least 80 columns.

    Parameters
    ----------
    status : RunStatus
        The status, as read from the records.
    now : float
        Epoch seconds.
    options : str, default ""
        The options that name the workspace, for the commands that are shown.
    report : QueueReport, optional
        SLURM's answer.
    is_refreshed : bool, default False
        Whether SLURM was asked.
    """
    run = status.run
    has_answer = report is not None and (is_refreshed or report.stalled is not None)
    paragraphs = [
        _headline(run, now, options),
        [*_steps(status.steps), *_removed(status)],
        _now_and_next(status, now, options, None if has_answer else report, has_answer=has_answer or is_refreshed),
        _slurm(run, report, now, options, is_whole=has_answer),
        _failures(_shown(status.failures, run), run.key, options),
        _notes(status.notes, run.key, options),
        _next_commands(status, options, report),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _slurm(run: RunView, report: QueueReport | None, now: float, options: str, *, is_whole: bool) -> list[str]:
    """Write SLURM's answer, or of it only what to type for jobs that will not start by themselves."""
    if report is None:
        return []
    return queue_lines(run, report, now, options) if is_whole else stuck_lines(run, report, options)


def _headline(run: RunView, now: float, options: str) -> list[str]:
    name = f" ({shorten(run.name, 30)})" if run.name else ""
    stopped = "" if run.held_at or run.stopped_at is None else f" ({how_stopped(run, now)})"
    lines = [f"Run {run.key}{name}: {coloured(state_of(run))}{stopped}"]
    if run.stalled and not run.held_at and not stopped:
        # It contains SLURM's message, and what to fix.
        lines += _wrapped(run.stalled)
    elif run.reason and run.state is not RunState.ACTIVE:
        lines += _wrapped(run.reason)
    started, took = clock(run.started_at or run.created_at, now), duration(run.seconds)
    if stopped:
        lines.append(f"  started {started}, ran for {took}; all results are kept")
    elif run.stalled:
        lines.append(f"  started {started}, last change {clock(run.last_event_at, now)} (after {took})")
    else:
        queued = f", of which {duration(run.queue_seconds)} in the queue" if run.queue_seconds >= SHORT_PAUSE else ""
        idle = f", idle for {duration(run.idle_seconds)}" if run.idle_seconds >= SHORT_PAUSE else ""
        lines.append(f"  started {started}, {'took' if run.ended_at else 'active for'} {took}{queued}{idle}")
    if run.holder and run.state is RunState.ACTIVE and not run.stalled:
        holder = run.holder
        part_of = f" (job {holder.scheduler_id})" if holder.scheduler_id else ""
        lines.append(f"  advanced by process {holder.pid} on {holder.host}{part_of}")
    if run.study:
        lines.append(f"  study {run.study}")
    if run.forked_from:
        lines.append(f"  forked from run {run.forked_from} at {run.forked_step}")
    if is_foreign_run(run):
        return [*lines, f"  belongs to {name_of_user(run.uid)}: you can read it, but not change it"]
    return lines + (_commands_of_active_run(run, options) if run.state is RunState.ACTIVE else [])


def _wrapped(text: str, more: str = "  ") -> list[str]:
    import textwrap

    return textwrap.wrap(shorten(text, 4 * screen_width()), screen_width(), initial_indent="  ", subsequent_indent=more)


def _steps(steps: Sequence[StepSummary]) -> list[str]:
    """Write a line for each step; its time in the queue is not in its time."""
    rows, have_waited = [], sum(step.queue_seconds for step in steps) >= SHORT_PAUSE
    for step in steps:
        count = f"{step.n} of {step.n_planned}" if step.depth else ""
        evaluated = step.n_finished or step.n_failed
        rows.append(
            [
                "  " * step.depth + shorten(step.name, screen_width()),
                step.state,
                count,
                str(step.n_finished) if evaluated else "",
                str(step.n_failed) if step.n_failed else "",
                *([duration(step.queue_seconds) if step.queue_seconds else ""] if have_waited else []),
                duration(None if step.seconds is None else max(0.0, step.seconds - step.queue_seconds)),
            ]
        )
    header = ["STEP", "STATE", "ITERATIONS", "FINISHED", "FAILED", *(["QUEUE"] if have_waited else []), "TIME"]
    return table(header, rows, right=range(2, len(header)), flexible=0)


def _removed(status: RunStatus) -> list[str]:
    """Write how many experiments no step counts, because a loop has become shorter."""
    n_finished, n_failed = status.n_removed_finished, status.n_removed_failed
    if not n_finished + n_failed:
        return []
    counts = f"{n_finished} finished" + (f", {n_failed} failed" if n_failed else "")
    return _wrapped(f"not counted: {counts}, in iterations that are no longer in the pipeline")


def _now_and_next(
    status: RunStatus, now: float, options: str, report: QueueReport | None, *, has_answer: bool
) -> list[str]:
    run = status.run
    if run.stalled is not None and run.mode is Mode.LOCAL:
        return []
    is_over = run.stalled is not None and NO_JOB_LEFT in run.stalled
    lines = [] if status.now is None else _now(status.now, now, report, run.mode, is_over=is_over)
    lines += record_lines(status, options, has_answer=has_answer)
    return lines + ([f"Next: {shorten(status.next, screen_width() - 6)}"] if status.next and not run.stalled else [])


def is_queued(step_run: StepRunView, mode: Mode) -> bool:
    """Whether the jobs of a step run are in the queue of the cluster, and none has started."""
    is_accepted = any(job.queued_at is not None for job in step_run.jobs)
    return mode is Mode.SLURM and is_accepted and all(job.started_at is None for job in step_run.jobs)


def _now(step_run: StepRunView, now: float, report: QueueReport | None, mode: Mode, *, is_over: bool) -> list[str]:
    seconds = now - (step_run.started_at or step_run.created_at)
    waited = queue_seconds(step_run.jobs, now) if mode is Mode.SLURM else 0.0
    ran = f"for {duration(max(0.0, seconds - waited))}"
    took = f"in the queue for {duration(waited)}" if is_queued(step_run, mode) else ran
    left = "" if step_run.seconds_left is None else f", about {duration(step_run.seconds_left)} left"
    lines = [f"Now:  {shorten(step_run.address, 36)}, {took}{left}"]
    if step_run.n_all is not None:
        lines.append(f"      {_experiments(step_run, is_over=is_over)}")
    for job in step_run.jobs:
        if job.ended_at is None:
            tasks = ""
            if job.n_tasks_ended is not None:
                tasks = f", {job.n_tasks_ended} of {plural(job.n_tasks, 'task')} ended"
            again = f", attempt {job.attempt}" if job.attempt > 1 else ""
            why = f" ({job.reason})" if job.reason else ""
            line = f"job {job.scheduler_id or job.token} {job.state}{again}{tasks}{why}"
            lines.append(f"      {shorten(line, screen_width() - 6)}")
            lines += [f"      {shorten(text, screen_width() - 6)}" for text in waiting_lines(job, report)]
    return lines


def _experiments(step_run: StepRunView, *, is_over: bool) -> str:
    counts = (
        (step_run.n_finished, "finished"),
        (step_run.n_failed, "failed"),
        (step_run.n_running, "were running" if is_over else "running"),
        (step_run.n_waiting, "waiting"),
    )
    return ", ".join(f"{n} {what}" for n, what in counts if n) + f", of {plural(step_run.n_all or 0, 'experiment')}"


# --- what failed ---------------------------------------------------------------------------------


def _shown(failures: Iterable[Failure], run: RunView) -> list[Failure]:
    """Leave out what the user has stopped with the run, and a step whose failure the headline and its causes say."""
    requested = requested_kinds(run.state)
    found = [failure for failure in failures if failure.kind not in requested]
    explained = {failure.address for failure in found if failure.what is not FailureLevel.STEP}
    return [failure for failure in found if not (failure.address in explained and _is_in_headline(failure, run))]


def _is_in_headline(failure: Failure, run: RunView) -> bool:
    return failure.what is FailureLevel.STEP and bool(failure.why) and (run.reason or "").endswith(failure.why or "")


def _failures(failures: Iterable[Failure], key: str, options: str) -> list[str]:
    """Write each cause once, even if it occurred in many iterations."""
    from orchestrator.db.failures import group_by_cause

    # A failure of the cluster that was retried needs no action of the user.
    shown = group_by_cause(
        failure for failure in failures if not (failure.was_retried and failure.kind in CLUSTER_KINDS)
    )
    if not shown:
        return []
    lines = ["Failures:"]
    for cause in shown[:MOST_FAILURES]:
        lines += _cause(cause)
    if len(shown) > MOST_FAILURES:
        lines.append(
            f"  and {plural(len(shown) - MOST_FAILURES, 'more cause')}: orchestrator status {key} --json{options}"
        )
    first = shown[0].failures[0]
    if first.was_retried:
        command = f"orchestrator logs {key} {shlex.quote(first.address)}{options}"
        return [*lines, *above_command("  Logs and tracebacks: ", command)]
    return [*lines, *above_command("  Inputs and tracebacks: ", f"orchestrator failures {key}{options}")]


def _cause(cause: Cause) -> list[str]:
    first = cause.failures[0]
    n_addresses = len({failure.address for failure in cause.failures})
    where = first.address + (f" and {plural(n_addresses - 1, 'more iteration')}" if n_addresses > 1 else "")
    lines = [shorten(f"{where}: {_affected(cause, with_numbers=n_addresses == 1)}", screen_width() - 2)]
    if first.why:
        differ = len({failure.why for failure in cause.failures}) > 1
        lines.append(f"  {shorten(('first: ' if differ else '') + first.why, screen_width() - 4)}")
    if first.inputs and first.rows:
        inputs = ", ".join(f"{name}={_text_of(value)}" for name, value in first.inputs.items())
        lines.append(f"  {shorten(f'experiment {first.rows[0]}: {inputs}', screen_width() - 4)}")
    return [f"  {line}" for line in lines]


def _text_of(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _affected(cause: Cause, *, with_numbers: bool) -> str:
    first = cause.failures[0]
    retried = ", retried" if first.was_retried else ""
    if first.what is FailureLevel.EXPERIMENTS:
        numbers = _numbers(cause.rows, cause.n) if with_numbers else ""
        return f"{plural(cause.n, 'experiment')} failed{numbers}"
    if first.what is FailureLevel.TASK:
        tasks = sorted({(failure.address, task) for failure in cause.failures for task in failure.tasks})
        numbers = _numbers([task for _, task in tasks], len(tasks)) if with_numbers else ""
        return f"{plural(len(tasks), 'task')} failed, {first.kind}{numbers}{retried}"
    return f"failed, {first.kind}{retried}" if first.kind else f"failed{retried}"


def _numbers(numbers: Sequence[int], n: int) -> str:
    some = ", ".join(map(str, numbers[:MOST_NUMBERS]))
    return f" ({some}{', ...' if n > MOST_NUMBERS else ''})" if numbers else ""


def _notes(notes: Sequence[ResultNote], key: str, options: str) -> list[str]:
    lines = []
    for note in notes[:MOST_NOTES]:
        lines += _wrapped(f"{note.address}: {note.why}", more="    ")
    if len(notes) > MOST_NOTES:
        lines.append(f"  and {len(notes) - MOST_NOTES} more: orchestrator status {key} --json{options}")
    return ["Results not in the table:", *lines] if lines else []


# --- commands to type ----------------------------------------------------------------------------


def _commands_of_active_run(run: RunView, options: str) -> list[str]:
    """Write what to type for an active run that waits for its user: held, ending, or driven from a login node."""
    if run.held_at and not run.cancel_requested_at and not run.failing:
        since = "  nothing new is started"
        return [since, *above_command("  to continue it: ", f"orchestrator release {run.key}{options}")]
    if run.cancel_requested_at:
        return above_command("  cancel requested; to complete it: ", f"orchestrator cancel {run.key}{options}")
    if run.failing:
        why = _wrapped(f"it is failing: {run.failing}")
        return [*why, *above_command("  to complete that: ", f"orchestrator advance {run.key}{options}")]
    if run.login_only and not run.stalled and not run.holder:
        return [
            "  Nodes of this cluster may not submit jobs. Keep this running on a login node:",
            f"    {_drive(run, options)}",
        ]
    return []


def _drive(run: RunView, options: str) -> str:
    return f"orchestrator wait {run.key} --drive{options}"


def _never_began(status: RunStatus, report: QueueReport | None) -> bool:
    """Whether the run is stalled because a job ended before it began its work: `submit` checks the cluster first."""
    died = report is not None and any(job.never_began for job in report.jobs)
    return died or any(
        failure.kind == FailureKind.NOT_STARTED and not failure.was_retried for failure in status.failures
    )


_OF_THE_STUDY = (FailureKind.EXCEPTION, None)
"""Kinds of failures that a change of the study can fix; None: a step failed without a job, because of its table."""


def _step_that_stores(status: RunStatus) -> str | None:
    """Return the step before one that failed without a job, because it had no table: it has to store one."""
    if any(failure.kind is not None for failure in status.failures):
        return None
    pairs = zip(status.steps, status.steps[1:], strict=False)
    return next(
        (before.name for before, step in pairs if step.name == status.resume_from and _may_store(before, step)), None
    )


def _first_if_undeclared(status: RunStatus) -> str | None:
    """Return the first step if an output was not in the domain, which was stored with the table."""
    from orchestrator.definition.expected_outputs import UNDECLARED

    found = any(UNDECLARED in (failure.why or "") for failure in status.failures)
    return status.steps[0].name if found else None


def _may_store(before: StepSummary, step: StepSummary) -> bool:
    has_evaluated = before.n_finished or before.n_failed
    return step.needs_job and before.needs_job and not (has_evaluated or before.depth or step.depth)


def _next_commands(status: RunStatus, options: str, report: QueueReport | None) -> list[str]:
    """Write what to type for a run that has ended or does not continue by itself; which: `orchestrator.cli.outcome`."""
    run = status.run
    about_failed = [
        line
        for text, command in ([] if is_foreign_run(run) else commands_after_failures(run, options))
        # If they are why the run failed, `resume --update` is below: it evaluates them again, too.
        if not run.has_too_many_failed or " --update " not in command
        for line in above_command(text, command)
    ]
    if run.held_at or (not run.stalled and run.state not in (RunState.FAILED, RunState.CANCELLED)):
        return about_failed
    at = f" from {shorten(status.resume_from, 32)}" if status.resume_from else ""
    has_failed = run.state is RunState.FAILED
    resume = f"orchestrator resume {run.key}{options}"
    never_began = _never_began(status, report)
    about, command = next_command(run, never_began=never_began, at=at)
    lines = above_command(about, f"{command}{options}")
    if is_foreign_run(run):
        return lines
    lines = [*_requests(status, options), *lines]
    if run.stalled and run.mode is Mode.SLURM:
        lines = [*above_command("Orchestrator log: ", f"orchestrator logs {run.key} orchestrator{options}"), *lines]
    if never_began or (run.stalled and run.login_only):
        return lines
    if has_full_disk(run):
        return [*lines, *about_failed]
    again = f"orchestrator submit {study_argument(run)} --project-job {run.key}{options}"
    before = _step_that_stores(status) or _first_if_undeclared(status) if has_failed else None
    again_from = resume if before is None else f"{resume} --from-step {shlex.quote(before)}"
    if before is not None and not _first_if_undeclared(status):
        lines += above_command("To repeat the step before it, too: ", again_from)
    if run.study and has_failed and any(failure.kind in _OF_THE_STUDY for failure in status.failures):
        # The run has stored the code that failed: a plain resume would fail again.
        lines += above_command("If you changed the study for that: ", f"{again_from} --update {study_argument(run)}")
    if run.study and any(failure.kind == FailureKind.REFUSED for failure in status.failures) and has_failed:
        # It has also stored the resources and the cluster.
        lines += above_command("If you changed its resources or the cluster for that: ", again)
    return [*lines, *about_failed]


def _requests(status: RunStatus, options: str) -> list[str]:
    """Return what to type before a run continues whose jobs had too little memory or time."""
    of_jobs = [
        failure
        for failure in status.failures
        if failure.what is not FailureLevel.EXPERIMENTS and not failure.was_retried
    ]
    commands = dict.fromkeys(request_more(status.run, failure.name, failure.kind) for failure in of_jobs)
    return [
        line
        for command in commands
        if command
        for line in above_command("To request more first: ", f"{command}{options}")
    ]
