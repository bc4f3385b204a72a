"""What a login node does with a run on a cluster: begin it, or let it go on, and leave it to its jobs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.db.store import RunRecord, Store
from orchestrator.definition.validate import check_cluster
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster.config import Site, orchestrator_resources
from orchestrator.engine.cluster.orchestrate import looks
from orchestrator.engine.cluster.scripts import Scripts, all_scripts
from orchestrator.engine.cluster.session import context_of, holding_on_cluster, opened, scheduler_of
from orchestrator.engine.code import Kept, take_code
from orchestrator.engine.context import Context
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.engine.resume import going_on_by_resume, put_back
from orchestrator.engine.summary import how_it_stands
from orchestrator.errors import Busy, DefinitionError, RunFailed, SchedulerUnreachable
from orchestrator.handoff.environment import keep_environment
from orchestrator.handoff.folder import DATABASE, RunFolder
from orchestrator.machine.model import Run
from orchestrator.machine.plan import Plan
from orchestrator.machine.rewind import died
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.states import RunState
from orchestrator.machine.wakeup import is_in_doubt, why_look_again
from orchestrator.slurm.client import Client

if TYPE_CHECKING:
    from orchestrator.api import Pipeline
    from orchestrator.definition.resources import SlurmCluster

__all__ = ["ask_site", "go_on_from_here", "scripts_of"]

LONGER = 60.0
"""Seconds beyond the grace for which a login node looks again, where nobody else would see what becomes of a job."""


def _site_of(cluster: SlurmCluster | None, pipeline: Pipeline) -> Site:
    """Check how a pipeline would use a cluster, without asking the cluster.

    Raises
    ------
    DefinitionError
    """
    if cluster is None:
        raise DefinitionError(
            'mode="slurm" needs to know the cluster.',
            'Say which: cluster=SlurmCluster(partition="...", account="...")',
        )
    check_cluster(cluster)
    return Site(cluster, orchestrator_resources(pipeline.orchestrator_resources), str(Path.cwd()))


def ask_site(cluster: SlurmCluster | None, pipeline: Pipeline, plan: Plan) -> Site:
    """Check how a pipeline would use a cluster, and ask the cluster, once, what it bears.

    Raises
    ------
    DefinitionError
        If something can't work, or SLURM's programs are not here.
    SchedulerUnreachable
    """
    site = _site_of(cluster, pipeline)
    # Whatever can't be said to sbatch is refused now, and not when its turn comes.
    all_scripts(Scripts(site, RunFolder(Path("/"), "x", site.cluster.log_dir), Path("/"), pipeline.name), plan)
    client = Client()
    missing = client.is_missing()
    if missing is not None:
        raise DefinitionError(
            f"{missing} is not on PATH: this machine is no login node of a SLURM cluster.",
            'Type it on one, or run here: mode="local", or: orchestrator run STUDY.py',
        )
    config = client.config()
    return site._replace(max_array_size=config.max_array_size, has_accounting=config.has_accounting)


def scripts_of(pipeline: Pipeline, cluster: SlurmCluster, project_job: str, rootdir: Path) -> dict[str, str]:
    """Print the scripts that a run would hand to sbatch, by label.

    Raises
    ------
    DefinitionError
    """
    from orchestrator.definition.flatten import plan_of
    from orchestrator.definition.validate import check_key, check_pipeline

    steps = list(pipeline.all_steps)
    check_pipeline(pipeline.name, steps, pipeline.orchestrator_resources)
    check_key(project_job)
    site = _site_of(cluster, pipeline)
    workspace = rootdir.absolute()
    folder = RunFolder(workspace, project_job, site.cluster.log_dir)
    scripts = all_scripts(Scripts(site, folder, workspace / DATABASE, pipeline.name), plan_of(steps))
    return {label: script.text for label, script in scripts.items()}


def go_on_from_here(
    store: Store,
    key: str,
    *,
    say: Callable[[str], None],
    is_resume: bool = False,
    position: int | None = None,
    kept: Kept | None = None,
    site: Site | None = None,
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
    kept : Kept, optional
        New code for it.
    site : Site, optional
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
        keep_environment(RunFolder(store.path.parent, key))
        scheduler = scheduler_of(store, store.record(key))
        with holding_on_cluster(store, key, scheduler) as fence:
            if site is not None:
                store.set_cluster(key, fence, site.to_json())
                scheduler = scheduler_of(store, store.record(key))
            scheduler.write_scripts((kept or store.record(key)).plan)
            context = context_of(store, key, fence, scheduler)
            run = _advance(context, is_resume, position, kept)
        if is_resume and is_in_doubt(run) and not _somebody_comes(run, scheduler.has_tail):
            run = _look_while(is_in_doubt, store, key, scheduler.grace + LONGER, say)
            if run.state is RunState.FAILED and run.step_run is not None and died(run.step_run):
                # It had died before the user asked for it again.
                with holding_on_cluster(store, key, scheduler) as fence:
                    run = _advance(context_of(store, key, fence, scheduler), is_resume, position, None)
        if _is_failing(run):
            run = _look_while(_is_failing, store, key, scheduler.grace + LONGER, say)
        say(_what_came(run, context.record, scheduler.has_tail))


def _what_came(run: Run, record: RunRecord, has_tail: bool) -> str:
    if run.state is RunState.FAILED:
        raise RunFailed(f"Run {run.key} failed: {run.reason}.", _when_mended(record))
    why = why_look_again(run)
    if why is not None and not _somebody_comes(run, has_tail):
        hint = f"Go on when that has passed: orchestrator resume {run.key}"
        raise Busy(f"Run {run.key} is recorded, but {why}.", hint)
    return how_it_stands(run)


def _when_mended(record: RunRecord) -> str:
    """Say what to type after a failure: the run keeps its resources and its cluster until the study is read again."""
    attr = f":{record.study_attr}" if record.study_attr not in (None, "pipeline") else ""
    study = shlex.quote(record.study + attr) if record.study else "STUDY.py"
    return (
        f"Once that is mended: orchestrator resume {record.key}\n"
        f"With what the study says now: orchestrator submit {study} --project-job {record.key}"
    )


def _somebody_comes(run: Run, has_tail: bool) -> bool:
    """Tell whether a job that SLURM has will advance the run, whatever this process has not seen to its end."""
    return run.state is RunState.ACTIVE and why_stalled(liveness_of(run, has_tail=has_tail)) is None


def _is_failing(run: Run) -> bool:
    return run.failing is not None


def _look_while(
    is_open: Callable[[Run], bool], store: Store, key: str, patience: float, say: Callable[[str], None]
) -> Run:
    """Advance again until what is open is known, or the patience is over: nobody else would ask."""
    for pause in looks(partial(opened, store, key), patience, say, time.monotonic):
        if not is_open(store.load(key)):
            break
        time.sleep(pause)
    return store.load(key)


def _advance(context: Context, is_resume: bool, position: int | None, kept: Kept | None) -> Run:
    try:
        if kept is not None:
            context = take_code(context, kept)
        if is_resume:
            put_back(context, position)
        with going_on_by_resume(context.key):
            return advance(context)
    except SchedulerUnreachable as error:
        hint = f"Go on when it answers: orchestrator resume {context.key}"
        raise SchedulerUnreachable(error.message, hint) from error
