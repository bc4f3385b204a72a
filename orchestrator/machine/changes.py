"""The changes that the records can undergo, as values.

`reconcile` and `decide` return them. `apply` applies them to the model in memory, and `orchestrator.db.moves` to the
database, where a change of state also becomes an event. There is no other way to change the state of a run, a step run
or a job. `orchestrator.db.store` writes the rest of a run's row: its lease, code, cluster and request to cancel.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each command.
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.amounts import plural
from orchestrator.machine.kinds import Doubt, EventKind, Role, StepKind, Stopping
from orchestrator.machine.model import Job, Run, StepRun, TableThen
from orchestrator.machine.states import STEP_RUN_FLAWED, JobState, RunState, StepRunState, may_move
from orchestrator.machine.value import NOTHING, value

__all__ = [
    "AddJob",
    "AddStepRun",
    "Change",
    "FailRun",
    "ForgetAnswer",
    "MoveJob",
    "MoveRun",
    "MoveStepRun",
    "Note",
    "RecordFreeze",
    "RecordHold",
    "RecordJobFile",
    "RecordDoubt",
    "RecordLoginOnly",
    "RecordStopping",
    "RecordSubmissions",
    "RecordWait",
    "RequestTables",
    "Restore",
    "Retry",
    "Withdraw",
    "apply",
    "quarantined",
    "submitting",
]


@value
class MoveRun(NamedTuple):
    """Move the run to a state; `why` becomes its reason."""

    to: RunState
    why: str | None = None


@value
class FailRun(NamedTuple):
    """Record that the run fails as soon as its live jobs are cancelled."""

    why: str


@value
class AddStepRun(NamedTuple):
    """Open the position: add a pending step run."""

    position: int
    iteration: str
    name: str
    kind: StepKind
    epoch: int = 0
    first_attempt: int = 1
    accepts_failed: bool = False


@value
class MoveStepRun(NamedTuple):
    """Move the open step run at a position to a state.

    `n_finished` and `n_failed` count experiments and are given when it ends. `at` is the time when it became active, in
    epoch seconds, if that was before the change is recorded.
    """

    position: int
    to: StepRunState
    why: str | None = None
    n_finished: int | None = None
    n_failed: int | None = None
    until: bool | None = None
    at: float | None = None

    @property
    def is_flawed(self) -> bool:
        """Whether the step run failed or was cancelled."""
        return self.to in STEP_RUN_FLAWED


@value
class RecordFreeze(NamedTuple):
    """Record the result of the freeze of the step run at a position."""

    position: int
    n_experiments: int
    n_tasks: int
    batch_size: int
    manifest: str | None = None
    n_finished_before: int = 0
    n_failed_before: int = 0

    @property
    def counts(self) -> dict[str, Any]:
        """What is recorded of the step run."""
        return dict(zip(self._fields[1:], self[1:], strict=True))


@value
class AddJob(NamedTuple):
    """Plan a job; `position` is None for an orchestrator job."""

    token: str
    role: Role
    position: int | None
    batch: int = 0
    attempt: int = 1
    tasks: str = "0"
    n_tasks: int = 1
    why: str | None = None
    waits_for: str | None = None


@value
class MoveJob(NamedTuple):
    """Move a job to a state.

    Attributes
    ----------
    token : str
        The job's token.
    to : JobState
        The new state.
    why : str or None
        The reason, for a human.
    kind : str or None
        A `FailureKind` if it did not succeed.
    scheduler_id : str or None
        The scheduler's id, if it is new.
    at : float or None
        Epoch seconds when the move happened; None if only the time of its recording is known.
    failed_tasks : str
        Index list of the tasks that ended without a receipt of success.
    n_finished, n_failed : int or None
        Numbers of experiments, given when it ends.
    until : bool or None
        The answer of the loop's `until`, if the job called it.
    detail : mapping
        More for the event, as JSON values: exit code, memory, failures grouped by type and message.
    """

    token: str
    to: JobState
    why: str | None = None
    kind: str | None = None
    scheduler_id: str | None = None
    at: float | None = None
    failed_tasks: str = ""
    n_finished: int | None = None
    n_failed: int | None = None
    until: bool | None = None
    detail: Mapping[str, Any] = NOTHING


@value
class RecordDoubt(NamedTuple):
    """Record what is not known about a job, or that its doubt is resolved.

    Attributes
    ----------
    token : str
        The job's token.
    doubt : Doubt or None
        None if the doubt is resolved.
    since : float or None
        As `Job.doubt_since`.
    reason : str or None
        As `Job.reason`.
    """

    token: str
    doubt: Doubt | None
    since: float | None = None
    reason: str | None = None


@value
class RecordLoginOnly(NamedTuple):
    """Record that nodes may not submit, with the scheduler's message: from now on only login nodes submit."""

    why: str


@value
class RecordStopping(NamedTuple):
    """Record that the tasks of a job have stopped their step early, and later that those that waited were cancelled."""

    token: str
    stopping: Stopping


@value
class RecordHold(NamedTuple):
    """Record that the scheduler was asked to hold or to release what of a job waits in the queue."""

    token: str
    is_held: bool


@value
class RecordJobFile(NamedTuple):
    """Record the SHA-256 of the file of a job that was submitted."""

    token: str
    sha256: str


@value
class RecordSubmissions(NamedTuple):
    """Record which of several submissions of a job counts.

    Attributes
    ----------
    token : str
        The job's token.
    scheduler_id : str or None
        The id of the one that counts; None if it is the recorded one.
    rivals : tuple of str
        The ids of the others, which must be cancelled.
    """

    token: str
    scheduler_id: str | None
    rivals: tuple[str, ...]


@value
class RecordWait(NamedTuple):
    """Record the scheduler's id of the job after whose end an orchestrator job starts."""

    token: str
    waits_for: str


@value
class Withdraw(NamedTuple):
    """Withdraw every step run from a position on: its row stays as history and no longer counts.

    The blocks after the position are called again, even on a table that is already their result. With `forgets`, so is
    the block at the position.
    """

    position: int
    why: str
    forgets: bool = False


@value
class Retry(NamedTuple):
    """Withdraw step runs whose failed experiments are evaluated again, and those from `again_from` on, which run again.

    The step runs between them are suspended: they count again as soon as the step run before them has ended.
    """

    positions: tuple[int, ...]
    again_from: int
    why: str


@value
class ForgetAnswer(NamedTuple):
    """Let the `until` of a loop be called again after the step run at a position, which has called it."""

    position: int


@value
class Restore(NamedTuple):
    """Let the step runs count again that are suspended after the step run at a position."""

    position: int


@value
class RequestTables(NamedTuple):
    """Request that tables are put back as they were when a step began; without any, no longer."""

    tables: tuple[TableThen, ...]


@value
class Note(NamedTuple):
    """An event that moves nothing: a failed task, failed experiments, quarantined results.

    Attributes
    ----------
    what : EventKind
        The kind of event.
    why : str
        One sentence for a human.
    token : str or None
        The token of the job that it is about.
    position : int or None
        The position of the step run that it is about.
    task : int or None
        The task that it is about.
    detail : mapping
        More for the event, as JSON values.
    """

    what: EventKind
    why: str
    token: str | None = None
    position: int | None = None
    task: int | None = None
    detail: Mapping[str, Any] = NOTHING


def quarantined(n: int, *, token: str | None = None, position: int | None = None) -> "list[Change]":
    """Return the note that results were quarantined when they were folded; without any, no note."""
    why = f"{plural(n, 'result')} moved to .archive/quarantine: damaged, or no unfinished experiment has these inputs"
    return [Note(EventKind.RESULTS_QUARANTINED, why, token, position, detail={"n": n})] if n else []


Change = (
    MoveRun
    | FailRun
    | AddStepRun
    | MoveStepRun
    | RecordFreeze
    | AddJob
    | MoveJob
    | RecordDoubt
    | RecordLoginOnly
    | RecordStopping
    | RecordHold
    | RecordJobFile
    | RecordSubmissions
    | RecordWait
    | Withdraw
    | Retry
    | Restore
    | ForgetAnswer
    | RequestTables
    | Note
)


def apply(run: Run, change: Change) -> Run:
    """Return the model with one change applied.

    Raises
    ------
    ValueError
        If the move is not allowed, or the job or step run does not exist: a bug, never an error of the user.
    """
    match change:
        case Note():
            return run
        case MoveRun(to, why):
            _check(run.state, to)
            idle = 0 if to is RunState.ACTIVE else run.idle_wakeups
            return run._replace(state=to, reason=why, failing=None, idle_wakeups=idle, cancel_step=None, is_held=False)
        case FailRun(why):
            return run._replace(failing=why)
        case AddStepRun(position=position, epoch=epoch, first_attempt=first, accepts_failed=accepts):
            return run._replace(step_run=StepRun(position, epoch, first, accepts), suspended=None)
        case MoveStepRun(position=position, to=to):
            step_run = _open(run, position)
            _check(step_run.state, to)
            moved = step_run._replace(state=to, reason=change.why, until=change.until)
            failed = run.n_failed_step_runs + (to in STEP_RUN_FLAWED)
            has_ended = moved.has_ended and run.cancel_step == position
            cancel_step = None if has_ended else run.cancel_step
            return run._replace(step_run=moved, n_failed_step_runs=failed, cancel_step=cancel_step)
        case RecordFreeze(position=position):
            return run._replace(step_run=_open(run, position)._replace(**change.counts))
        case AddJob(position=None):
            return run._replace(
                orchestrators=(*run.orchestrators, _new_job(change)),
                n_orchestrators=run.n_orchestrators + 1,
                idle_wakeups=run.idle_wakeups + 1,
            )
        case AddJob():
            step_run = _open(run, change.position)
            return run._replace(step_run=step_run._replace(jobs=(*step_run.jobs, _new_job(change))))
        case MoveJob(token=token):
            moved_run = _with_job(run, token, lambda job: _moved(job, change))
            return moved_run._replace(idle_wakeups=0) if is_progress(run, change) else moved_run
        case RecordDoubt(token, doubt, since, reason):
            return _with_job(run, token, lambda job: job._replace(doubt=doubt, doubt_since=since, reason=reason))
        case RecordLoginOnly(why):
            return run._replace(login_only=why)
        case RecordStopping(token, stopping):
            return _with_job(run, token, lambda job: job._replace(stopping=stopping))
        case RecordHold(token, is_held):
            return _with_job(run, token, lambda job: job._replace(held=is_held))
        case RecordJobFile(token, sha256):
            return _with_job(run, token, lambda job: job._replace(job_file=sha256))
        case RecordSubmissions(token=token):
            return _with_job(run, token, lambda job: _with_submissions(job, change))
        case RecordWait(token, waits_for):
            return _with_job(run, token, lambda job: job._replace(waits_for=waits_for))
        case Withdraw(position=position):
            is_withdrawn = run.step_run is not None and run.step_run.position >= position
            return run._replace(step_run=None, suspended=None) if is_withdrawn else run
        case ForgetAnswer(position):
            last = run.step_run
            is_last = last is not None and last.position == position
            return run._replace(step_run=last._replace(until=None)) if last is not None and is_last else run
        case RequestTables(tables):
            return run._replace(puts_back=tables)
        case Retry():
            return run._replace(step_run=None, suspended=None)
        case Restore(position):
            if run.suspended is None:
                raise ValueError(f"run {run.key} keeps no step run after position {position}")
            n_failed = run.n_failed_step_runs + run.suspended.n_failed
            return run._replace(step_run=run.suspended.last, suspended=None, n_failed_step_runs=n_failed)


def submitting(job: Job) -> MoveJob:
    """Return the move that records that a job is about to be submitted.

    A job that was refused before keeps the reason, so that `status` continues to show it.
    """
    return MoveJob(job.token, JobState.SUBMITTING, job.reason)


def is_progress(run: Run, move: MoveJob) -> bool:
    """Whether a move means that the scheduler accepted a job of a step."""
    return move.to is JobState.QUEUED and all(job.token != move.token for job in run.orchestrators)


def _check(old: RunState | StepRunState | JobState, new: RunState | StepRunState | JobState) -> None:
    if not may_move(old, new):
        raise ValueError(f"no move is allowed from {type(old).__name__} {old} to {new}")


def _open(run: Run, position: int | None) -> StepRun:
    if run.step_run is None or run.step_run.position != position:
        raise ValueError(f"run {run.key} has no open step run at position {position}")
    return run.step_run


def _new_job(change: AddJob) -> Job:
    return Job(change.token, change.role, change.batch, change.attempt, change.tasks, waits_for=change.waits_for)


def _moved(job: Job, move: MoveJob) -> Job:
    _check(job.state, move.to)
    return job._replace(
        state=move.to,
        reason=move.why,
        kind=move.kind,
        scheduler_id=move.scheduler_id or job.scheduler_id,
        doubt=None,
        doubt_since=None,
        failed_tasks=move.failed_tasks,
        n_finished=job.n_finished if move.n_finished is None else move.n_finished,
        n_failed=job.n_failed if move.n_failed is None else move.n_failed,
        until=job.until if move.until is None else move.until,
        # A submission writes the file, so what is recorded of the former one does not count from here on.
        job_file=None if move.to is JobState.SUBMITTING else job.job_file,
    )


def _with_submissions(job: Job, record: RecordSubmissions) -> Job:
    return job._replace(scheduler_id=record.scheduler_id or job.scheduler_id, rivals=record.rivals)


def _with_job(run: Run, token: str, edit: Any) -> Run:
    def edited(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
        return tuple(edit(job) if job.token == token else job for job in jobs)

    step_run = run.step_run
    if step_run is not None and any(job.token == token for job in step_run.jobs):
        return run._replace(step_run=step_run._replace(jobs=edited(step_run.jobs)))
    if any(job.token == token for job in run.orchestrators):
        # The model keeps no orchestrator jobs that have ended.
        return run._replace(orchestrators=tuple(job for job in edited(run.orchestrators) if not job.has_ended))
    raise ValueError(f"run {run.key} has no job {token}")
