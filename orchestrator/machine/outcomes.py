"""What follows from an effect: the changes that record its outcome.

The engine carries out an intent and reports what came of it; what that means for the run is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.failures import MAX_ROWS
from orchestrator.machine.answers import Accepted, Answer, Refused, RefusedForNow, Unanswered
from orchestrator.machine.changes import (
    Change,
    FailRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordDoubt,
    RecordFreeze,
    RecordSubmissions,
    RecordWait,
    quarantined,
)
from orchestrator.machine.facts import Facts
from orchestrator.machine.intents import CancelJobs, Intent, Submit
from orchestrator.machine.kinds import Doubt, EventKind
from orchestrator.machine.model import Job, Run
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState

__all__ = [
    "after_cancel",
    "after_collect",
    "after_fold",
    "after_freeze",
    "after_repoint",
    "after_submit",
    "collect_failed",
    "fold_failed",
    "freeze_failed",
    "rivals_cancelled",
    "must_wait",
]

NUMBERS_SAID = 8
"""Numbers that the sentence of a note names; its count tells the rest."""


def must_wait(intent: Intent, outcome: Sequence[Change]) -> bool:
    """Whether nothing more can be decided before something outside the records changes.

    True of a submission that was refused for now, and of jobs that were asked to end and have not ended yet.
    """
    if isinstance(intent, CancelJobs):
        return not outcome
    refused = any(isinstance(change, MoveJob) and change.to is JobState.PLANNED for change in outcome)
    return isinstance(intent, Submit) and refused


# --- jobs ----------------------------------------------------------------------------------------


def after_submit(job: Job, answer: Answer) -> list[Change]:
    """Return what the scheduler's answer to a submission means."""
    match answer:
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
            # Without an orchestrator job nothing would wake the run, and it would stop without a word.
            return [failed, FailRun(f"its orchestrator job was refused: {reason}")] if job.is_orchestrator else [failed]


def after_repoint(token: str, after: str, *, done: bool) -> list[Change]:
    """Return what it means that an orchestrator job was pointed at another job, or had started before."""
    if done:
        return [RecordWait(token, after)]
    return [MoveJob(token, JobState.RUNNING, "it had started before it could be pointed at another job")]


def after_cancel(run: Run, tokens: Sequence[str], seen: Facts) -> list[Change]:
    """Return what it means that jobs were asked to end.

    An orchestrator job that only waits is gone with that; what became of all others has to be seen.
    """
    waiting = [job.token for job in run.orchestrators if job.token in tokens]
    gone = [MoveJob(token, JobState.CANCELLED, "it is no longer needed") for token in waiting]
    return [*gone, *(change for change in reconcile(run, seen) if getattr(change, "token", None) not in waiting)]


def rivals_cancelled(token: str) -> list[Change]:
    """Return what it means that the other submissions of a job were asked to end."""
    return [RecordSubmissions(token, None, ())]


# --- tables --------------------------------------------------------------------------------------


def after_freeze(position: int, n_experiments: int, n_tasks: int, batch_size: int, n_quarantined: int) -> list[Change]:
    """Return what the freeze of a step run found."""
    found = RecordFreeze(position, n_experiments, n_tasks, batch_size)
    return [*quarantined(n_quarantined, position=position), found]


def freeze_failed(position: int, problem: str) -> list[Change]:
    """Return what it means that the table of a step run can't be frozen."""
    return [MoveStepRun(position, StepRunState.FAILED, problem)]


def after_collect(
    position: int, since: float, n_quarantined: int, unmatched: Mapping[str, Sequence[int]]
) -> list[Change]:
    """Return what collecting into a table did.

    Parameters
    ----------
    position : int
    since : float
        Epoch seconds when it began.
    n_quarantined : int
        Results that fit no open experiment.
    unmatched : mapping of str to sequence of int
        The rows of files that were left, by the reason.
    """
    left = [_files_left(position, rows, why) for why, rows in unmatched.items()]
    done = MoveStepRun(position, StepRunState.SUCCEEDED)
    return [_active(position, since), *quarantined(n_quarantined, position=position), *left, done]


def collect_failed(position: int, since: float, problem: str) -> list[Change]:
    """Return what it means that nothing can be collected into a table."""
    return [_active(position, since), MoveStepRun(position, StepRunState.FAILED, problem)]


def after_fold(run: Run, to: RunState, why: str | None, n_quarantined: int) -> list[Change]:
    """Return the end of a run whose results are all in the tables."""
    position = None if run.step_run is None else run.step_run.position
    return [*quarantined(n_quarantined, position=position), MoveRun(to, why)]


def fold_failed(run: Run, to: RunState, why: str | None, problem: str, *, may_pass: bool) -> list[Change] | None:
    """Return the end of a run whose results can't be written to the tables.

    Parameters
    ----------
    run : Run
    to : RunState
        How it would have ended.
    why : str or None
    problem : str
    may_pass : bool
        Whether the next try may succeed: the table is in use.

    Returns
    -------
    list of Change or None
        None: it has not ended; try again later.
    """
    broken = f"results can't be put into the table: {problem}"
    if to is RunState.SUCCEEDED:
        return None if may_pass else [MoveRun(RunState.FAILED, broken)]
    # It ends all the same, and keeps the results in their files.
    position = None if run.step_run is None else run.step_run.position
    return [Note(EventKind.RESULTS_NOT_FOLDED, broken, position=position), MoveRun(to, why)]


def _active(position: int, since: float) -> MoveStepRun:
    return MoveStepRun(position, StepRunState.ACTIVE, at=since)


def _files_left(position: int, rows: Sequence[int], why: str) -> Note:
    files = f"{len(rows)} file{'s' if len(rows) > 1 else ''} ({', '.join(map(str, rows[:NUMBERS_SAID]))}"
    files += ", ...)" if len(rows) > NUMBERS_SAID else ")"
    detail = {"n": len(rows), "rows": list(rows[:MAX_ROWS])}
    return Note(EventKind.FILES_LEFT, f"{files} left in experiment_sample: {why}", position=position, detail=detail)
