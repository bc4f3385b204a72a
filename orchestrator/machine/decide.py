"""What to do next, one thing at a time.

Theory of operation
-------------------
`decide` is the second half of an advance. It reads the reconciled records and returns one intent, or None if there is
nothing to do until something outside changes. The engine carries the intent out, records the outcome, and asks again.
It knows neither SLURM, files nor the time; the same records always give the same intent.

The order of the questions is the order of their weight:

1. A job has rivals: cancel them (`CancelRivals`).
2. The run has ended: cancel the orchestrator jobs that still wait.
3. The run is to be cancelled, or has to fail: cancel its jobs, close its step, finish.
4. Nothing would wake the run if this process died now: submit an orchestrator job first (`ensure_wakeup`).
5. No step is open: open the next one, or finish. A step that failed ends the run, unless the next step has
   `dependency="afterany"`.
6. The step is pending: skip it, collect, freeze its open experiments into tasks, or plan its first job.
7. The step is active: submit its planned job; wait for a live one; after an end try again, plan the next batch, or
   close the step.

A change that only moves records is returned as `Record` and costs no effect. Before each effect that can't be undone
its intent is committed (`submitting`), so that a crash at any point leaves a record of what may have happened.
"""

from __future__ import annotations

from orchestrator.indexes import format_indexes, parse_indexes
from orchestrator.machine.batches import tasks_of_batch
from orchestrator.machine.changes import AddJob, AddStepRun, Change, MoveJob, MoveStepRun
from orchestrator.machine.intents import CancelJobs, CancelRivals, Collect, Finish, Freeze, Intent, Record, Submit
from orchestrator.machine.kinds import Dependency, Role, StepKind
from orchestrator.machine.model import Job, Run, StepRun, token_for
from orchestrator.machine.plan import Slot
from orchestrator.machine.states import (
    CLUSTER_KINDS,
    CLUSTER_RETRIES,
    RETRYABLE_KINDS,
    FailureKind,
    JobState,
    RunState,
    StepRunState,
)
from orchestrator.machine.wakeup import cancel_orchestrators, ensure_wakeup

__all__ = ["decide", "success_of"]


def decide(run: Run) -> Intent | None:
    """Say what to do next.

    Parameters
    ----------
    run : Run
        The records, reconciled.

    Returns
    -------
    Intent or None
        None: there is nothing to do until something changes in the world, or the run has ended.
    """
    rivalled = next((job for job in (*run.live_jobs, *run.orchestrators) if job.rivals), None)
    if rivalled is not None:
        return CancelRivals(rivalled.token, rivalled.rivals)
    if run.state is not RunState.ACTIVE:
        return cancel_orchestrators(run)
    if run.cancel_requested:
        return _stop(run, StepRunState.CANCELLED, "cancelled by the user")
    if run.failing is not None:
        return _stop(run, StepRunState.FAILED, run.failing)
    # First, so that whatever happens to the process that decides, somebody comes after it.
    wake = ensure_wakeup(run)
    if wake is not None:
        return wake
    step_run = run.step_run
    if step_run is None or step_run.has_ended:
        return _go_on(run, step_run)
    slot = run.plan.slot(step_run.position)
    if step_run.state is StepRunState.PENDING:
        return _start(run, step_run, slot)
    return _drive(run, step_run, slot)


# --- between steps -------------------------------------------------------------------------------


def _go_on(run: Run, last: StepRun | None) -> Intent:
    position = 0 if last is None else _next_position(run, last)
    is_last = position >= run.plan.size
    if last is not None and last.state is StepRunState.FAILED:
        slot = run.plan.slot(last.position)
        if is_last or run.plan.slot(position).step.dependency != Dependency.AFTERANY:
            return Finish(RunState.FAILED, f"step {slot.address} failed: {last.reason}")
    if last is not None and last.state is StepRunState.CANCELLED:
        return Finish(RunState.CANCELLED, last.reason)
    if is_last:
        return Finish(RunState.SUCCEEDED, _flaws(run))
    slot = run.plan.slot(position)
    return Record((AddStepRun(position, slot.iteration, slot.step.name, slot.step.kind),))


def _next_position(run: Run, last: StepRun) -> int:
    if last.position < run.first_position:
        # One row per skipped step tells the story; a loop's other iterations would only repeat it.
        return next((first for first in run.plan.first_pass() if first > last.position), run.plan.size)
    return run.plan.after(last.position, last.until)


def _flaws(run: Run) -> str | None:
    n = run.n_failed_step_runs
    return f"{n} step{'s' if n > 1 else ''} failed" if n else None


# --- one step ------------------------------------------------------------------------------------


def _start(run: Run, step_run: StepRun, slot: Slot) -> Intent:
    position = step_run.position
    if position < run.first_position:
        return Record((MoveStepRun(position, StepRunState.SKIPPED, "from_step"),))
    if slot.step.collects:
        return Collect(position)
    is_batch = slot.step.kind == StepKind.BATCH
    if is_batch and step_run.n_tasks is None:
        return Freeze(position)
    if is_batch and step_run.n_tasks == 0:
        return Record((MoveStepRun(position, StepRunState.SKIPPED, "no open experiments"),))
    first = step_run.first_attempt
    job = _batch(run, step_run, 0, first) if is_batch else _process(run, step_run, first)
    return Record((MoveStepRun(position, StepRunState.ACTIVE), job))


def _drive(run: Run, step_run: StepRun, slot: Slot) -> Intent | None:
    last = step_run.jobs[-1]
    if last.state is JobState.PLANNED:
        return Submit(last.token)
    if not last.has_ended:
        return None
    if last.state is not JobState.SUCCEEDED and _may_try_again(step_run, last, slot.step.retries):
        return Record((_again(run, step_run, last),))
    following = _following(run, step_run, slot)
    return Record((following or _conclude(step_run, slot),))


def _process(run: Run, step_run: StepRun, attempt: int) -> AddJob:
    token = token_for(run.salt, Role.STEP, step_run.position, 0, attempt)
    return AddJob(token, Role.STEP, step_run.position, 0, attempt)


def _batch(run: Run, step_run: StepRun, batch: int, attempt: int) -> AddJob:
    tasks = tasks_of_batch(batch, step_run.batch_size or 1, step_run.n_tasks or 0)
    token = token_for(run.salt, Role.BATCH, step_run.position, batch, attempt)
    indexes = format_indexes(tasks)
    return AddJob(token, Role.BATCH, step_run.position, batch, attempt, indexes, len(tasks))


def _following(run: Run, step_run: StepRun, slot: Slot) -> AddJob | None:
    """Plan the batch after the last one; None where all tasks have had their turn."""
    if slot.step.kind != StepKind.BATCH:
        return None
    following = _batch(run, step_run, step_run.jobs[-1].batch + 1, step_run.first_attempt)
    return following if following.tasks else None


def _again(run: Run, step_run: StepRun, last: Job) -> AddJob:
    """Plan the next attempt, with no more than the tasks that need it."""
    attempt = last.attempt + 1
    token = token_for(run.salt, last.role, step_run.position, last.batch, attempt)
    tasks = last.failed_tasks or last.tasks
    why = f"again after {last.kind or last.state}"
    return AddJob(token, last.role, step_run.position, last.batch, attempt, tasks, len(parse_indexes(tasks)), why)


def _may_try_again(step_run: StepRun, last: Job, retries: int) -> bool:
    # Whoever stopped it asks for it again by resuming: that is not a failure.
    if last.kind == FailureKind.INTERRUPTED:
        return True
    kinds, tries = RETRYABLE_KINDS, retries
    if last.kind in CLUSTER_KINDS:
        kinds, tries = CLUSTER_KINDS, CLUSTER_RETRIES
    failures = sum(job.batch == last.batch and job.kind in kinds for job in step_run.jobs)
    return last.kind in kinds and failures <= tries


def _conclude(step_run: StepRun, slot: Slot) -> MoveStepRun:
    return _judge(step_run, slot) if slot.step.kind == StepKind.BATCH else _close(step_run, step_run.jobs[-1])


def success_of(run: Run) -> MoveStepRun | None:
    """Give the end of the open step run, if all its work is done and went well, and only its end is not recorded yet.

    It has succeeded, whatever happens to the run at that moment: done again, its work would be done twice.
    """
    step_run = run.step_run
    if step_run is None or step_run.has_ended or not step_run.jobs or run.live_jobs:
        return None
    slot = run.plan.slot(step_run.position)
    end = _conclude(step_run, slot)
    is_whole = _following(run, step_run, slot) is None
    return end if is_whole and end.to is StepRunState.SUCCEEDED else None


def _close(step_run: StepRun, job: Job) -> MoveStepRun:
    if job.state is JobState.SUCCEEDED:
        return MoveStepRun(step_run.position, StepRunState.SUCCEEDED, until=job.until)
    why = job.reason or f"its job ended {job.state}"
    return MoveStepRun(step_run.position, StepRunState.FAILED, why)


def _judge(step_run: StepRun, slot: Slot) -> MoveStepRun:
    """Judge a step run by all its batches: a failed experiment is data, until there are too many of them."""
    n_finished, n_failed = _counts(step_run)
    why = _too_bad(step_run, slot, n_finished, n_failed)
    state = StepRunState.FAILED if why else StepRunState.SUCCEEDED
    if not why and n_failed:
        why = f"{n_failed} of {n_finished + n_failed} experiments failed"
    return MoveStepRun(step_run.position, state, why, n_finished, n_failed)


def _counts(step_run: StepRun) -> tuple[int, int]:
    return sum(job.n_finished for job in step_run.jobs), sum(job.n_failed for job in step_run.jobs)


def _too_bad(step_run: StepRun, slot: Slot, n_finished: int, n_failed: int) -> str | None:
    last_tries = {job.batch: job for job in step_run.jobs}.values()
    broken = [job for job in last_tries if job.state is not JobState.SUCCEEDED]
    if broken:
        n_tasks = sum(len(parse_indexes(job.failed_tasks or job.tasks)) for job in broken)
        return f"{n_tasks} of {step_run.n_tasks} tasks failed ({broken[0].kind}): {broken[0].reason}"
    n = n_finished + n_failed
    if n < (step_run.n_experiments or 0):
        n_open, n_frozen = (step_run.n_experiments or 0) - n, step_run.n_experiments
        return f"{n_open} of {n_frozen} experiments have no result, though all of its tasks have ended"
    if n_failed and not n_finished:
        return f"every experiment failed ({n} of {n})"
    limit = slot.step.max_failed
    share = n_failed / n if isinstance(limit, float) and n else n_failed
    if limit is not None and share > limit:
        return f"{n_failed} of {n} experiments failed, more than max_failed={limit}"
    return None


# --- stopping ------------------------------------------------------------------------------------


def _stop(run: Run, to: StepRunState, why: str) -> Intent:
    """End what is live, orchestrators that wait first: the end of a step's job would start them."""
    waiting = [job.token for job in run.orchestrators if job.state is JobState.QUEUED]
    with_scheduler = [job.token for job in run.live_jobs if job.state is not JobState.PLANNED]
    if with_scheduler:
        return CancelJobs((*waiting, *with_scheduler))
    changes: list[Change] = [
        MoveJob(job.token, JobState.CANCELLED, why, FailureKind.CANCELLED) for job in run.live_jobs
    ]
    step_run = run.step_run
    if step_run is not None and not step_run.has_ended:
        changes.append(success_of(run) or MoveStepRun(step_run.position, to, why, *_counts(step_run)))
    return Record(tuple(changes)) if changes else Finish(RunState(to.value), why)
