"""Do to the world what `decide` asked for, and say what came of it as changes to the records."""

from __future__ import annotations

from typing import cast

from orchestrator.definition.injection import seed_for
from orchestrator.engine.context import Context
from orchestrator.engine.observe import observe
from orchestrator.engine.scheduler import WakingScheduler
from orchestrator.engine.table_jobs import collect_into_table, fold_tables, freeze_table
from orchestrator.errors import Busy, DataError
from orchestrator.failures import ROWS_KEPT
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.machine.answers import Accepted, Answer, Refused, RefusedForNow, Unanswered
from orchestrator.machine.batches import batch_size, cut
from orchestrator.machine.changes import (
    Change,
    FailRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordFreeze,
    RecordJob,
    RecordWait,
    quarantined,
)
from orchestrator.machine.intents import CancelJobs, Collect, Finish, Freeze, Repoint, Submit
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState

__all__ = ["perform"]


NUMBERS_SAID = 8
"""Numbers that the sentence of a note names, and that are kept with it; its count tells the rest."""

Effect = Freeze | Collect | Submit | Repoint | CancelJobs | Finish


def perform(context: Context, run: Run, intent: Effect) -> list[Change]:
    """Carry out one intent.

    Each effect may be repeated after a crash: freezing keeps a manifest that is there, a job keeps its token,
    cancelling, collecting and folding twice change nothing.

    Returns
    -------
    list of Change
        The outcome, to be recorded.
    """
    match intent:
        case Freeze(position):
            return _freeze(context, run, position)
        case Collect(position):
            return _collect(context, run, position)
        case Submit(token):
            return _submit(context, run, token)
        case Repoint(token, after):
            return _repoint(context, run, token, after)
        case CancelJobs(tokens):
            return _cancel(context, run, tokens)
        case Finish(to, why):
            return _finish(context, run, to, why)


def _freeze(context: Context, run: Run, position: int) -> list[Change]:
    slot, limits = run.plan.slot(position), context.scheduler.limits
    try:
        frozen = freeze_table(context, run, _step_run(run), cut(slot.step, limits))
    except DataError as error:
        return [MoveStepRun(position, StepRunState.FAILED, error.message.rstrip("."))]
    record = RecordFreeze(position, frozen.n_experiments, frozen.n_tasks, batch_size(slot.step, limits))
    return [*quarantined(frozen.n_quarantined, position=position), record]


def _collect(context: Context, run: Run, position: int) -> list[Change]:
    begin = context.clock()
    try:
        collected = collect_into_table(context, run.plan.slot(position).step.project_dir)
    except DataError as error:
        return [_active(position, begin), MoveStepRun(position, StepRunState.FAILED, error.message.rstrip("."))]
    left = [_left(position, rows, why) for why, rows in collected.misfits.items()]
    set_aside = quarantined(collected.n_quarantined, position=position)
    return [_active(position, begin), *set_aside, *left, MoveStepRun(position, StepRunState.SUCCEEDED)]


def _active(position: int, since: float) -> MoveStepRun:
    return MoveStepRun(position, StepRunState.ACTIVE, at=since)


def _left(position: int, rows: list[int], why: str) -> Note:
    files = f"{len(rows)} file{'s' if len(rows) > 1 else ''} ({', '.join(map(str, rows[:NUMBERS_SAID]))}"
    files += ", ...)" if len(rows) > NUMBERS_SAID else ")"
    detail = {"n": len(rows), "rows": rows[:ROWS_KEPT]}
    return Note("files left", f"{files} left in experiment_sample: {why}", position=position, detail=detail)


def _submit(context: Context, run: Run, token: str) -> list[Change]:
    job = run.job(token)
    match _answer(context, run, job):
        case Accepted(scheduler_id, started_at):
            moves: list[Change] = [MoveJob(token, JobState.QUEUED, scheduler_id=scheduler_id)]
            if started_at is not None:
                moves.append(MoveJob(token, JobState.RUNNING, at=started_at))
            return moves
        case RefusedForNow(reason):
            return [MoveJob(token, JobState.PLANNED, reason)]
        case Unanswered(reason):
            return [RecordJob(token, None, reason)]
        case Refused(reason):
            failed = MoveJob(token, JobState.FAILED, reason, FailureKind.REFUSED, failed_tasks=job.tasks)
            is_orchestrator = job.role == "orchestrator"
            # Without somebody to wake it, the run would stand still without a word.
            return [failed, FailRun(f"its orchestrator job was refused: {reason}")] if is_orchestrator else [failed]


def _answer(context: Context, run: Run, job: Job) -> Answer:
    if job.role == "orchestrator":
        return _waking(context).submit_orchestrator(job.token, job.waits_for or "")
    file = _jobfile(context, run, job)
    write_jobfile(context.folder.job(job.token).file, file)
    return context.scheduler.submit(file)


def _repoint(context: Context, run: Run, token: str, after: str) -> list[Change]:
    job = run.job(token)
    if _waking(context).repoint(job.scheduler_id or "", after):
        return [RecordWait(token, after)]
    return [MoveJob(token, JobState.RUNNING, "it had started before it could be pointed anew")]


def _cancel(context: Context, run: Run, tokens: tuple[str, ...]) -> list[Change]:
    """End jobs. What only waits is gone with that; of all others, what becomes of them is seen."""
    waiting = [job for job in run.orchestrators if job.token in tokens]
    live = [job for job in run.live_jobs if job.token in tokens]
    context.scheduler.cancel([*waiting, *live])
    gone = [MoveJob(job.token, JobState.CANCELLED, "nobody needs it any more") for job in waiting]
    tokens_gone = {job.token for job in waiting}
    seen = reconcile(run, observe(context, run)) if live else []
    return [*gone, *(change for change in seen if getattr(change, "token", None) not in tokens_gone)]


def _waking(context: Context) -> WakingScheduler:
    return cast("WakingScheduler", context.scheduler)


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
        until_path=slot.until.path if slot.until is not None and step.kind == "call" else None,
        project_dir=step.project_dir,
        bundle_digest=context.record.bundle_digest or "",
        batch=job.batch,
        attempt=job.attempt,
        tasks=job.tasks,
        first_task=step_run.batch_size * job.batch if step_run.batch_size else 0,
        earlier_tokens=_earlier_tokens(context, step_run, job),
        seed=seed_for(run.key, step.name, slot.iteration),
        label=step.label,
        threads=int(step.resources.get("cpus_per_task", 1)),
        cwd=context.cwd,
        log_dir=context.folder.log_dir,
        resources=step.resources,
        database=str(context.store.path) if context.scheduler.has_tail else None,
    )


def _earlier_tokens(context: Context, step_run: StepRun, job: Job) -> list[str]:
    """Name the jobs whose work this one must not do again.

    A block's, of every epoch. An experiment that failed in an earlier epoch is evaluated again; all others of then are
    in the table.
    """
    if job.role == "step" and step_run.epoch:
        return [token for token in context.store.tokens_at(context.key, step_run.position) if token != job.token]
    return [old.token for old in step_run.jobs if old.batch == job.batch and old.attempt < job.attempt]


def _finish(context: Context, run: Run, to: RunState, why: str | None) -> list[Change]:
    position = None if run.step_run is None else run.step_run.position
    try:
        n = fold_tables(context, sorted({step.project_dir for step in run.plan.steps()}))
    except (DataError, Busy) as error:
        broken = f"results can't be put into the table: {error.message.rstrip('.')}"
        if to is RunState.SUCCEEDED:
            if isinstance(error, Busy):
                raise
            return [MoveRun(RunState.FAILED, broken)]
        # It ends all the same, and keeps the results in their files.
        return [Note("results not folded", broken, position=position), MoveRun(to, why)]
    return [*quarantined(n, position=position), MoveRun(to, why)]


def _step_run(run: Run) -> StepRun:
    if run.step_run is None:
        raise AssertionError("an intent speaks of a step run, so there is one")
    return run.step_run
