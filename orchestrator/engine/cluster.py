"""Advance a run on a cluster: from a login node, from an orchestrator job, from the tail of a step's own job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain, repeat

from orchestrator.db.guard import is_local
from orchestrator.db.stalled import ENDS_WITHIN
from orchestrator.db.store import Holder, RunRecord, Store
from orchestrator.engine.advance import advance
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.engine.lease import holding
from orchestrator.engine.progress import Silent
from orchestrator.engine.site import Site
from orchestrator.engine.slurm import SlurmScheduler
from orchestrator.errors import Busy, LeaseHeld, SchedulerUnreachable
from orchestrator.handoff.environment import kept_environment
from orchestrator.handoff.folder import RunFolder
from orchestrator.machine.changes import MoveJob
from orchestrator.machine.model import Run
from orchestrator.machine.states import JobState, RunState
from orchestrator.machine.wakeup import why_look_again
from orchestrator.slurm.client import Client

__all__ = [
    "advance_now",
    "cancel_jobs",
    "context_of",
    "holding_on_cluster",
    "how_it_stands",
    "looks",
    "opened",
    "orchestrate",
    "scheduler_of",
    "what_now",
]

PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between two looks of an orchestrator job; the last is repeated."""

CANCEL_WAIT = ENDS_WITHIN
"""Seconds that `cancel` waits for the queue to be empty."""

LOOK_EVERY = 0.5


def scheduler_of(store: Store, record: RunRecord) -> SlurmScheduler:
    """Give the scheduler of a run that was submitted to a cluster."""
    site = Site.from_json(record.cluster or {})
    workspace = store.path.parent
    folder = RunFolder(workspace, record.key, site.cluster.log_dir)
    client = Client(submitter=kept_environment(folder))
    return SlurmScheduler(folder, site, record.name, store.path, shared=not is_local(workspace), client=client)


def context_of(store: Store, key: str, fence: int, scheduler: SlurmScheduler) -> Context:
    """Give what one advance works with."""
    within = (Holder.me().scheduler_id or "").partition("_")[0] or None
    record, cwd = store.record(key), scheduler.site.cwd
    return Context(store, record, fence, scheduler.folder, scheduler, Silent(), cwd=cwd, within=within)


@contextmanager
def holding_on_cluster(store: Store, key: str, scheduler: SlurmScheduler) -> Iterator[int]:
    """Hold a run's lease; from a job that SLURM calls gone it is taken over at once.

    Raises
    ------
    LeaseHeld
    """
    with ExitStack() as stack:
        try:
            fence = stack.enter_context(holding(store, key, beats=True))
        except LeaseHeld as held:
            gone = _if_gone(held, scheduler)
            if gone is None:
                raise
            fence = stack.enter_context(holding(store, key, beats=True, gone=gone))
        yield fence


def _if_gone(held: LeaseHeld, scheduler: SlurmScheduler) -> Holder | None:
    holder = held.holder
    if not isinstance(holder, Holder) or holder.scheduler_id is None:
        return None
    return holder if scheduler.is_gone(holder.scheduler_id) else None


@contextmanager
def opened(store: Store, key: str, token: str | None = None, job_id: str | None = None) -> Iterator[Context]:
    """Hold a run for one advance, by the orchestrator job of that token and id if it is one.

    Raises
    ------
    LeaseHeld
    """
    scheduler = scheduler_of(store, store.record(key))
    with holding_on_cluster(store, key, scheduler) as fence:
        yield context_of(store, key, fence, scheduler)._replace(own_token=token, own_id=job_id)


def advance_now(store: Store, key: str, *, is_tail: bool = False) -> str:
    """Advance a run once, from anywhere.

    Parameters
    ----------
    store : Store
    key : str
    is_tail : bool, default False
        Whether this process is the tail of a step's job.

    Returns
    -------
    str
        One sentence: what came of it.
    """
    with opened(store, key) as context:
        return how_it_stands(advance(context._replace(is_tail=is_tail)))


# --- an orchestrator job -------------------------------------------------------------------------


def orchestrate(store: Store, key: str, token: str, job_id: str, patience: float, say: Callable[[str], None]) -> None:
    """Do what an orchestrator job is for: advance, until the end of some job makes somebody come after it.

    Parameters
    ----------
    store : Store
    key : str
    token, job_id : str
        Of the orchestrator job.
    patience : float
        Seconds for which it looks again, where that is needed; then its successor does.
    say : callable
        Told one line at a time.
    """
    for pause in looks(partial(opened, store, key, token, job_id), patience, say, time.monotonic):
        time.sleep(pause)


def looks(
    hold: Callable[[], AbstractContextManager[Context]],
    patience: float,
    say: Callable[[str], None],
    clock: Callable[[], float],
) -> Iterator[float]:
    """Advance once per item, and give the seconds until the next look; the end comes when none is needed any more.

    Parameters
    ----------
    hold : callable
        Gives the block in which the run is held.
    patience, say
        As of `orchestrate`.
    clock : callable
        Gives seconds.
    """
    end = clock() + patience
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        why = _look(hold, say)
        if why is None:
            return
        if clock() + pause > end:
            say(f"{why}; the time for looking is up")
            return
        say(f"{why}; looks again in {pause:.0f} s")
        yield pause


def _look(hold: Callable[[], AbstractContextManager[Context]], say: Callable[[str], None]) -> str | None:
    """Advance once, and tell why that was not enough."""
    try:
        with hold() as context:
            run = advance(context)
            why = why_look_again(run)
            if why is None:
                _end_own(context, run)
                if context.own_token is not None:
                    say(what_now(run))
            return why
    except Busy as error:
        return error.message


def _end_own(context: Context, run: Run) -> None:
    """Record that this job has nothing left to do: nobody will look at how it ended."""
    if any(job.token == context.own_token and job.state is JobState.RUNNING for job in run.orchestrators):
        done = MoveJob(context.own_token or "", JobState.SUCCEEDED)
        context.store.write(context.key, context.fence, [done], context.clock())


def how_it_stands(run: Run) -> str:
    """Say in one sentence what a run waits for, and what is not known yet."""
    line, why = what_now(run), why_look_again(run)
    return line[0].upper() + line[1:] + (f"; {why}" if why else "") + "."


def what_now(run: Run) -> str:
    """Say in one line what a run waits for, or how it ended."""
    if run.state is not RunState.ACTIVE:
        return f"run {run.key}: {run.state}" + (f" ({run.reason})" if run.reason else "")
    if run.step_run is None or not run.live_jobs:
        return f"run {run.key}: nothing runs"
    address, job = run.plan.slot(run.step_run.position).address, run.live_jobs[0]
    return f"run {run.key}: {address} is job {job.scheduler_id or job.token} ({job.state})"


# --- cancelling ----------------------------------------------------------------------------------


def cancel_jobs(store: Store, key: str) -> Run:
    """Cancel a run that was asked to stop, and wait until none of its jobs is left in the queue.

    Returns
    -------
    Run
        As it ended.

    Raises
    ------
    Busy
        If jobs are left after four minutes.
    SchedulerUnreachable
        If SLURM does not answer; that the run was asked to stop is recorded.
    Interrupted
        By Ctrl-C.
    """
    unseen = interrupted_as(
        f"Run {key} was asked to stop, but its end was not seen.", f"To see it end: orchestrator cancel {key}"
    )
    try:
        with unseen:
            return _cancel_jobs(store, key)
    except SchedulerUnreachable as error:
        hint = f"Run {key} was asked to stop, and ends when SLURM answers. To see it end: orchestrator cancel {key}"
        raise SchedulerUnreachable(error.message, hint) from error


def _cancel_jobs(store: Store, key: str) -> Run:
    scheduler = scheduler_of(store, store.record(key))
    end = time.monotonic() + CANCEL_WAIT
    run = store.load(key)
    while run.state is RunState.ACTIVE:
        why = "Its jobs have not ended yet."
        try:
            with holding_on_cluster(store, key, scheduler) as fence:
                run = advance(context_of(store, key, fence, scheduler))
        except LeaseHeld as held:
            # Whoever has it reads the request with its next write.
            run, why = store.load(key), held.message
        if run.state is RunState.ACTIVE:
            _pause(end, key, why)
    tokens = store.tokens(key)
    while ids := scheduler.live_ids(tokens):
        # An orchestrator job that ran, or one that nobody had recorded.
        scheduler.cancel_ids(ids)
        _pause(end, key, f"SLURM still ends job {', '.join(ids)}.")
    return run


def _pause(end: float, key: str, why: str) -> None:
    if time.monotonic() > end:
        raise Busy(
            f"Run {key} was asked to stop {CANCEL_WAIT:.0f} s ago. {why}",
            f"It is asked again by: orchestrator cancel {key}",
        )
    time.sleep(LOOK_EVERY)
