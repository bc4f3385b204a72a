"""What a login node does with a run on a cluster: begin it, or let it go on, and leave it to its jobs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from functools import partial

from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.engine.cluster.orchestrate import poll
from orchestrator.engine.cluster.session import hold_lease_on_cluster, hold_run, make_context, scheduler_of
from orchestrator.engine.code import CheckedPipeline, take_code
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.engine.resume import reopen, with_resume_hint
from orchestrator.errors import Busy, RunFailed, SchedulerUnreachable
from orchestrator.handoff.environment import write_environment
from orchestrator.machine.model import Run
from orchestrator.machine.rewind import died_before_resume
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.summary import describe
from orchestrator.machine.wakeup import is_in_doubt, why_poll_again

__all__ = ["hand_over"]

LONGER = 60.0
"""Seconds beyond the grace for which a login node looks again, where nobody else would see what becomes of a job."""


def hand_over(
    store: Store,
    key: str,
    *,
    say: Callable[[str], None],
    is_resume: bool = False,
    position: int | None = None,
    checked: CheckedPipeline | None = None,
    config: ClusterConfig | None = None,
) -> None:
    """Advance a run once; from then on its own jobs do.

    Parameters
    ----------
    store : Store
    key : str
    say : callable
        Told what was submitted.
    is_resume : bool, default False
        Whether what failed is put back first.
    position : int, optional
        From where it goes on; by default where it stands.
    checked : CheckedPipeline, optional
        New code for it.
    config : ClusterConfig, optional
        Another cluster for it, or other resources of its orchestrator.

    Raises
    ------
    Busy
        If nothing will wake the run: SLURM took no job, or gave no answer. Where it is not known whether SLURM has a
        job, a resume waits for that; and where SLURM refused the orchestrator job for good, for the end of the first
        job: about as long as the grace.
    RunFailed
        If it has failed already.
    Interrupted
        By Ctrl-C.
    """
    unseen = interrupted_as(
        f"Run {key} is recorded; whether it goes on by itself was not seen.",
        f"See how it stands: orchestrator status {key} --refresh",
    )
    with unseen:
        write_environment(store.workspace.run(key))
        scheduler = scheduler_of(store, store.record(key))
        with hold_lease_on_cluster(store, key, scheduler) as fence:
            if config is not None:
                store.set_cluster(key, fence, config.to_json())
                scheduler = scheduler_of(store, store.record(key))
            scheduler.write_scripts((checked or store.record(key)).plan)
            context = make_context(store, key, fence, scheduler)
            run = _advance(context, is_resume, position, checked)
        if is_resume and is_in_doubt(run) and not _will_be_advanced(run, scheduler.has_tail):
            run = _poll_while(is_in_doubt, store, key, scheduler.grace + LONGER, say)
            if died_before_resume(run):
                # It had died before the user asked for it again.
                with hold_lease_on_cluster(store, key, scheduler) as fence:
                    run = _advance(make_context(store, key, fence, scheduler), is_resume, position, None)
        if _is_failing(run):
            run = _poll_while(_is_failing, store, key, scheduler.grace + LONGER, say)
        say(_outcome(run, context.record, scheduler.has_tail))


def _outcome(run: Run, record: RunRecord, has_tail: bool) -> str:
    if run.has_failed:
        raise RunFailed(f"Run {run.key} failed: {run.reason}.", _after_the_fix(record))
    why = why_poll_again(run)
    if why is not None and not _will_be_advanced(run, has_tail):
        hint = f"Go on when that has passed: orchestrator resume {run.key}"
        raise Busy(f"Run {run.key} is recorded, but {why}.", hint)
    return describe(run)


def _after_the_fix(record: RunRecord) -> str:
    """Say what to type after a failure: the run keeps its resources and its cluster until the study is read again."""
    attr = f":{record.study_attr}" if record.study_attr not in (None, "pipeline") else ""
    study = shlex.quote(record.study + attr) if record.study else "STUDY.py"
    return (
        f"Once that is mended: orchestrator resume {record.key}\n"
        f"With what the study says now: orchestrator submit {study} --project-job {record.key}"
    )


def _will_be_advanced(run: Run, has_tail: bool) -> bool:
    """Tell whether a job that SLURM has will advance the run, whatever this process has not seen to its end."""
    return not run.has_ended and why_stalled(liveness_of(run, has_tail=has_tail)) is None


def _is_failing(run: Run) -> bool:
    return run.failing is not None


def _poll_while(
    is_open: Callable[[Run], bool], store: Store, key: str, patience: float, say: Callable[[str], None]
) -> Run:
    """Advance again until what is open is known, or the patience is over: nobody else would ask."""
    for pause in poll(partial(hold_run, store, key), patience, say, time.monotonic):
        if not is_open(store.load(key)):
            break
        time.sleep(pause)
    return store.load(key)


def _advance(context: Context, is_resume: bool, position: int | None, checked: CheckedPipeline | None) -> Run:
    try:
        if checked is not None:
            context = take_code(context, checked)
        if is_resume:
            reopen(context, position)
        with with_resume_hint(context.key):
            return advance(context)
    except SchedulerUnreachable as error:
        hint = f"Go on when it answers: orchestrator resume {context.key}"
        raise SchedulerUnreachable(error.message, hint) from error
