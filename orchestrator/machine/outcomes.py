"""The changes that record the outcome of an effect.

The engine carries out an intent and reports the result; what the result means for the run is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.amounts import plural
from orchestrator.failure_groups import MAX_ROWS
from orchestrator.machine.answers import Accepted, Answer, Refused, RefusedForNow, RefusedHere, Unanswered
from orchestrator.machine.changes import (
    Change,
    FailRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordDoubt,
    RecordFreeze,
    RecordHold,
    RecordLoginOnly,
    RecordStopping,
    RecordSubmissions,
    RecordWait,
    RequestTables,
    quarantined,
)
from orchestrator.machine.facts import Facts
from orchestrator.machine.intents import CancelJobs, Intent, Submit
from orchestrator.machine.kinds import Doubt, EventKind, Stopping
from orchestrator.machine.model import Job, Run
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState

__all__ = [
    "after_cancel",
    "after_collect",
    "after_fold",
    "after_freeze",
    "after_set_dependency",
    "after_submit",
    "collect_failed",
    "fold_failed",
    "freeze_failed",
    "job_held",
    "rivals_cancelled",
    "started_before",
    "tables_not_put_back",
    "tables_put_back",
    "must_wait",
    "waiting_cancelled",
]

MAX_ROWS_SHOWN = 8
"""Row numbers that the sentence of an event lists; the others are only counted."""


def must_wait(intent: Intent, outcome: Sequence[Change]) -> bool:
    """Whether nothing more can be decided until something outside the records changes.

    This is so after a submission that was refused for now, and for jobs that were cancelled and have not ended yet,
    whatever else was seen of them.
    """
    if isinstance(intent, CancelJobs):
        return not any(isinstance(change, MoveJob) for change in outcome)
    refused = any(isinstance(change, MoveJob) and change.to is JobState.PLANNED for change in outcome)
    return isinstance(intent, Submit) and refused


# --- jobs ----------------------------------------------------------------------------------------


def after_submit(job: Job, answer: Answer, *, in_job: bool = False) -> list[Change]:
    """Return the changes after the scheduler has answered a submission.

    Parameters
    ----------
    job : Job
        The job.
    answer : Answer
        The answer.
    in_job : bool, default False
        Whether this process is part of a job, and so runs on a node.
    """
    match answer:
        case RefusedHere(reason) if in_job:
            return [RecordLoginOnly(reason), _left_to_login_node(job, reason)]
        case RefusedHere(reason, is_final):
            return after_submit(job, Refused(reason) if is_final else RefusedForNow(reason))
        case Accepted(scheduler_id, started_at):
            moves: list[Change] = [MoveJob(job.token, JobState.QUEUED, scheduler_id=scheduler_id)]
            if started_at is not None:
                moves.append(MoveJob(job.token, JobState.RUNNING, at=started_at))
            return moves
        case RefusedForNow(reason):
            return [MoveJob(job.token, JobState.PLANNED, reason)]
        case Unanswered(reason):
            return [RecordDoubt(job.token, Doubt.UNANSWERED, reason=reason)]
        case Refused(reason):
            failed = MoveJob(job.token, JobState.FAILED, reason, FailureKind.REFUSED, failed_tasks=job.tasks)
            # Without an orchestrator job nothing would wake the run, and it would stop silently.
            return [failed, FailRun(f"its orchestrator job was refused: {reason}")] if job.is_orchestrator else [failed]


def started_before(job: Job) -> list[Change]:
    """Return the changes if a job that is to be submitted has been started: an older database was restored.

    What it did belongs to records that are lost. The next attempt has another token.
    """
    why = "its job was started before, and the records do not show that: they are older than the files of the run"
    return [MoveJob(job.token, JobState.FAILED, why, FailureKind.INFRASTRUCTURE, failed_tasks=job.tasks)]


def _left_to_login_node(job: Job, reason: str) -> MoveJob:
    """Return what becomes of a job that a node can't submit: an orchestrator job could not submit either."""
    if job.is_orchestrator:
        return MoveJob(job.token, JobState.CANCELLED, reason)
    return MoveJob(job.token, JobState.PLANNED, reason)


def after_set_dependency(token: str, after: str, *, is_done: bool) -> list[Change]:
    """Return the changes after an orchestrator job was made to wait for another job, or had already started."""
    if is_done:
        return [RecordWait(token, after)]
    return [MoveJob(token, JobState.RUNNING, "it started before it could be made to wait for another job")]


def after_cancel(run: Run, tokens: Sequence[str], facts: Facts) -> list[Change]:
    """Return the changes after jobs were cancelled.

    A waiting orchestrator job has ended with that; what became of the others is in the facts.
    """
    waiting = [job.token for job in run.orchestrators if job.token in tokens]
    cancelled = [MoveJob(token, JobState.CANCELLED, "it is no longer needed") for token in waiting]
    return [*cancelled, *(change for change in reconcile(run, facts) if getattr(change, "token", None) not in waiting)]


def rivals_cancelled(token: str) -> list[Change]:
    """Return the changes after the other submissions of a job were cancelled."""
    return [RecordSubmissions(token, None, ())]


def waiting_cancelled(token: str) -> list[Change]:
    """Return the changes after those tasks of a job were cancelled that waited in the queue."""
    return [RecordStopping(token, Stopping.DONE)]


def job_held(token: str, *, is_held: bool) -> list[Change]:
    """Return the changes after the scheduler was asked to hold or to release a job; one that runs is not held."""
    return [RecordHold(token, is_held)]


# --- tables --------------------------------------------------------------------------------------


def tables_put_back() -> list[Change]:
    """Return the changes after the tables are as they were when a step began."""
    return [RequestTables(())]


def tables_not_put_back(problem: str) -> list[Change]:
    """Return the changes if the tables can't be put back; the next resume tries it again."""
    return [MoveRun(RunState.FAILED, f"its tables can't be put back: {problem}")]


def after_freeze(freeze: RecordFreeze, n_quarantined: int) -> list[Change]:
    """Return the changes after the freeze of a step run."""
    return [*quarantined(n_quarantined, position=freeze.position), freeze]


def freeze_failed(position: int, problem: str) -> list[Change]:
    """Return the changes if the table of a step run can't be frozen."""
    return [MoveStepRun(position, StepRunState.FAILED, problem)]


def after_collect(
    position: int, since: float, n_quarantined: int, unmatched: Mapping[str, Sequence[int]]
) -> list[Change]:
    """Return the changes after results were collected into a table.

    Parameters
    ----------
    position : int
        Of the step run that collects.
    since : float
        Epoch seconds when it started.
    n_quarantined : int
        Results that belong to no row of the table.
    unmatched : mapping of str to sequence of int
        By reason, the rows whose files were not collected.
    """
    left = [_files_left(position, rows, why) for why, rows in unmatched.items()]
    done = MoveStepRun(position, StepRunState.SUCCEEDED)
    return [_active(position, since), *quarantined(n_quarantined, position=position), *left, done]


def collect_failed(position: int, since: float, problem: str) -> list[Change]:
    """Return the changes if nothing can be collected into a table."""
    return [_active(position, since), MoveStepRun(position, StepRunState.FAILED, problem)]


def after_fold(run: Run, to: RunState, why: str | None, n_quarantined: int) -> list[Change]:
    """Return the end of a run after all its results were folded into the tables."""
    position = None if run.step_run is None else run.step_run.position
    return [*quarantined(n_quarantined, position=position), MoveRun(to, why)]


def fold_failed(run: Run, to: RunState, why: str | None, problem: str, *, may_pass: bool) -> list[Change] | None:
    """Return the end of a run whose results can't be folded into the tables.

    Parameters
    ----------
    run : Run
        The records.
    to : RunState
        The state in which it would have ended.
    why : str or None
        The reason for that state.
    problem : str
        Why the results can't be folded.
    may_pass : bool
        Whether a later attempt may succeed, because the table is only in use.

    Returns
    -------
    list of Change or None
        None if the run has not ended, and must end later.
    """
    reason = f"results can't be written to the table: {problem}"
    if to is RunState.SUCCEEDED:
        return None if may_pass else [MoveRun(RunState.FAILED, reason)]
    # The run ends nevertheless, and its results stay in their files.
    position = None if run.step_run is None else run.step_run.position
    return [Note(EventKind.RESULTS_NOT_FOLDED, reason, position=position), MoveRun(to, why)]


def _active(position: int, since: float) -> MoveStepRun:
    return MoveStepRun(position, StepRunState.ACTIVE, at=since)


def _files_left(position: int, rows: Sequence[int], why: str) -> Note:
    files = f"{plural(len(rows), 'file')} ({', '.join(map(str, rows[:MAX_ROWS_SHOWN]))}"
    files += ", ...)" if len(rows) > MAX_ROWS_SHOWN else ")"
    detail = {"n": len(rows), "rows": list(rows[:MAX_ROWS])}
    return Note(EventKind.FILES_LEFT, f"{files} left in experiment_sample: {why}", position=position, detail=detail)
