"""A job of a cluster: it does its work once, and its last task then advances the run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Busy, DataError, StudyError
from orchestrator.fast_imports import fast_imports
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.indexes import parse_indexes
from orchestrator.worker.tail import Tail
from orchestrator.workspace import RunFolder

if TYPE_CHECKING:
    from orchestrator.definition.bundle import LoadedStep

__all__ = ["run_job"]


def run_job(workspace: Path, key: str, token: str, sha256: str, *, has_process: bool = False) -> None:
    """Run a job of a step, or one task of an array.

    Parameters
    ----------
    workspace : Path
        Root folder of the workspace.
    key : str
        The run's key.
    token : str
        The job's token.
    sha256 : str
        Digest of its job file.
    has_process : bool, default False
        Whether this process does nothing else, so that all that it has started may be ended with it.

    Raises
    ------
    DataError
        If something that the job needs is missing, or its task can't be completed.
    """
    # Set only for this interpreter, not for programs that the step starts.
    os.environ.pop("PYTHONSAFEPATH", None)
    folder = RunFolder(workspace, key)
    job = read_jobfile(folder.job(token).file, sha256)
    if has_process and job.evaluates:
        from orchestrator.worker.reaper import fork_below_reaper

        fork_below_reaper(ends_with_parent=False)
    tail = Tail(folder, job)
    if len(parse_indexes(job.tasks)) == 1:
        # This task is the last one. Of many tasks the last is not known, and to start a tail in each costs too much.
        tail.start()
    try:
        has_claim, must_advance = _work(folder, job)
    except BaseException:
        tail.stop()
        raise
    sys.stdout.flush()
    if has_claim and (must_advance or _is_last(folder, job)):
        tail.advance()
    else:
        tail.stop()
    if has_process and job.evaluates:
        from orchestrator.worker.ending import end_if_alone

        end_if_alone()


def _work(folder: RunFolder, job: JobFile) -> tuple[bool, bool]:
    """Do the work of this task.

    Return False first if another submission has claimed the job, or it was given up; and then whether the run must be
    advanced now, although other tasks are left: the step was stopped, and tasks wait that must not start.

    The imports are here, so that the tail's process imports at the same time.
    """
    with fast_imports():
        from orchestrator.definition.bundle import Bundle
        from orchestrator.handoff.claim import claim, is_withdrawn
        from orchestrator.handoff.receipt import has_ended
        from orchestrator.worker.capture import print_at_once
        from orchestrator.worker.execute import run_call, run_until
        from orchestrator.worker.receipts import fail_receipt

    print_at_once()
    _check_cwd(job)
    # All tasks of an array are one submission, but each has its own SLURM_JOB_ID.
    owner = os.environ.get("SLURM_ARRAY_JOB_ID") if job.parallel else None
    if not claim(folder.job(job.token), owner or os.environ["SLURM_JOB_ID"]):
        given_up = is_withdrawn(folder.job(job.token))
        why = "was given up before it started" if given_up else "was submitted twice. The other submission runs it"
        print(f"Job {job.token} {why}.", flush=True)
        return False, False
    task = job.first_task + int(os.environ["SLURM_ARRAY_TASK_ID"]) if job.parallel else 0
    if has_ended(folder.job(job.token), task):
        print(f"Task {task} has already ended. It is not run again.", flush=True)
        return True, False
    restart = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    bundle = Bundle(folder.bundle(job.bundle_digest))
    try:
        step = bundle.load_step(job.path)
        until = bundle.load_step(job.until_path).block if job.until_path else None
    except StudyError as error:
        fail_receipt(folder, job, task, restart, error)
        return True, False
    if job.evaluates:
        return True, _evaluate(folder, job, task, step, restart)
    if job.asks_until:
        run_until(folder, job, step.block)
    else:
        run_call(folder, job, step.block, step.kwargs, until=until)
    return True, False


def _evaluate(folder: RunFolder, job: JobFile, task: int, step: LoadedStep, restart: int) -> bool:
    from orchestrator.worker.stopping import Others
    from orchestrator.worker.supervisor import Supervisor
    from orchestrator.worker.task import SupervisedTask

    def fail(task: int, reason: str) -> None:
        raise DataError(reason)

    others = None
    if len(parse_indexes(job.tasks)) > 1:
        others = Others(folder.job(job.token), task, restart)
        if others.have_stopped(now=True):
            SupervisedTask(folder, job, task, step, restart=restart).stop()
            return True
    supervisor = Supervisor(1, on_done=lambda n: None, on_failed=fail, ends_at_once=False, others=others)
    supervisor.run({task: lambda: SupervisedTask(folder, job, task, step, restart=restart)})
    return others is not None and others.is_first_to_stop


def _check_cwd(job: JobFile) -> None:
    """Raise `DataError` in a wrong working directory: SLURM starts a job in /tmp if its folder is missing."""
    if job.cwd is not None and not (Path(job.cwd).is_dir() and Path.cwd().samefile(job.cwd)):
        raise DataError(
            f"the job was submitted from {job.cwd}, which this node does not have; it would run in {Path.cwd()}.",
            "Submit from a folder on a file system that is mounted on the nodes.",
        )


def _is_last(folder: RunFolder, job: JobFile) -> bool:
    from orchestrator.handoff.receipt import receipts_of

    try:
        have = receipts_of(folder.job(job.token))
    except Busy:
        # The work is done. The orchestrator job will advance the run.
        return False
    return all(task in have for task in parse_indexes(job.tasks))
