"""Observe a run's jobs: read their receipts, and query the scheduler once about jobs with incomplete receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.engine.context import Context
from orchestrator.errors import DataError
from orchestrator.handoff.claim import claimed_by
from orchestrator.handoff.receipt import Receipt, read_receipt, receipts_of
from orchestrator.indexes import parse_indexes
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.model import Job, Run
from orchestrator.machine.states import FailureKind

__all__ = ["observe", "own_facts"]


def observe(context: Context, run: Run) -> Facts:
    """Return the facts about every job that the scheduler should know.

    Raises
    ------
    SchedulerUnreachable
        If the scheduler does not answer.
    """
    # A job that waits for the end of the job around this process can't have started, so it is not observed. That saves
    # the tail of a step's job a query. If the waiting job is gone, setting its dependency fails; then a successor is
    # planned.
    jobs = [job for job in run.jobs_with_scheduler if not job.starts_after(context.enclosing_job)]
    complete = {job.token: fact for job in jobs if (fact := _fact_of_complete(context, job)) is not None}
    unclear = [job for job in jobs if job.token not in complete and job.token != context.own_token]
    seen = dict(context.scheduler.observe(unclear)) if unclear else {}
    seen |= own_facts(context).jobs
    facts = {job.token: complete.get(job.token) or _fact(context, job, seen) for job in jobs}
    return Facts(context.clock(), context.scheduler.grace, facts)


def own_facts(context: Context) -> Facts:
    """Return the fact that needs no query: if this process is an orchestrator job, that job runs."""
    own = {} if context.own_token is None else {context.own_token: JobFact(Seen.RUNNING, context.own_id)}
    return Facts(context.clock(), context.scheduler.grace, own)


def _receipts(context: Context, job: Job) -> dict[int, tuple[Path, ...]]:
    return {} if job.is_orchestrator else receipts_of(context.folder.job(job.token))


def _fact_of_complete(context: Context, job: Job) -> JobFact | None:
    """Return the fact about a job that left all its receipts: it is over. A damaged receipt counts as missing."""
    paths = _receipts(context, job)
    if job.is_orchestrator or not all(task in paths for task in parse_indexes(job.tasks)):
        return None
    fact = _with_receipts(JobFact(Seen.OVER, job.scheduler_id), paths)
    if fact.failed_tasks:
        return None
    return fact if job.scheduler_id else fact._replace(scheduler_id=_claimed_by(context, job))


def _claimed_by(context: Context, job: Job) -> str | None:
    try:
        return claimed_by(context.folder.job(job.token))
    except DataError:
        return None


def _fact(context: Context, job: Job, seen: Mapping[str, JobFact]) -> JobFact:
    """Return the fact about another job; its receipts are read only if they can matter, not while it still runs.

    They are listed again: a job that the scheduler calls over may have left its receipt during the query.
    """
    fact = seen.get(job.token, JobFact(Seen.ABSENT))
    if not fact.seen.may_have_ended:
        return fact
    return _with_receipts(fact, _receipts(context, job))


def _with_receipts(fact: JobFact, paths: Mapping[int, Sequence[Path]]) -> JobFact:
    receipts: dict[int, ReceiptFact] = {}
    failed: dict[int, tuple[str, str]] = dict(fact.failed_tasks)
    for task, of_task in paths.items():
        try:
            receipts[task] = _last_fact(of_task)
        except DataError as error:
            kind, why = failed.get(task) or (fact.kind or FailureKind.INFRASTRUCTURE, fact.reason)
            failed[task] = (kind, f"{why}; {error.message}" if why else error.message)
    return fact._replace(receipts=receipts, failed_tasks=failed)


def _last_fact(paths: Sequence[Path]) -> ReceiptFact:
    """Return the last receipt of a task that can be used; if there is none, raise the error of the first."""
    for path in paths[:-1]:
        with suppress(DataError):
            return _fact_of(read_receipt(path))
    return _fact_of(read_receipt(paths[-1]))


def _fact_of(receipt: Receipt) -> ReceiptFact:
    if receipt.kind is not None and receipt.kind not in tuple(FailureKind):
        raise DataError(f"the receipt can't be used: it names the unknown kind of failure {receipt.kind[:40]!r}")
    error: Mapping[str, str] = receipt.error or {}
    return ReceiptFact(
        succeeded=receipt.succeeded,
        started_at=receipt.started_at,
        ended_at=receipt.ended_at,
        n_finished=receipt.n_finished,
        n_failed=receipt.n_failed,
        failures=tuple(receipt.failures),
        kind=receipt.kind,
        reason=f"{error['type']}: {error['message']}" if error else None,
        n_quarantined=receipt.n_quarantined,
        until=receipt.until,
        detail={
            "host": receipt.host,
            "max_rss_mb": receipt.max_rss_mb,
            "cpu_seconds": receipt.cpu_seconds,
            **({"error": dict(error)} if error else {}),
        },
    )
