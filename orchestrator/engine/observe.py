"""Look at the world once: the scheduler in one query, and the receipts of jobs that may have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.engine.context import Context
from orchestrator.errors import DataError
from orchestrator.handoff.receipt import Receipt, read_receipt, receipts_of
from orchestrator.indexes import parse_indexes
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.model import Job, Run
from orchestrator.machine.states import JOB_WITH_SCHEDULER, FailureKind

__all__ = ["observe"]


def observe(context: Context, run: Run) -> Facts:
    """Gather the facts about every job that the scheduler should know.

    Raises
    ------
    SchedulerUnreachable
        If the scheduler did not answer.
    """
    jobs = [job for job in (*run.live_jobs, *run.orchestrators) if job.state in JOB_WITH_SCHEDULER]
    seen = context.scheduler.observe(jobs) if jobs else {}
    facts = {job.token: _with_receipts(context, job, seen.get(job.token, JobFact(Seen.ABSENT))) for job in jobs}
    return Facts(context.clock(), context.scheduler.grace, facts)


def _with_receipts(context: Context, job: Job, fact: JobFact) -> JobFact:
    """Read the receipts once they can matter: a part of them says nothing while the job still runs."""
    paths = receipts_of(context.folder.job(job.token))
    is_complete = all(task in paths for task in parse_indexes(job.tasks))
    if not is_complete and fact.seen in (Seen.QUEUED, Seen.RUNNING, Seen.UNANSWERED):
        return fact
    receipts: dict[int, ReceiptFact] = {}
    unreadable: dict[int, tuple[str, str]] = dict(fact.failed_tasks)
    for task, path in paths.items():
        try:
            receipts[task] = _fact_of(read_receipt(path))
        except DataError as error:
            unreadable[task] = (FailureKind.INFRASTRUCTURE, error.message)
    if unreadable and is_complete and fact.seen is Seen.RUNNING:
        fact = replace(fact, seen=Seen.OVER)
    return replace(fact, receipts=receipts, failed_tasks=unreadable)


def _fact_of(receipt: Receipt) -> ReceiptFact:
    error: Mapping[str, str] = receipt.error or {}
    return ReceiptFact(
        succeeded=receipt.state == "succeeded",
        started_at=receipt.started_at,
        ended_at=receipt.ended_at,
        n_finished=receipt.n_finished,
        n_failed=receipt.n_failed,
        failures=tuple(receipt.failures),
        kind=receipt.kind,
        reason=f"{error['type']}: {error['message']}" if error else None,
        until=receipt.until,
        detail={
            "host": receipt.host,
            "max_rss_mb": receipt.max_rss_mb,
            "cpu_seconds": receipt.cpu_seconds,
            **({"error": dict(error)} if error else {}),
        },
    )
