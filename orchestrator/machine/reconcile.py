"""Make the records agree with what was observed.

Theory of operation
-------------------
`reconcile` is the first half of an advance. It takes the records (`Run`) and what was observed (`Facts`), and returns
the changes that make the records true. It decides nothing about the run: that is `decide`, which reads only records.

For each job that the scheduler should know there is at most one fact. The first rule that applies counts:

1. All receipts are there. The job has ended, whatever the scheduler says: it may lag behind.
2. The scheduler lists the job as live. It is queued or running. A state that is unknown here counts as live.
3. The scheduler says that the job is over. Each task without a receipt has failed, with the scheduler's reason. On a
   shared file system receipts of other machines may appear late, so this is believed after the grace only
   (`SlurmCluster.grace`; 0 s on this machine).
4. The scheduler answers, and the job is not listed. One such answer proves nothing. After a second one, a grace later,
   a job without an id has never arrived and is planned again under the same token; a job with an id is lost.
5. The scheduler does not answer, or was not asked. Nothing follows.

What is not certain yet is recorded as a doubt (`Doubt`), with the time of the first answer that left it open. So the
grace is measured across processes. If two submissions carry one token, the fact names the one that counts and its
rivals; they are recorded here and cancelled by an intent of `decide`.

Called again with the same facts after its changes were applied, it returns no changes: an advance may die at any point
and start from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.failure_groups import FailureGroup, group_of
from orchestrator.indexes import format_indexes, parse_indexes
from orchestrator.machine.changes import (
    Change,
    MoveJob,
    Note,
    RecordDoubt,
    RecordStopping,
    RecordSubmissions,
    quarantined,
)
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.kinds import Doubt, EventKind, Role, Stopping
from orchestrator.machine.model import Job, Run
from orchestrator.machine.states import (
    CLUSTER_KINDS,
    JOB_WITH_SCHEDULER,
    RETRYABLE_KINDS,
    FailureKind,
    JobState,
)

__all__ = ["reconcile"]

KINDS_BY_PRECEDENCE = (
    FailureKind.STOPPED,
    FailureKind.INTERRUPTED,
    *sorted(CLUSTER_KINDS),
    *sorted(RETRYABLE_KINDS),
    FailureKind.EXCEPTION,
    FailureKind.CANCELLED,
)
"""A job whose tasks failed in several ways gets the first of these kinds.

The first is never retried: the step itself has ended the job. After it come the kinds that are always retried, those
that are retried a fixed number of times, those that the user may have retried, and those that are not."""


_ENDED_BY_STOP = (FailureKind.CANCELLED, FailureKind.INFRASTRUCTURE)
"""The kinds that the scheduler may give a task that was cancelled because its step stops."""

_WHY_STOPPED = "cancelled in the queue, because its step stopped early"


def reconcile(run: Run, facts: Facts) -> list[Change]:
    """Return the changes that make the records agree with what was observed.

    Parameters
    ----------
    run : Run
        The records.
    facts : Facts
        What was observed. Nothing follows for a job without a fact: it was not asked about.

    Returns
    -------
    list of Change
        In the order in which they must be applied. A second call after they were applied returns none.
    """
    changes: list[Change] = []
    for job in (*run.live_jobs, *run.orchestrators):
        fact = facts.jobs.get(job.token)
        if job.state in JOB_WITH_SCHEDULER and fact is not None:
            changes += _reconcile_job(job, fact, facts)
    return changes


def _reconcile_job(job: Job, fact: JobFact, facts: Facts) -> list[Change]:
    tasks = parse_indexes(job.tasks)
    if not job.is_orchestrator and all(task in fact.receipts for task in tasks):
        return [*_moves_to_running(job, fact), *_end_job(job, fact, tasks)]
    match fact.seen:
        case Seen.UNANSWERED:
            return []
        case Seen.ABSENT:
            return _reconcile_absent(job, fact, facts, tasks)
        case Seen.OVER if fact.receipts_may_follow and not _grace_has_passed(job, Doubt.RECEIPTS_MISSING, facts):
            # The job arrived, and its id is known. If SLURM forgets it now, it must not be submitted again.
            doubt = _record_doubt(job, Doubt.RECEIPTS_MISSING, facts)
            return [*_moves_to_queued(job, fact), *_submissions(job, fact), *doubt]
        case Seen.OVER:
            # Another submission could still run beside the retry.
            return [*_moves_to_over(job, fact), *_submissions(job, fact), *_end_job(job, fact, tasks)]
        case Seen.RUNNING:
            return [*_moves_to_running(job, fact), *_still_listed(job, fact)]
        case Seen.QUEUED if job.state is JobState.RUNNING and not job.is_orchestrator:
            requeued = MoveJob(job.token, JobState.QUEUED, "requeued by the scheduler")
            return [requeued, *_submissions(job, fact)]
        case _:
            # An orchestrator job that SLURM requeued stays RUNNING in the records. It starts again without waiting for
            # the job of a step, so another orchestrator job must wait for that.
            return [*_moves_to_queued(job, fact), *_still_listed(job, fact)]


def _moves_to_queued(job: Job, fact: JobFact) -> list[Change]:
    """Return the move that adopts a job whose submission was interrupted; nothing for one that is recorded."""
    if job.state is not JobState.SUBMITTING:
        return []
    return [MoveJob(job.token, JobState.QUEUED, scheduler_id=fact.scheduler_id or job.token)]


def _moves_to_running(job: Job, fact: JobFact) -> list[Change]:
    moves = _moves_to_queued(job, fact)
    if job.state is not JobState.RUNNING:
        starts = [receipt.started_at for receipt in fact.receipts.values()]
        start = fact.started_at if fact.started_at is not None else min(starts, default=None)
        moves.append(MoveJob(job.token, JobState.RUNNING, at=start))
    return moves


def _moves_to_over(job: Job, fact: JobFact) -> list[Change]:
    # A job that was cancelled while it waited has never run. For an orchestrator job this is not known.
    has_run = fact.started_at is not None or bool(fact.receipts) or job.is_orchestrator
    return _moves_to_running(job, fact) if has_run else _moves_to_queued(job, fact)


def _still_listed(job: Job, fact: JobFact) -> list[Change]:
    is_new = fact.has_stopped and job.stopping is None
    stop = [RecordStopping(job.token, Stopping.FOUND)] if is_new else []
    return [*_doubt_while_listed(job, fact), *_submissions(job, fact), *stop]


def _doubt_while_listed(job: Job, fact: JobFact) -> list[Change]:
    """Return the doubt about a job that the scheduler lists: none, unless it lists the job in an unknown state."""
    # A job in SUBMITTING moves to QUEUED, and a move ends every doubt.
    recorded = None if job.state is JobState.SUBMITTING else (job.doubt, job.reason)
    if fact.unknown_state is not None:
        doubt = (Doubt.UNKNOWN_STATE, fact.unknown_state)
        return [] if recorded == doubt else [RecordDoubt(job.token, doubt[0], reason=doubt[1])]
    return [RecordDoubt(job.token, None)] if recorded is not None and job.doubt is not None else []


def _submissions(job: Job, fact: JobFact) -> list[Change]:
    is_another = None not in (job.scheduler_id, fact.scheduler_id) and job.scheduler_id != fact.scheduler_id
    if not is_another and fact.rivals == job.rivals:
        return []
    return [RecordSubmissions(job.token, fact.scheduler_id if is_another else None, fact.rivals)]


def _reconcile_absent(job: Job, fact: JobFact, facts: Facts, tasks: list[int]) -> list[Change]:
    """Return the changes of a job that the scheduler does not list.

    It is in doubt for the grace. If it is still absent then, one whose submission was interrupted, without a receipt,
    never arrived, and is submitted again; any other one is lost.
    """
    if not _grace_has_passed(job, Doubt.UNLISTED, facts):
        return _record_doubt(job, Doubt.UNLISTED, facts)
    if job.state is JobState.SUBMITTING and not fact.receipts:
        return [MoveJob(job.token, JobState.PLANNED, "it never reached the scheduler")]
    lost = JobFact(
        Seen.ABSENT,
        kind=FailureKind.INFRASTRUCTURE,
        reason="the scheduler answered and does not know the job",
        receipts=fact.receipts,
        failed_tasks=fact.failed_tasks,
    )
    # Its receipts show that it arrived, although its id was never recorded.
    arrived = _moves_to_running(job, lost) if job.state is JobState.SUBMITTING else []
    return [*arrived, *_end_job(job, lost, tasks, JobState.LOST)]


def _record_doubt(job: Job, doubt: Doubt, facts: Facts) -> list[Change]:
    return [] if job.doubt is doubt else [RecordDoubt(job.token, doubt, facts.now, job.reason)]


def _grace_has_passed(job: Job, doubt: Doubt, facts: Facts) -> bool:
    """Whether the grace has passed since the first answer that raised this doubt.

    The time of another kind of doubt does not count.
    """
    since = facts.now if job.doubt is not doubt or job.doubt_since is None else job.doubt_since
    return facts.now - since >= facts.grace


def _end_job(job: Job, fact: JobFact, tasks: list[int], ended: JobState | None = None) -> list[Change]:
    if job.is_orchestrator:
        # Its work is in the records; how it ended decides nothing.
        state = ended or (_state_of_failure(fact.kind) if fact.kind else JobState.SUCCEEDED)
        return [MoveJob(job.token, state, fact.reason, fact.kind, at=fact.ended_at)]
    failed = _failed_tasks(job, fact, tasks)
    receipts = [fact.receipts[task] for task in tasks if task in fact.receipts]
    move = MoveJob(
        job.token,
        JobState.SUCCEEDED,
        at=_end_time(fact, receipts, is_complete=len(receipts) == len(tasks)),
        n_finished=sum(receipt.n_finished for receipt in receipts),
        n_failed=sum(receipt.n_failed for receipt in receipts),
        until=next((receipt.until for receipt in receipts if receipt.until is not None), None),
        detail=_detail(receipts),
    )
    quarantine_notes = quarantined(sum(receipt.n_quarantined for receipt in receipts), token=job.token)
    notes = [*_experiment_notes(job, receipts), *quarantine_notes]
    if not failed:
        return [*notes, move]
    kind, reason = min(failed.values(), key=_precedence)
    # The tasks of a batch that was stopped are not to blame.
    notes = notes if kind == FailureKind.STOPPED else [*_task_notes(job, failed), *notes]
    state = ended or _state_of_failure(kind)
    return [*notes, move._replace(to=state, why=reason, kind=kind, failed_tasks=format_indexes(failed))]


def _state_of_failure(kind: str) -> JobState:
    was_stopped = kind in (FailureKind.CANCELLED, FailureKind.INTERRUPTED)
    return JobState.CANCELLED if was_stopped else JobState.FAILED


def _precedence(failure: tuple[str, str]) -> int:
    kind, _ = failure
    return KINDS_BY_PRECEDENCE.index(FailureKind(kind)) if kind in KINDS_BY_PRECEDENCE else len(KINDS_BY_PRECEDENCE)


def _failed_tasks(job: Job, fact: JobFact, tasks: list[int]) -> dict[int, tuple[str, str]]:
    """Return the kind and reason of failure of each task that has no receipt of success."""
    kind = fact.kind or FailureKind.INFRASTRUCTURE
    default = (kind, fact.reason or "it ended without a receipt")
    failed = {}
    for task in tasks:
        receipt = fact.receipts.get(task)
        if receipt is None:
            failed[task] = fact.failed_tasks.get(task, default)
            if (fact.has_stopped or job.stopping) and failed[task][0] in _ENDED_BY_STOP:
                failed[task] = (FailureKind.STOPPED, _WHY_STOPPED)
        elif not receipt.succeeded:
            failed[task] = (
                receipt.kind or FailureKind.EXCEPTION,
                receipt.reason or "its receipt reports a failure without a reason",
            )
    return failed


def _end_time(fact: JobFact, receipts: list[ReceiptFact], *, is_complete: bool) -> float | None:
    """Return when a job ended; None if it is not known. A task that left no receipt may have ended after all others."""
    last = max((receipt.ended_at for receipt in receipts), default=fact.ended_at)
    if is_complete or last is None or fact.ended_at is None:
        return last
    return max(fact.ended_at, last)


def _detail(receipts: list[ReceiptFact]) -> dict[str, Any]:
    return dict(receipts[0].detail) if len(receipts) == 1 else {}


def _task_notes(job: Job, failed: Mapping[int, tuple[str, str]]) -> list[Change]:
    if job.role != Role.BATCH:
        return []
    return [
        Note(EventKind.TASK_FAILED, reason, token=job.token, task=task, detail={"kind": str(kind)})
        for task, (kind, reason) in failed.items()
    ]


def _experiment_notes(job: Job, receipts: Iterable[ReceiptFact]) -> list[Change]:
    """Group the failed experiments of all tasks by their error: one event per error, not per experiment."""
    groups: dict[tuple[str, str], FailureGroup] = {}
    for receipt in receipts:
        for failure in receipt.failures:
            group_of(groups, failure).add(failure["n"], failure["rows"])
    return [
        Note(EventKind.EXPERIMENTS_FAILED, f"{error[0]}: {error[1]}", token=job.token, detail=group.to_json())
        for error, group in groups.items()
    ]
