"""Submit or resume a run on a cluster, from a login node: advance it once, then leave it to its jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from orchestrator.addresses import format_study
from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.engine.cluster.moved import check_jobs_of_moved_run, check_not_copied
from orchestrator.engine.cluster.orchestrate import poll
from orchestrator.engine.cluster.session import hold_lease_on_cluster, make_context, scheduler_of, with_lease_on
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.engine.code import CheckedPipeline, replace_code
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.engine.resume import reopen, with_resume_hint
from orchestrator.errors import Busy, RunFailed, SchedulerUnreachable
from orchestrator.handoff.environment import write_environment
from orchestrator.machine.headlines import describe
from orchestrator.machine.model import Run
from orchestrator.machine.plan import Plan
from orchestrator.machine.resume_point import died_before_resume
from orchestrator.machine.rewind import WHERE_IT_STOPPED, Begin
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.wakeup import is_in_doubt, why_poll_again

__all__ = ["hand_over"]

EXTRA_WAIT = 60.0
"""Seconds beyond the grace for which a login node polls, if no other process would observe a job."""


def hand_over(
    store: Store,
    key: str,
    *,
    say: Callable[[str], None],
    is_resume: bool = False,
    begin: Begin = WHERE_IT_STOPPED,
    checked: CheckedPipeline | None = None,
    config: ClusterConfig | None = None,
) -> None:
    """Advance a run once; from then on its own jobs do.

    Parameters
    ----------
    store : Store
        Where it is recorded.
    key : str
        The run's key.
    say : callable
        Called with each line to print.
    is_resume : bool, default False
        Whether failed steps are withdrawn first.
    begin : Begin, optional
        Where it continues; by default where it stopped.
    checked : CheckedPipeline, optional
        New code for it.
    config : ClusterConfig, optional
        A new cluster for it, or new resources of its orchestrator jobs.

    Raises
    ------
    Busy
        If nothing will wake the run: SLURM accepted no job, or did not answer. Before that, a resume polls for about
        the grace while it is not known whether SLURM has a job. So does any command while the first job ends after
        SLURM refused the orchestrator job.
    RunFailed
        If it has failed already.
    DefinitionError
        If the workspace is a copy of another one, which has the same run.
    Interrupted
        On Ctrl-C.
    """
    interruptible = interrupted_as(
        f"Run {key} is recorded, but it is not known whether it continues by itself.",
        f"To check: orchestrator status {key} --refresh",
    )
    with interruptible:
        check_not_copied(store, key)
        scheduler = scheduler_of(store, store.record(key))
        before = _in_queue(store.load(key))
        with hold_lease_on_cluster(store, key, scheduler) as fence:
            check_jobs_of_moved_run(store, key, scheduler)
            store.relocate(key, fence)
            if config is not None:
                store.set_cluster(key, fence, config.stored(scheduler.folder).to_json())
            scheduler = _with_files(store, key, fence, (checked or store.record(key)).plan)
            context = make_context(store, key, fence, scheduler)
            run = _advance(context, is_resume, begin, checked)
        if is_resume and is_in_doubt(run) and not _will_be_advanced(run, scheduler.has_tail):
            run = _poll_while(is_in_doubt, store, key, scheduler.grace + EXTRA_WAIT, say)
        if is_resume and died_before_resume(run):
            # The job had died before this resume, which repeats its step.
            with hold_lease_on_cluster(store, key, scheduler) as fence:
                run = _advance(make_context(store, key, fence, scheduler), is_resume, begin, None)
        if _is_failing(run):
            run = _poll_while(_is_failing, store, key, scheduler.grace + EXTRA_WAIT, say)
        result = _result(run, context.record, scheduler.has_tail)
        if is_resume and before and _in_queue(run) == before:
            say(f"Run {key} exists already and is active; nothing new was submitted.")
        say(result)


def _in_queue(run: Run) -> set[str]:
    """Return the tokens of the jobs of a run that SLURM has accepted, and that have not ended."""
    return {job.token for job in (*run.live_jobs, *run.orchestrators) if job.is_accepted}


def _with_files(store: Store, key: str, fence: int, plan: Plan) -> SlurmScheduler:
    """Write the environment of the jobs and their scripts, and record their digests."""
    scheduler = scheduler_of(store, store.record(key))
    environment = write_environment(scheduler.folder)
    scripts = scheduler.write_scripts(plan)
    config = scheduler.config._replace(environment=environment, scripts=scripts)
    store.set_files(key, fence, config.to_json())
    return scheduler_of(store, store.record(key))


def _result(run: Run, record: RunRecord, has_tail: bool) -> str:
    if run.has_failed:
        raise RunFailed(f"Run {run.key} failed: {str(run.reason).removesuffix('.')}.", _hint_after_failure(record))
    why = why_poll_again(run)
    if why is not None and not _will_be_advanced(run, has_tail):
        drive = f"On a login node: orchestrator wait {run.key} --drive"
        hint = f"Continue after that: orchestrator resume {run.key}" if run.login_only is None else drive
        raise Busy(f"Run {run.key} is recorded, but {why}.", hint)
    if run.login_only is None or run.has_ended:
        return describe(run)
    drive = f"orchestrator wait {run.key} --drive"
    return f"{describe(run)}\nNodes of this cluster may not submit jobs. To run the next steps: {drive}"


def _hint_after_failure(record: RunRecord) -> str:
    """Return what to type after a failure; a plain `resume` keeps the resources and the cluster of the run."""
    study = format_study(record.study, record.study_attr)
    return (
        f"After a fix of the study or its cluster: orchestrator submit {study} --project-job {record.key}\n"
        f"After a fix by the site: orchestrator resume {record.key}"
    )


def _will_be_advanced(run: Run, has_tail: bool) -> bool:
    """Whether a job in the queue will advance the run after this process."""
    return not run.has_ended and why_stalled(liveness_of(run, has_tail=has_tail)) is None


def _is_failing(run: Run) -> bool:
    return run.failing is not None


def _poll_while(
    is_undecided: Callable[[Run], bool], store: Store, key: str, patience: float, say: Callable[[str], None]
) -> Run:
    """Advance repeatedly while `is_undecided` is true, for at most `patience` seconds."""
    for pause in poll(partial(with_lease_on, store, key), patience, say, time.monotonic):
        if not is_undecided(store.load(key)):
            break
        time.sleep(pause)
    return store.load(key)


def _advance(context: Context, is_resume: bool, begin: Begin, checked: CheckedPipeline | None) -> Run:
    try:
        if checked is not None:
            context = replace_code(context, checked, begin)
        if is_resume:
            reopen(context, begin)
        with with_resume_hint(context.key):
            return advance(context)
    except SchedulerUnreachable as error:
        hint = f"Continue when it answers: orchestrator resume {context.key}"
        raise SchedulerUnreachable(error.message, hint) from error
