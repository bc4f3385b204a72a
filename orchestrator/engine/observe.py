"""Observe a run's jobs: read their receipts, and query the scheduler once about jobs with incomplete receipts."""

from __future__ import annotations

from collections.abc import Mapping
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
    receipts = {job.token: _receipts(context, job) for job in jobs}
    unclear = [job for job in jobs if not _is_complete(job, receipts[job.token]) and job.token != context.own_token]
    seen = dict(context.scheduler.observe(unclear)) if unclear else {}
    seen |= own_facts(context).jobs
    # Again: a job that the scheduler calls over may have left its receipt during the query.
    receipts |= {job.token: _receipts(context, job) for job in unclear}
    facts = {job.token: _fact(context, job, seen, receipts[job.token]) for job in jobs}
    return Facts(context.clock(), context.scheduler.grace, facts)


def own_facts(context: Context) -> Facts:
    """Return the fact that needs no query: if this process is an orchestrator job, that job runs."""
    own = {} if context.own_token is None else {context.own_token: JobFact(Seen.RUNNING, context.own_id)}
    return Facts(context.clock(), context.scheduler.grace, own)


def _receipts(context: Context, job: Job) -> dict[int, Path]:
    return {} if job.is_orchestrator else receipts_of(context.folder.job(job.token))


def _is_complete(job: Job, paths: Mapping[int, Path]) -> bool:
    return not job.is_orchestrator and all(task in paths for task in parse_indexes(job.tasks))


def _fact(context: Context, job: Job, seen: Mapping[str, JobFact], paths: Mapping[int, Path]) -> JobFact:
    """Return the fact about a job; its receipts are read only if they can matter, not while it still runs."""
    if _is_complete(job, paths):
        # All receipts are there: the scheduler is not needed.
        scheduler_id = job.scheduler_id or claimed_by(context.folder.job(job.token))
        return _with_receipts(JobFact(Seen.OVER, scheduler_id), paths)
    fact = seen.get(job.token, JobFact(Seen.ABSENT))
    return _with_receipts(fact, paths) if fact.seen.may_have_ended else fact


def _with_receipts(fact: JobFact, paths: Mapping[int, Path]) -> JobFact:
    receipts: dict[int, ReceiptFact] = {}
    failed: dict[int, tuple[str, str]] = dict(fact.failed_tasks)
    for task, path in paths.items():
        try:
            receipts[task] = _fact_of(read_receipt(path))
        except DataError as error:
            failed[task] = (FailureKind.INFRASTRUCTURE, error.message)
    return fact._replace(receipts=receipts, failed_tasks=failed)


def _fact_of(receipt: Receipt) -> ReceiptFact:
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
