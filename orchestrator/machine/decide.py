"""What to do next, one thing at a time.

Theory of operation
-------------------
`decide` is the second half of an advance. It reads the reconciled records and returns one intent, or None if there is
nothing to do until something outside changes. The engine carries the intent out, records the outcome, and asks again.
It knows neither SLURM, files nor the time; the same records always give the same intent.

The questions are asked in this order:

1. A job has rivals: cancel them (`CancelRivals`).
2. The run has ended: cancel the orchestrator jobs that still wait.
3. The run is to be cancelled, or has to fail: cancel its jobs, close its step, finish. A step is to be cancelled:
   cancel its jobs, close it.
4. Nothing would wake the run if this process died now: submit an orchestrator job first (`ensure_wakeup`).
5. A user goes back to a step with the tables as they were then: put them back.
6. No step is open: open the next one, or finish. A step that failed ends the run, unless the next step has
   `dependency="afterany"`.
7. The step is pending: skip it, collect, freeze its open experiments into tasks, or plan its first job.
8. The step is active. Its last job is planned: submit it. It is live: wait, and cancel its waiting tasks if the others
   have stopped the step early. It has ended: retry it, plan the next batch, or end the step.

While the run is held, nothing of this begins work, and what of its jobs waits in the queue is held there.

A change that only moves records is returned as `Record` and has no effect outside them. Before each effect that can't
be undone its intent is committed (`submitting`), so that a crash at any point leaves a record of what may have
happened.
"""

from __future__ import annotations

from orchestrator.amounts import plural
from orchestrator.indexes import format_indexes, parse_indexes
from orchestrator.machine.batches import tasks_of_batch
from orchestrator.machine.changes import AddJob, AddStepRun, Change, MoveJob, MoveStepRun, Restore
from orchestrator.machine.intents import (
    CancelJobs,
    CancelRivals,
    CancelWaiting,
    Collect,
    Finish,
    Freeze,
    HoldJob,
    Intent,
    PutBackTables,
    Record,
    Submit,
)
from orchestrator.machine.kinds import Dependency, Role, StepKind, Stopping
from orchestrator.machine.model import Job, Run, StepRun, token_for
from orchestrator.machine.plan import Slot
from orchestrator.machine.states import (
    CLUSTER_KINDS,
    CLUSTER_RETRIES,
    RETRYABLE_KINDS,
    STEP_RUN_FLAWED,
    FailureKind,
    JobState,
    RunState,
    StepRunState,
)
from orchestrator.machine.too_many import n_experiments_of, too_many_failed
from orchestrator.machine.wakeup import cancel_orchestrators, ensure_wakeup

__all__ = ["decide", "next_position", "cancel_open_step", "unrecorded_success"]


def decide(run: Run) -> Intent | None:
    """Return what to do next.

    Parameters
    ----------
    run : Run
        The records, reconciled.

    Returns
    -------
    Intent or None
        None if there is nothing to do until something outside changes, or if the run has ended.
    """
    with_rivals = next((job for job in run.jobs if job.rivals), None)
    if with_rivals is not None:
        return CancelRivals(with_rivals.token, with_rivals.rivals)
    if run.state is not RunState.ACTIVE:
        return cancel_orchestrators(run)
    if run.cancel_requested:
        return _cancel_jobs_and_end(run, StepRunState.CANCELLED, "cancelled by the user")
    if run.failing is not None:
        return _cancel_jobs_and_end(run, StepRunState.FAILED, run.failing)
    cancel = cancel_open_step(run)
    if cancel is not None:
        return cancel
    # First: if this process dies, an orchestrator job continues.
    wakeup = ensure_wakeup(run)
    if wakeup is not None:
        return wakeup
    hold = _hold(run)
    if hold is not None:
        return hold
    intent = _continue(run, run.step_run)
    return None if run.is_held and _begins_work(intent) else intent


def _continue(run: Run, step_run: StepRun | None) -> Intent | None:
    if run.puts_back:
        return PutBackTables(run.puts_back)
    if step_run is None or step_run.has_ended:
        return _next_step(run, step_run)
    slot = run.plan.slot(step_run.position)
    if step_run.state is StepRunState.PENDING:
        return _start_step(run, step_run, slot)
    return _continue_step(run, step_run, slot)


# --- between steps -------------------------------------------------------------------------------


def _next_step(run: Run, last: StepRun | None) -> Intent:
    """Return what follows a step run that has ended.

    After one that failed or was cancelled the run ends, unless a step with the dependency `afterany` follows.
    """
    position = 0 if last is None else next_position(run, last)
    is_last = position >= run.plan.size
    if last is not None and last.state in STEP_RUN_FLAWED:
        slot = run.plan.slot(last.position)
        if is_last or run.plan.slot(position).step.dependency != Dependency.AFTERANY:
            if last.state is StepRunState.CANCELLED:
                return Finish(RunState.CANCELLED, last.reason)
            return Finish(RunState.FAILED, f"step {slot.address} failed: {last.reason}")
    if last is not None and run.suspended is not None:
        return Record((Restore(last.position),))
    if is_last:
        return Finish(RunState.SUCCEEDED, _count_of_failed_steps(run))
    slot = run.plan.slot(position)
    return Record((AddStepRun(position, slot.iteration, slot.step.name, slot.step.kind),))


def next_position(run: Run, last: StepRun) -> int:
    """Return the position that follows a step run that has ended; that of the end if none follows."""
    if last.position < run.first_position:
        # One row per skipped step is enough; the other iterations of a loop would only repeat it.
        first = next((first for first in run.plan.first_pass() if first > last.position), run.plan.size)
        return min(first, run.first_position)
    return run.plan.after(last.position, last.until)


def _count_of_failed_steps(run: Run) -> str | None:
    n = run.n_failed_step_runs
    return f"{plural(n, 'step')} did not succeed" if n else None


# --- one step ------------------------------------------------------------------------------------


def _start_step(run: Run, step_run: StepRun, slot: Slot) -> Intent:
    """Return how a step run without jobs begins; one before `Run.first_position` is skipped, because of `from_step`."""
    position = step_run.position
    if position < run.first_position:
        return Record((MoveStepRun(position, StepRunState.SKIPPED, "from_step"),))
    if slot.step.collects:
        return Collect(position)
    is_batch = slot.step.kind == StepKind.BATCH
    if is_batch and step_run.n_tasks is None:
        return Freeze(position)
    if is_batch and step_run.n_tasks == 0:
        return Record(_end_without_jobs(step_run))
    attempt = step_run.first_attempt
    job = _batch_job(run, step_run, 0, attempt) if is_batch else _step_job(run, step_run, attempt)
    return Record((MoveStepRun(position, StepRunState.ACTIVE), job))


def _end_without_jobs(step_run: StepRun) -> tuple[Change, ...]:
    """Return how a step ends that has no open experiments."""
    position, n_finished, n_failed = step_run.position, step_run.n_finished, step_run.n_failed
    if not step_run.accepts_failed:
        return (MoveStepRun(position, StepRunState.SKIPPED, "no open experiments", n_finished, n_failed),)
    end = MoveStepRun(position, StepRunState.SUCCEEDED, _some_failed(step_run), n_finished, n_failed)
    return (MoveStepRun(position, StepRunState.ACTIVE), end)


def _some_failed(step_run: StepRun) -> str | None:
    n_finished, n_failed = step_run.n_finished, step_run.n_failed
    accepted = ", accepted by the user" if step_run.accepts_failed else ""
    return f"{n_failed} of {n_finished + n_failed} experiments failed{accepted}" if n_failed else None


def _continue_step(run: Run, step_run: StepRun, slot: Slot) -> Intent | None:
    """Return what a step run with jobs does next; only its last job may be unfinished.

    If the tasks have stopped the step (`orchestrator.worker.stopping`), those that still wait in the queue are
    cancelled, those that run end by themselves, and no batch follows.
    """
    last = step_run.jobs[-1]
    if last.state is JobState.PLANNED:
        return Submit(last.token)
    if not last.has_ended:
        is_listed = last.state in (JobState.QUEUED, JobState.RUNNING)
        return CancelWaiting(last.token) if is_listed and last.stopping is Stopping.FOUND else None
    if last.state is not JobState.SUCCEEDED and _may_retry(step_run, last, slot.step.retries):
        return Record((_next_attempt(run, step_run, last),))
    next_batch = None if _ended_early(step_run, slot) else _next_batch(run, step_run, slot)
    return Record((next_batch or _end_of_step(step_run, slot),))


def _step_job(run: Run, step_run: StepRun, attempt: int) -> AddJob:
    token = token_for(run.salt, Role.STEP, step_run.position, 0, attempt)
    return AddJob(token, Role.STEP, step_run.position, 0, attempt)


def _batch_job(run: Run, step_run: StepRun, batch: int, attempt: int) -> AddJob:
    tasks = tasks_of_batch(batch, step_run.batch_size or 1, step_run.n_tasks or 0)
    token = token_for(run.salt, Role.BATCH, step_run.position, batch, attempt)
    indexes = format_indexes(tasks)
    return AddJob(token, Role.BATCH, step_run.position, batch, attempt, indexes, len(tasks))


def _next_batch(run: Run, step_run: StepRun, slot: Slot) -> AddJob | None:
    """Plan the batch after the last one; None if there is none."""
    if slot.step.kind != StepKind.BATCH:
        return None
    job = _batch_job(run, step_run, step_run.jobs[-1].batch + 1, step_run.first_attempt)
    return job if job.tasks else None


def _next_attempt(run: Run, step_run: StepRun, last: Job) -> AddJob:
    """Plan the next attempt, for the failed tasks only. It requests the same resources."""
    attempt = last.attempt + 1
    token = token_for(run.salt, last.role, step_run.position, last.batch, attempt)
    tasks = last.failed_tasks or last.tasks
    why = f"retry after {last.kind or last.state}"
    return AddJob(token, last.role, step_run.position, last.batch, attempt, tasks, len(parse_indexes(tasks)), why)


def _may_retry(step_run: StepRun, last: Job, retries: int) -> bool:
    """Whether an ended job has attempts left: failures of its batch that are of any of these kinds count together.

    Which kinds are retried is `RETRYABLE_KINDS` in `orchestrator.machine.states`.
    An experiment that ended its process is retried inside its task: `cut` in `orchestrator.worker.task`.
    """
    # An interrupt by the user is not a failure: resuming means to run the job again.
    if last.kind == FailureKind.INTERRUPTED:
        return True
    kinds, limit = RETRYABLE_KINDS, retries
    if last.kind in CLUSTER_KINDS:
        kinds, limit = CLUSTER_KINDS, CLUSTER_RETRIES
    failures = sum(job.batch == last.batch and job.kind in kinds for job in step_run.jobs)
    return last.kind in kinds and failures <= limit


def _end_of_step(step_run: StepRun, slot: Slot) -> MoveStepRun:
    return (
        _end_of_batches(step_run, slot)
        if slot.step.kind == StepKind.BATCH
        else _end_of_call(step_run, step_run.jobs[-1])
    )


def unrecorded_success(run: Run) -> MoveStepRun | None:
    """Return the success of the open step run, if all its work is done and only this is not recorded yet.

    It counts as success even if the run is cancelled or fails at that moment: to repeat it would do its work twice.
    """
    step_run = run.step_run
    if step_run is None or step_run.has_ended or not step_run.jobs or run.live_jobs:
        return None
    slot = run.plan.slot(step_run.position)
    end = _end_of_step(step_run, slot)
    is_complete = _next_batch(run, step_run, slot) is None
    return end if is_complete and end.to is StepRunState.SUCCEEDED else None


def _end_of_call(step_run: StepRun, job: Job) -> MoveStepRun:
    """Return how a step without batches ends: it has failed if its last job has not succeeded."""
    if job.state is JobState.SUCCEEDED:
        return MoveStepRun(step_run.position, StepRunState.SUCCEEDED, until=job.until)
    why = job.reason or f"its job ended as {job.state}"
    return MoveStepRun(step_run.position, StepRunState.FAILED, why)


def _end_of_batches(step_run: StepRun, slot: Slot) -> MoveStepRun:
    """Return how a step run ends after all its batches: `_why_failed` says when it has failed.

    All its experiments count, also those that were evaluated in an earlier epoch.
    """
    n_finished, n_failed = step_run.n_finished, step_run.n_failed
    why = _why_failed(step_run, slot, n_finished, n_failed)
    state = StepRunState.FAILED if why else StepRunState.SUCCEEDED
    return MoveStepRun(step_run.position, state, why or _some_failed(step_run), n_finished, n_failed)


def _ended_early(step_run: StepRun, slot: Slot) -> bool:
    """Whether a step ended before all its experiments were evaluated, or may not begin its next batch."""
    if step_run.accepts_failed or slot.step.kind != StepKind.BATCH:
        return False
    n, limit = step_run.n_failed, slot.step.max_failed
    n_all = max(n_experiments_of(step_run), step_run.n_finished + n)
    is_exceeded = limit is not None and too_many_failed(limit, step_run.n_finished, n, n_all) is not None
    return step_run.jobs[-1].kind == FailureKind.STOPPED or is_exceeded


def _why_failed(step_run: StepRun, slot: Slot, n_finished: int, n_failed: int) -> str | None:
    """Return why a step run has failed after all its batches; None if it has not.

    It has failed if a task has no attempts left, if experiments have no result, or if too many experiments or all of
    the first ones failed.
    """
    n_all = max(n_experiments_of(step_run), n_finished + n_failed)
    if _ended_early(step_run, slot):
        why = too_many_failed(slot.step.max_failed, n_finished, n_failed, n_all)
        why = why or f"the first {n_failed} experiments all failed with the same exception"
        n_open = n_all - n_finished - n_failed
        return f"{why}; {n_open} not evaluated" if n_open else why
    last_attempts = {job.batch: job for job in step_run.jobs}.values()
    failed = [job for job in last_attempts if job.state is not JobState.SUCCEEDED]
    if failed:
        n_tasks = sum(len(parse_indexes(job.failed_tasks or job.tasks)) for job in failed)
        return f"{n_tasks} of {step_run.n_tasks} tasks failed ({failed[0].kind}): {failed[0].reason}"
    n = n_finished + n_failed
    if n < n_all:
        return f"{n_all - n} of {n_all} experiments have no result, although all tasks have ended"
    return None if step_run.accepts_failed else too_many_failed(slot.step.max_failed, n_finished, n_failed, n)


# --- holding ---------------------------------------------------------------------------------------


def _hold(run: Run) -> HoldJob | None:
    """Hold what waits in the queue of a run that is held, and release it when the run no longer is."""
    for job in run.live_jobs:
        if run.needs_wakeup and job.state in (JobState.QUEUED, JobState.RUNNING) and job.held != run.is_held:
            return HoldJob(job.token, run.is_held)
    return None


def _begins_work(intent: Intent | None) -> bool:
    """Whether an intent starts something new, so that it waits while the run is held; all others are carried out."""
    if isinstance(intent, Record):
        return any(isinstance(change, (AddStepRun, AddJob)) for change in intent.changes)
    return isinstance(intent, (Submit, Freeze, Collect, PutBackTables))


# --- cancelling ----------------------------------------------------------------------------------


def cancel_open_step(run: Run) -> Intent | None:
    """Cancel the live jobs of a step that a user cancels, then close it; None if there is none to cancel.

    The run continues, if its next step runs after a failure.
    """
    step_run = run.step_run
    if step_run is None or step_run.has_ended or step_run.position != run.cancel_step:
        return None
    with_scheduler = [job.token for job in run.live_jobs if job.state is not JobState.PLANNED]
    if with_scheduler:
        return CancelJobs(tuple(with_scheduler))
    why = f"step {run.plan.slot(step_run.position).address} was cancelled by the user"
    return Record(tuple(_ends(run, StepRunState.CANCELLED, why)))


def _cancel_jobs_and_end(run: Run, to: StepRunState, why: str) -> Intent:
    """Cancel the live jobs, waiting orchestrator jobs first: the end of a step's job would start them."""
    waiting = [job.token for job in run.orchestrators if job.state is JobState.QUEUED]
    with_scheduler = [job.token for job in run.live_jobs if job.state is not JobState.PLANNED]
    if with_scheduler:
        return CancelJobs((*waiting, *with_scheduler))
    changes = _ends(run, to, why)
    return Record(tuple(changes)) if changes else Finish(RunState(to.value), why)


def _ends(run: Run, to: StepRunState, why: str) -> list[Change]:
    changes: list[Change] = [
        MoveJob(job.token, JobState.CANCELLED, why, FailureKind.CANCELLED) for job in run.live_jobs
    ]
    step_run = run.step_run
    if step_run is not None and not step_run.has_ended:
        changes.append(
            unrecorded_success(run) or MoveStepRun(step_run.position, to, why, step_run.n_finished, step_run.n_failed)
        )
    return changes
