"""Carry out the intents of `decide`; `orchestrator.machine.outcomes` turns the results into changes of the records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from orchestrator.db.rows import damaged
from orchestrator.definition.injection import seed_for
from orchestrator.engine.context import Context
from orchestrator.engine.lost_table import has_table
from orchestrator.engine.observe import observe
from orchestrator.engine.scheduler import WakingScheduler
from orchestrator.engine.table_jobs import collect_into_table, expected_results, fold_tables, freeze_table
from orchestrator.errors import Busy, DataError
from orchestrator.handoff.claim import claim, has_begun, is_given_up
from orchestrator.handoff.environment import LOG_LEVEL, environment_of_jobs
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.machine import outcomes
from orchestrator.machine.answers import Refused
from orchestrator.machine.batches import batch_size, divide
from orchestrator.machine.changes import Change, RecordFreeze, RecordJobFile
from orchestrator.machine.earlier_jobs import counts_all_epochs, earlier_tokens
from orchestrator.machine.facts import Facts
from orchestrator.machine.intents import (
    CancelJobs,
    CancelRivals,
    CancelWaiting,
    Collect,
    Effect,
    Finish,
    Freeze,
    HoldJob,
    PutBackTables,
    SetDependency,
    Submit,
)
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job, Run, StepRun, TableThen, blamed_kind
from orchestrator.machine.states import RunState
from orchestrator.machine.too_many import stop_after, stop_if_first_fail

__all__ = ["perform"]


def perform(context: Context, run: Run, intent: Effect) -> list[Change]:
    """Carry out one intent, and return the changes that record its outcome.

    Each effect may be repeated after a crash: a freeze keeps an existing manifest, a job keeps its token, and a
    second cancel, collect or fold changes nothing.
    """
    match intent:
        case Freeze(position):
            return _freeze(context, run, position)
        case Collect(position):
            return _collect(context, run, position)
        case Submit(token):
            job = run.job(token)
            return _submit(context, run, job)
        case SetDependency(token, after):
            is_done = _waking(context).set_dependency(run.job(token).scheduler_id or "", after)
            return outcomes.after_set_dependency(token, after, is_done=is_done)
        case CancelJobs(tokens):
            return _cancel(context, run, tokens)
        case CancelRivals(token, ids):
            return _cancel_rivals(context, run.job(token), ids)
        case CancelWaiting(token):
            _waking(context).cancel_waiting(run.job(token))
            return outcomes.waiting_cancelled(token)
        case HoldJob(token, is_held):
            _waking(context).hold(run.job(token), is_held=is_held)
            return outcomes.job_held(token, is_held=is_held)
        case PutBackTables(tables):
            return _put_back(context, run, tables)
        case Finish(to, why):
            return _finish(context, run, to, why)


def _freeze(context: Context, run: Run, position: int) -> list[Change]:
    slot, limits = run.plan.slot(position), context.scheduler.limits
    try:
        frozen = freeze_table(context, run, _step_run(run), divide(slot.step, limits))
    except DataError as error:
        return outcomes.freeze_failed(position, _clause(error))
    size = batch_size(slot.step, limits)
    before = (frozen.n_finished_before, frozen.n_failed_before)
    freeze = RecordFreeze(position, frozen.n_experiments, frozen.n_tasks, size, frozen.sha256, *before)
    return outcomes.after_freeze(freeze, frozen.n_quarantined)


def _collect(context: Context, run: Run, position: int) -> list[Change]:
    since = context.clock()
    try:
        collected = collect_into_table(context, run, position)
    except DataError as error:
        return outcomes.collect_failed(position, since, _clause(error))
    return outcomes.after_collect(position, since, collected.n_quarantined, collected.unmatched)


def _put_back(context: Context, run: Run, tables: Sequence[TableThen]) -> list[Change]:
    from orchestrator.engine.kept_tables import put_tables_back  # rarely needed

    try:
        put_tables_back(context.folder, run.mark, tables)
    except DataError as error:
        return outcomes.tables_not_put_back(error.message.rstrip("."))
    return outcomes.tables_put_back()


def _submit(context: Context, run: Run, job: Job) -> list[Change]:
    """Submit a job, unless it was started before, or its results could not be collected because there is no table."""
    if job.is_orchestrator:
        answer = _waking(context).submit_orchestrator(job.token, job.waits_for or "")
        return outcomes.after_submit(job, answer, in_job=context.in_job)
    if _was_started(context, job):
        return outcomes.started_before(job)
    project_dir = run.plan.slot(_step_run(run).position).step.project_dir
    if job.role is Role.BATCH and not has_table(context.folder, project_dir):
        from orchestrator.worker.table_work import no_table  # rarely needed

        return outcomes.after_submit(job, Refused(_clause(no_table(context.folder.table(project_dir)))))
    file = _jobfile(context, run, job)
    sha256 = write_jobfile(context.folder.job(job.token).file, file)
    answer = context.scheduler.submit(file)
    return [RecordJobFile(job.token, sha256), *outcomes.after_submit(job, answer, in_job=context.in_job)]


def _was_started(context: Context, job: Job) -> bool:
    folder = context.folder.job(job.token)
    with suppress(DataError):  # a claim that can't be read: the job says so
        return has_begun(folder)
    return False


def _cancel(context: Context, run: Run, tokens: tuple[str, ...]) -> list[Change]:
    waiting = [job for job in run.orchestrators if job.token in tokens]
    live = [job for job in run.live_jobs if job.token in tokens]
    context.scheduler.cancel([*waiting, *live])
    facts = observe(context, run) if live else Facts(context.clock())
    return outcomes.after_cancel(run, tokens, facts)


def _cancel_rivals(context: Context, job: Job, ids: tuple[str, ...]) -> list[Change]:
    # After the claim for the submission that counts, no other can start. If another has started before, it counts.
    if job.is_orchestrator or _claim(context, job):
        _waking(context).cancel_ids(ids)
    return outcomes.rivals_cancelled(job.token)


def _claim(context: Context, job: Job) -> bool:
    folder = context.folder.job(job.token)
    try:
        return is_given_up(folder) or claim(folder, job.scheduler_id or "")
    except DataError:
        return False  # no submission that has not started yet can read it either


def _finish(context: Context, run: Run, to: RunState, why: str | None) -> list[Change]:
    try:
        n = fold_tables(context, run)
    except (DataError, Busy) as error:
        ended = outcomes.fold_failed(run, to, why, _clause(error), may_pass=isinstance(error, Busy))
        if ended is None:
            raise
        return ended
    return outcomes.after_fold(run, to, why, n)


def _waking(context: Context) -> WakingScheduler:
    if not hasattr(context.scheduler, "cancel_ids"):
        raise damaged("a job of a run on this machine has ids of SLURM")
    return cast("WakingScheduler", context.scheduler)


def _clause(error: DataError | Busy) -> str:
    return error.message.rstrip(".")


def _jobfile(context: Context, run: Run, job: Job) -> JobFile:
    step_run = _step_run(run)
    slot = run.plan.slot(step_run.position)
    step = slot.step
    return JobFile(
        run_key=run.key,
        workspace=str(context.folder.workspace),
        mark=run.mark,
        token=job.token,
        role=job.role,
        position=step_run.position,
        epoch=step_run.epoch,
        iteration=slot.iteration,
        kind=step.kind,
        parallel=step.parallel,
        path=step.path,
        until_path=slot.until_path,
        project_dir=step.project_dir,
        bundle_digest=context.record.bundle_digest or "",
        batch=job.batch,
        attempt=job.attempt,
        tasks=job.tasks,
        first_task=step_run.batch_size * job.batch if step_run.batch_size else 0,
        earlier_tokens=_earlier_tokens(context, step_run, job),
        earlier_kinds={old.token: blamed_kind(old.kind) for old in step_run.jobs},
        max_tries=step.max_tries,
        timeout=step.timeout,
        stop_after=stop_after(step_run, step),
        stop_if_first_fail=stop_if_first_fail(step_run, step),
        seed=seed_for(run.key if run.plan.seed is None else run.plan.seed, step.name, slot.iteration),
        seeds_samplers=run.plan.seed is not None,
        name=step.name,
        label=step.label,
        expected_results={} if job.role is Role.BATCH else _expected_results(context, run, step_run),
        manifest=step_run.manifest,
        max_tables=run.max_tables,
        threads=int(step.resources.get("cpus_per_task", 1)),
        cwd=context.cwd,
        log_dir=context.folder.log_dir,
        log_level=_log_level(context),
        resources=step.resources,
        database=str(context.store.path) if context.scheduler.has_tail else None,
    )


def _expected_results(context: Context, run: Run, step_run: StepRun) -> dict[str, int]:
    project_dir = run.plan.slot(step_run.position).step.project_dir
    return expected_results(context, run, step_run.position).get(project_dir, {})


def _log_level(context: Context) -> str | None:
    """Return the level that the submitter's environment says; that of a job may lack it."""
    submitted = None if context.scheduler.is_local else _waking(context).environment()
    return (submitted or environment_of_jobs()).get(LOG_LEVEL)


def _earlier_tokens(context: Context, step_run: StepRun, job: Job) -> list[str]:
    asks = counts_all_epochs(step_run, job)
    return earlier_tokens(step_run, job, context.store.history.kinds_at(context.key, step_run.position) if asks else ())


def _step_run(run: Run) -> StepRun:
    if run.step_run is None:
        raise AssertionError("the intent is about a step run, so the run has one")
    return run.step_run
