"""The verbs that the API and the command line share: start, submit, resume, advance, cancel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.progress import progress_for
from orchestrator.engine.resume import is_done, position_of, refuse_other_steps
from orchestrator.engine.summary import ended
from orchestrator.errors import DefinitionError
from orchestrator.handoff.folder import DATABASE, RunFolder
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import RunState

if TYPE_CHECKING:
    from orchestrator.api import Pipeline
    from orchestrator.definition.resources import SlurmCluster
    from orchestrator.definition.study import Study

__all__ = ["advance", "cancel", "resume", "start", "submit"]


def start(
    pipeline: Pipeline,
    *,
    rootdir: Path = Path(),
    project_job: str | None = None,
    study: Study | None = None,
    jobs: int | None = None,
    db: Path | None = None,
) -> str:
    """Run a pipeline here; a run of that key that exists goes on, with the pipeline's code.

    Returns
    -------
    str
        The run's key.
    """
    from orchestrator.engine import code
    from orchestrator.engine.create import begin
    from orchestrator.engine.local.run import drive

    kept = code.check(pipeline, project_job, study)
    store = Store((db or rootdir / DATABASE).absolute())
    if project_job is None or not store.has(project_job):
        key = begin(store, pipeline, kept, project_job, "local")
        drive(store, key, kept.load, jobs)
        return key
    record = store.record(project_job)
    _check_mode(record, "local")
    if not _nothing_to_do(store, record, pipeline.first_element, kept.plan):
        drive(store, project_job, kept.load, jobs, position=_first_position(pipeline, kept.plan.start_of), kept=kept)
    return project_job


def submit(
    pipeline: Pipeline,
    cluster: SlurmCluster | None,
    *,
    rootdir: Path = Path(),
    project_job: str | None = None,
    study: Study | None = None,
    db: Path | None = None,
) -> str:
    """Submit a pipeline to a cluster; a run of that key that exists goes on, with the pipeline's code.

    Returns
    -------
    str
        The run's key.

    Raises
    ------
    DefinitionError
        If something can't work; nothing was written.
    Busy
        If SLURM does not answer, or takes no job now.
    """
    from orchestrator.engine import code
    from orchestrator.engine.cluster.submit import ask_site, go_on_from_here
    from orchestrator.engine.create import begin

    kept = code.check(pipeline, project_job, study, everything_travels=True)
    site = ask_site(cluster, pipeline, kept.plan)
    store = Store((db or rootdir / DATABASE).absolute())
    if project_job is None or not store.has(project_job):
        key = begin(store, pipeline, kept, project_job, "slurm", site.to_json())
        go_on_from_here(store, key, say=progress_for().say)
        return key
    record = store.record(project_job)
    _check_mode(record, "slurm")
    if not _nothing_to_do(store, record, pipeline.first_element, kept.plan):
        position = _first_position(pipeline, kept.plan.start_of)
        go_on_from_here(
            store, project_job, say=progress_for().say, is_resume=True, position=position, kept=kept, site=site
        )
    return project_job


def resume(
    db: Path,
    key: str,
    *,
    from_step: str | None = None,
    update: Study | None = None,
    jobs: int | None = None,
) -> str:
    """Go on with a run, from where it stands or from an address, with the code that it keeps or with new code.

    Returns
    -------
    str
        The run's key.
    """
    from orchestrator.engine import code

    store = Store(db)
    record = store.record(key)
    on_cluster = record.mode == "slurm"
    kept = None
    if update is not None:
        kept = code.check(update.pipeline, key, update, everything_travels=on_cluster)
        if from_step is None and is_done(store, record):
            refuse_other_steps(record, kept.plan)
    position = None if from_step is None else position_of(key, (kept or record).plan, from_step)
    if kept is None:
        if position is None and _nothing_to_do(store, record, None, record.plan):
            return key
        change = code.change_of_study(record)
        if change is not None:
            progress_for().say(change)
    if on_cluster:
        from orchestrator.engine.cluster.submit import go_on_from_here

        go_on_from_here(store, key, say=progress_for().say, is_resume=True, position=position, kept=kept)
        return key
    from orchestrator.engine.local.run import drive

    load = kept.load if kept is not None else code.loader(RunFolder(store.path.parent, key), record)
    drive(store, key, load, jobs, position=position, kept=kept)
    return key


def advance(db: Path, key: str, *, job: str | None = None, patience: float = 0.0) -> str:
    """Advance a run as far as it goes now.

    Parameters
    ----------
    db : Path
    key : str
    job : str, optional
        Token of the orchestrator job that this process is.
    patience : float, default 0.0
        Seconds for which an orchestrator job looks again, where that is needed.

    Returns
    -------
    str
        One sentence: what came of it.
    """
    store = Store(db)
    record = store.record(key)
    if record.mode == "slurm":
        from orchestrator.engine.cluster.orchestrate import advance_now, orchestrate

        if job is None:
            return advance_now(store, key)
        orchestrate(store, key, job, os.environ.get("SLURM_JOB_ID", ""), patience, _say_when)
        return f"Orchestrator job {job} is done."
    if record.state != RunState.ACTIVE:
        return f"Nothing to do: run {key} {ended(store.load(key))}."
    resume(db, key)
    return f"Run {key} {ended(store.load(key))}."


def cancel(db: Path, key: str) -> str:
    """Cancel a run: ask whoever advances it to stop, or, where nobody does, do it here.

    Returns
    -------
    str
        One sentence: what came of it.
    """
    store = Store(db)
    run = store.load(key)
    if run.state is not RunState.ACTIVE:
        return f"Nothing to do: run {key} {ended(run)}."
    store.request_cancel(key, time.time())
    if store.record(key).mode == "slurm":
        from orchestrator.engine.cluster.cancel import cancel_jobs

        return f"Run {key} {ended(cancel_jobs(store, key))}."
    from orchestrator.engine.local.run import cancel_here

    return f"Run {key} {ended(cancel_here(store, key))}."


def _say_when(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def _check_mode(record: RunRecord, mode: str) -> None:
    if record.mode != mode:
        raise DefinitionError(
            f'Run {record.key} was begun with mode="{record.mode}"; it can\'t go on with mode="{mode}".',
            f"Go on as it was begun: orchestrator resume {record.key}",
        )


def _first_position(pipeline: Pipeline, start_of: Callable[[int], int]) -> int | None:
    return None if pipeline.first_element is None else start_of(pipeline.first_element)


def _nothing_to_do(store: Store, record: RunRecord, first_element: int | None, plan: Plan) -> bool:
    if first_element is not None or not is_done(store, record):
        return False
    refuse_other_steps(record, plan)
    progress_for().say(f"Nothing to do: run {record.key} {ended(store.load(record.key))}.")
    return True
