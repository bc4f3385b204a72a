"""The commands that the API and the command line share: start, submit, resume, retry, advance, cancel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrator.db.lease_holder import Holder
from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.lost_table import check_table
from orchestrator.engine.preview import (
    about_idle,
    about_new_run,
    about_next,
    check_on_cluster,
    preview,
    preview_of,
    usable_record,
)
from orchestrator.engine.progress import progress_for
from orchestrator.engine.resume import position_of
from orchestrator.errors import DefinitionError, LeaseHeld
from orchestrator.machine.headlines import how_it_ended
from orchestrator.machine.kinds import Mode
from orchestrator.machine.rewind import WHERE_IT_STOPPED, Begin, reopening
from orchestrator.trust import check_run_folder
from orchestrator.visible import visible
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.definition.pipeline import PipelineDefinition
    from orchestrator.definition.resources import SlurmCluster
    from orchestrator.definition.study import Study
    from orchestrator.engine.cluster.config import ClusterConfig
    from orchestrator.engine.code import CheckedPipeline

__all__ = [
    "ACCEPT",
    "RETRY",
    "advance",
    "begin_of",
    "cancel",
    "check_free",
    "check_update",
    "checked_pipeline",
    "continue_run",
    "drive",
    "resume",
    "retry",
    "start",
    "submit",
]


def start(
    pipeline: PipelineDefinition,
    workspace: Workspace,
    *,
    project_job: str | None = None,
    study: Study | None = None,
    jobs: int | None = None,
    agrees: Agrees | None = None,
) -> str | None:
    """Run a pipeline on this machine; a run of that key that exists continues, with the pipeline's code.

    Returns
    -------
    str or None
        The run's key; None if the user does not agree.
    """
    from orchestrator.engine import code
    from orchestrator.engine.create import create
    from orchestrator.engine.local.run import run_to_end

    checked = code.check(pipeline, project_job, study)
    _say_all(checked.notes)
    store = Store(workspace.database)
    if project_job is None or not store.has(project_job):
        _check_new_folder(workspace, project_job)
        about = about_new_run(workspace, checked.plan, project_job, Mode.LOCAL, pipeline.first_element)
        if agrees is not None and not agrees(about, is_new=True, asks=False):
            return None
        key = create(store, pipeline, checked, project_job, Mode.LOCAL)
        run_to_end(store, key, checked.load, jobs)
        return key
    record = usable_record(store, project_job)
    _check_mode(record, Mode.LOCAL)
    check_free(workspace, project_job, dry_run=agrees is not None)
    idle = about_idle(store, record, pipeline.first_element, checked)
    begin = Begin(_first_position(pipeline, checked.plan.start_of))
    if not _agrees(agrees, workspace, project_job, begin, checked, idle):
        return None
    if not idle:
        run_to_end(store, project_job, checked.load, jobs, begin=begin, checked=checked)
    return project_job


def submit(
    pipeline: PipelineDefinition,
    cluster: SlurmCluster | None,
    workspace: Workspace,
    *,
    project_job: str | None = None,
    study: Study | None = None,
    probe: bool | None = None,
    agrees: Agrees | None = None,
) -> str | None:
    """Submit a pipeline to a cluster; a run of that key that exists continues, with the pipeline's code.

    Parameters
    ----------
    pipeline : PipelineDefinition
        The pipeline.
    cluster : SlurmCluster or None
        The cluster.
    workspace : Workspace
        Where the run is recorded.
    project_job : str, optional
        The run's key.
    study : Study, optional
        The file that defines the pipeline.
    probe : bool, optional
        Whether `env_setup` and `runner` are tried first in a job. None: they are tried on this machine; False: nowhere.
    agrees : callable, optional
        Called with what will be done; returns whether to do it.

    Returns
    -------
    str or None
        The run's key; None if the user does not agree.

    Raises
    ------
    DefinitionError
        If something can't work. Nothing was written.
    Busy
        If SLURM does not answer, or accepts no job now.
    """
    from orchestrator.engine import code
    from orchestrator.engine.cluster.check import config_with_limits
    from orchestrator.engine.cluster.submit import hand_over
    from orchestrator.engine.create import create

    checked = code.check(pipeline, project_job, study, needs_pickles=True)
    _say_all(checked.notes)
    config = config_with_limits(cluster, pipeline, checked.plan)
    store = Store(workspace.database)
    if project_job is None or not store.has(project_job):
        _check_new_folder(workspace, project_job)
        about = about_new_run(workspace, checked.plan, project_job, Mode.SLURM, pipeline.first_element)
        if agrees is not None and not agrees(about, is_new=True, asks=False):
            return None
        _probe(config, checked, workspace, in_job=probe)
        key = create(store, pipeline, checked, project_job, Mode.SLURM, lambda folder: config.stored(folder).to_json())
        hand_over(store, key, say=progress_for().say)
        return key
    record = usable_record(store, project_job)
    _check_mode(record, Mode.SLURM)
    check_free(workspace, project_job, dry_run=agrees is not None)
    idle = about_idle(store, record, pipeline.first_element, checked)
    begin = Begin(_first_position(pipeline, checked.plan.start_of))
    if not _agrees(agrees, workspace, project_job, begin, checked, idle):
        return None
    if not idle:
        _probe(config, checked, workspace, in_job=probe)
        say = progress_for().say
        hand_over(store, project_job, say=say, is_resume=True, begin=begin, checked=checked, config=config)
    return project_job


def resume(
    workspace: Workspace,
    key: str,
    *,
    from_step: str | None = None,
    accepts_failed: bool = False,
    puts_back: bool = False,
    update: Study | CheckedPipeline | None = None,
    config: ClusterConfig | None = None,
    jobs: int | None = None,
    as_edited: bool = False,
    warns: bool = True,
) -> str:
    """Continue a run, from where it stopped or from an address, with its stored code or with new code.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    from_step : str, optional
        Address of the step to run again first.
    accepts_failed : bool, default False
        Whether the failed experiments are accepted because of which a step has failed.
    puts_back : bool, default False
        Whether the tables are first put back as they were when the step of `from_step` began.
    update : Study or CheckedPipeline, optional
        The new code.
    config : ClusterConfig, optional
        The new cluster.
    jobs : int, optional
        Number of worker processes of a local run.
    as_edited : bool, default False
        Whether its tables are first taken as they are, also if a value no longer has the type of its column.
    warns : bool, default True
        Whether a study that has changed is said; False if it was said before.

    Returns
    -------
    str
        The run's key.
    """
    store = Store(workspace.database)
    record = usable_record(store, key)
    if as_edited:
        _take_as_edited(store, record)
    checked = _checked(record, update)
    begin = begin_of(workspace, key, checked, from_step, accepts_failed=accepts_failed, puts_back=puts_back)
    if checked is None:
        workspace.run(key).check_exists(has_ended=record.has_ended)
    if begin == WHERE_IT_STOPPED and checked is None and (idle := about_idle(store, record, None, None)):
        _say_all(idle)
        return key
    if checked is not None and preview_of(store, record, begin, checked).is_idle:
        # The run keeps the code with which it was made.
        progress_for().say(f"Nothing to do: run {key} {how_it_ended(store.load(key))}.")
        return key
    return continue_run(store, record, begin, checked, jobs, config, warns=warns)


def retry(
    workspace: Workspace,
    key: str,
    *,
    update: Study | CheckedPipeline | None = None,
    config: ClusterConfig | None = None,
    jobs: int | None = None,
) -> str:
    """Evaluate the failed experiments of a run again, with its stored code or with new code.

    Parameters
    ----------
    workspace, key, update, config, jobs
        As for `resume`.

    Returns
    -------
    str
        The run's key.
    """
    store = Store(workspace.database)
    record = usable_record(store, key)
    # First: before the study is checked.
    reopening(store.load(key), store.history.valid_step_runs(key), RETRY)
    return continue_run(store, record, RETRY, _checked(record, update), jobs, config)


ACCEPT, RETRY = Begin(accepts_failed=True), Begin(retries_failed=True)


class Agrees(Protocol):
    """Says what will be done, and returns whether to do it; `asks` if finished work is repeated.

    A dry run says `otherwise` if there are no lines: what continues.
    """

    def __call__(self, lines: Sequence[str], *, is_new: bool, asks: bool, otherwise: Sequence[str] = ()) -> bool:
        """Return whether to do it."""


def _agrees(
    agrees: Agrees | None, workspace: Workspace, key: str, begin: Begin, checked: CheckedPipeline, idle: list[str]
) -> bool:
    """Return whether to continue a run, or to leave one as it is that has nothing to do."""
    if idle:
        agreed = agrees is None or agrees([], is_new=False, asks=False, otherwise=idle)
        _say_all(idle if agreed else [])
        return agreed
    if begin == WHERE_IT_STOPPED:
        check_table(Store(workspace.database), key)
    lines, repeats = preview(workspace, key, begin, checked)
    if agrees is None:
        _say_all(lines)
        return True
    return agrees(lines, is_new=False, asks=repeats, otherwise=about_next(workspace, key))


def check_update(workspace: Workspace, key: str, study: Study) -> tuple[CheckedPipeline, ClusterConfig | None]:
    """Check a study with which a run is to continue; also return its cluster, if the run is on one and it names one."""
    record = usable_record(Store(workspace.database), key)
    checked = _checked(record, study)
    assert checked is not None
    if record.mode is not Mode.SLURM or not study.clusters:
        return checked, None
    from orchestrator.definition.study import cluster_of
    from orchestrator.engine.cluster.check import config_with_limits

    return checked, config_with_limits(cluster_of(study, None), study.pipeline, checked.plan)


def checked_pipeline(workspace: Workspace, key: str, pipeline: PipelineDefinition) -> CheckedPipeline:
    """Check a pipeline of this process with which a run is to continue."""
    from orchestrator.engine import code

    record = usable_record(Store(workspace.database), key)
    checked = code.check(pipeline, key, None, needs_pickles=record.mode is Mode.SLURM)
    _say_all(checked.notes)
    return checked


def _checked(record: RunRecord, update: Study | CheckedPipeline | None) -> CheckedPipeline | None:
    from orchestrator.engine import code

    if update is None or isinstance(update, code.CheckedPipeline):
        return update
    checked = code.check(update.pipeline, record.key, update, needs_pickles=record.mode is Mode.SLURM)
    _say_all(checked.notes)
    return checked


def begin_of(
    workspace: Workspace,
    key: str,
    checked: CheckedPipeline | None,
    from_step: str | None,
    *,
    accepts_failed: bool = False,
    puts_back: bool = False,
) -> Begin:
    """Return where a resume begins.

    Raises
    ------
    DefinitionError
        If there is no such step, the options exclude each other, or the tables are not kept as they were then.
    DataError
        If the table was deleted of the step at which the run stopped.
    """
    store = Store(workspace.database)
    record = usable_record(store, key)
    if from_step is None:
        if puts_back:
            raise DefinitionError(
                "--table-as-then needs a step to go back to.",
                f"Name it: orchestrator resume {record.key} --from-step STEP@ITER --table-as-then",
            )
        check_table(store, key)
        return Begin(accepts_failed=accepts_failed)
    if accepts_failed:
        raise DefinitionError(
            "--accept-failed continues after the step that failed; it can't be combined with --from-step.",
            f"Use one of them: orchestrator resume {record.key} --accept-failed",
        )
    position = position_of(record.key, (checked or record).plan, from_step)
    if not puts_back:
        return Begin(position)
    from orchestrator.engine.kept_tables import tables_to_put_back

    # In the plan of the tables; that of the new code may have other positions.
    tables, lines = tables_to_put_back(store, key, position_of(key, record.plan, from_step))
    _say_all(lines)
    return Begin(position, puts_back=tables)


def continue_run(
    store: Store,
    record: RunRecord,
    begin: Begin,
    checked: CheckedPipeline | None,
    jobs: int | None,
    config: ClusterConfig | None = None,
    *,
    warns: bool = True,
) -> str:
    """Continue a run from somewhere, on a cluster or in this process, and return its key."""
    from orchestrator.engine import code

    key, folder = record.key, store.workspace.run(record.key)
    check_free(store.workspace, key, dry_run=False)
    if begin == WHERE_IT_STOPPED:
        check_table(store, key)
    change = code.study_change_message(folder, record, begin) if checked is None and warns else None
    if change is not None:
        progress_for().say(change)
    if record.mode is Mode.SLURM:
        from orchestrator.engine.cluster.submit import hand_over

        hand_over(store, key, say=progress_for().say, is_resume=True, begin=begin, checked=checked, config=config)
        return key
    from orchestrator.engine.local.run import run_to_end

    if checked is not None:
        run_to_end(store, key, checked.load, jobs, begin=begin, checked=checked)
        return key
    with code.in_working_folder(folder, record):
        run_to_end(store, key, code.loader(folder, record), jobs, begin=begin)
    return key


def advance(workspace: Workspace, key: str, *, job: str | None = None, patience: float = 0.0) -> str:
    """Advance a run as far as it goes now.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    job : str, optional
        Token of the orchestrator job that this process is.
    patience : float, default 0.0
        Seconds for which an orchestrator job polls, if that is needed.

    Returns
    -------
    str
        One sentence: the result.
    """
    store = Store(workspace.database)
    if job is not None:
        from orchestrator.engine.cluster.orchestrate import orchestrate

        # It polls while the records are locked, too, so nothing is read before.
        orchestrate(store, key, job, os.environ.get("SLURM_JOB_ID", ""), patience, _print_with_time)
        return f"Orchestrator job {job} is done."
    if store.own_record(key).mode is Mode.SLURM:
        from orchestrator.engine.cluster.orchestrate import advance_now

        return advance_now(store, key)
    run = store.load(key)
    if run.has_ended:
        return f"Nothing to do: run {key} {how_it_ended(run)}."
    resume(workspace, key)
    return f"Run {key} {how_it_ended(store.load(key))}."


def check_free(workspace: Workspace, key: str | None, *, dry_run: bool) -> None:
    """Raise `LeaseHeld` if another process advances a run, before it is said what this one would do.

    A run that does not exist, or has ended, is advanced by none.
    """
    store = Store(workspace.database)
    if key is None or not store.has(key):
        return
    record = store.own_record(key)
    if record.has_ended:
        return
    try:
        store.leases.check(key, Holder.this_process(), time.time(), dry_run=dry_run)
    except LeaseHeld as held:
        if record.mode is Mode.SLURM:
            from orchestrator.engine.cluster.session import dead_holder, scheduler_of

            if dead_holder(held, scheduler_of(store, record)) is not None:
                return
        raise


def drive(workspace: Workspace, key: str, timeout: float | None) -> None:
    """Advance a run on a cluster until it has ended or the timeout is over, for a cluster whose nodes may not submit.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    timeout : float or None
        Seconds; None for no limit.
    """
    from orchestrator.engine.cluster.drive import drive as drive_to_end

    store = Store(workspace.database)
    check_on_cluster(store, key)
    drive_to_end(store, key, timeout=timeout, say=progress_for().say)


def cancel(workspace: Workspace, key: str) -> str:
    """Cancel a run: request it of the process that advances the run, or, if there is none, do it in this process.

    Returns
    -------
    str
        One sentence: the result.
    """
    store = Store(workspace.database)
    store.own_record(key)
    run = store.load(key)
    if run.has_ended:
        return f"Nothing to do: run {key} {how_it_ended(run)}."
    store.request_cancel(key, time.time())
    if store.record(key).mode is Mode.SLURM:
        from orchestrator.engine.cluster.cancel import cancel_run

        return f"Run {key} {how_it_ended(cancel_run(store, key))}."
    from orchestrator.engine.local.run import cancel_local_run

    return f"Run {key} {how_it_ended(cancel_local_run(store, key))}."


def _probe(config: ClusterConfig, checked: CheckedPipeline, workspace: Workspace, *, in_job: bool | None) -> None:
    from orchestrator.engine.cluster.probe import probe_here, probe_in_job

    if in_job:
        probe_in_job(config, workspace.root, progress_for().say)
    elif in_job is None:
        probe_here(config, checked.study_path, progress_for().say)


def _say_all(notes: Iterable[str]) -> None:
    for note in notes:
        progress_for().say(note)


def _print_with_time(text: str) -> None:
    print(visible(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"), flush=True)


def _check_new_folder(workspace: Workspace, key: str | None) -> None:
    if key is not None:
        check_run_folder(workspace.root / key, is_new=True)


def _take_as_edited(store: Store, record: RunRecord) -> None:
    from orchestrator.engine.lease import hold_lease
    from orchestrator.worker.table_work import take_as_edited

    with hold_lease(store, record.key):
        take_as_edited(store.workspace.run(record.key), sorted({step.project_dir for step in record.plan.steps()}))


def _check_mode(record: RunRecord, mode: Mode) -> None:
    if record.mode is not mode:
        raise DefinitionError(
            f'Run {record.key} was started with mode="{record.mode}"; it can\'t continue with mode="{mode}".',
            f"Continue as it was started: orchestrator resume {record.key}",
        )


def _first_position(pipeline: PipelineDefinition, start_of: Callable[[int], int]) -> int | None:
    return None if pipeline.first_element is None else start_of(pipeline.first_element)
