"""Do to the world what `decide` asked for, and say what came of it as changes to the records."""

from __future__ import annotations

from orchestrator.definition.injection import seed_for
from orchestrator.engine.context import Context
from orchestrator.engine.observe import observe
from orchestrator.engine.scheduler import Accepted, Refused, RefusedForNow
from orchestrator.errors import DataError
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.machine.batches import batch_size, tasks_of
from orchestrator.machine.changes import Change, MoveJob, MoveRun, MoveStepRun, Note, RecordFreeze
from orchestrator.machine.decide import CancelJobs, Finish, Freeze, Submit
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.states import FailureKind, JobState, StepRunState

__all__ = ["perform"]


def perform(context: Context, run: Run, intent: Freeze | Submit | CancelJobs | Finish) -> list[Change]:
    """Carry out one intent.

    Each effect may be repeated after a crash: freezing keeps a manifest that is there, a job keeps its token,
    cancelling and folding twice change nothing.

    Returns
    -------
    list of Change
        The outcome, to be recorded.
    """
    match intent:
        case Freeze(position):
            return _freeze(context, run, position)
        case Submit(token):
            return _submit(context, run, token)
        case CancelJobs(tokens):
            context.scheduler.cancel([job for job in run.live_jobs if job.token in tokens])
            return reconcile(run, observe(context, run))
        case Finish(to, why):
            return [*_fold(context, run), MoveRun(to, why)]


def _freeze(context: Context, run: Run, position: int) -> list[Change]:
    from orchestrator.worker.freeze import freeze  # loads pandas

    slot, step_run = run.plan.slot(position), _step_run(run)
    limits = context.scheduler.limits
    try:
        frozen = freeze(
            context.folder,
            position=position,
            epoch=step_run.epoch,
            project_dir=slot.step.project_dir,
            step_name=slot.address,
            reopen=[context.folder.manifest(position, epoch) for epoch in range(step_run.epoch)],
            n_slices=lambda n: tasks_of(n, slot.step, limits),
        )
    except DataError as error:
        return [MoveStepRun(position, StepRunState.FAILED, error.message.rstrip("."))]
    return [RecordFreeze(position, frozen.n_experiments, frozen.n_tasks, batch_size(slot.step, limits))]


def _submit(context: Context, run: Run, token: str) -> list[Change]:
    job = next(job for job in run.live_jobs if job.token == token)
    file = _jobfile(context, run, job)
    write_jobfile(context.folder.job(token).file, file)
    match context.scheduler.submit(file):
        case Accepted(scheduler_id, started_at):
            moves: list[Change] = [MoveJob(token, JobState.QUEUED, scheduler_id=scheduler_id)]
            if started_at is not None:
                moves.append(MoveJob(token, JobState.RUNNING, at=started_at))
            return moves
        case RefusedForNow(reason):
            return [MoveJob(token, JobState.PLANNED, reason)]
        case Refused(reason):
            return [MoveJob(token, JobState.FAILED, reason, FailureKind.REFUSED, failed_tasks=job.tasks)]


def _jobfile(context: Context, run: Run, job: Job) -> JobFile:
    step_run = _step_run(run)
    slot = run.plan.slot(step_run.position)
    step = slot.step
    earlier = [old.token for old in step_run.jobs if old.batch == job.batch and old.attempt < job.attempt]
    return JobFile(
        run_key=run.key,
        workspace=str(context.folder.workspace),
        token=job.token,
        role=job.role,
        position=step_run.position,
        epoch=step_run.epoch,
        iteration=slot.iteration,
        step_name=step.name,
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
        earlier_tokens=earlier,
        seed=seed_for(run.key, step.name, slot.iteration),
        label=step.label,
        threads=int(step.resources.get("cpus_per_task", 1)),
    )


def _fold(context: Context, run: Run) -> list[Change]:
    """Put what is left in the result files into the tables, so that every reader sees it."""
    from orchestrator.worker.fold import fold_all

    reports = fold_all(context.folder, sorted({step.project_dir for step in run.plan.steps()}))
    return [
        Note("results quarantined", f"{len(report.quarantined)} results fit no experiment of the table")
        for report in reports
        if report.quarantined
    ]


def _step_run(run: Run) -> StepRun:
    if run.step_run is None:
        raise AssertionError("an intent speaks of a step run, so there is one")
    return run.step_run
