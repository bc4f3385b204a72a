"""What a job of a cluster does: its own part of the work, once, then it wakes the run if it was the last."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator.errors import Busy, DataError
from orchestrator.fast_imports import fast_imports
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.indexes import parse_indexes
from orchestrator.worker.tail import Tail
from orchestrator.workspace import RunFolder

__all__ = ["run_job"]


def run_job(workspace: Path, key: str, token: str) -> None:
    """Run a job of a step, or one task of an array.

    Parameters
    ----------
    workspace : Path
    key : str
        Of the run.
    token : str
        Of the job.

    Raises
    ------
    DataError
        If something that the job needs is not there.
    """
    # It was for this interpreter; what the step starts decides for itself.
    os.environ.pop("PYTHONSAFEPATH", None)
    folder = RunFolder(workspace, key)
    job = read_jobfile(folder.job(token).file)
    tail = Tail(folder, job)
    if len(parse_indexes(job.tasks)) == 1:
        # It will be the last to end. Of hundreds nobody knows which one is, and loading costs more than a short task.
        tail.start()
    try:
        is_ours = _work(folder, job)
    except BaseException:
        tail.leave()
        raise
    sys.stdout.flush()
    if is_ours and _is_last(folder, job):
        tail.go()
    else:
        tail.leave()


def _work(folder: RunFolder, job: JobFile) -> bool:
    """Do what there is to do, unless it is another job's to do it.

    All is loaded here, and not above, so that the tail loads at the same time.
    """
    with fast_imports():
        from orchestrator.definition.bundle import Bundle
        from orchestrator.handoff.claim import claim
        from orchestrator.handoff.receipt import receipts_of
        from orchestrator.worker.execute import run_call, run_task, run_until

    _check_cwd(job)
    # All tasks of an array are one submission; SLURM_JOB_ID is another one in each.
    owner = os.environ.get("SLURM_ARRAY_JOB_ID") if job.parallel else None
    if not claim(folder.job(job.token), owner or os.environ["SLURM_JOB_ID"]):
        print(f"Job {job.token} was submitted twice; the other one runs it.", flush=True)
        return False
    task = job.first_task + int(os.environ["SLURM_ARRAY_TASK_ID"]) if job.parallel else 0
    if task in receipts_of(folder.job(job.token)):
        print(f"Task {task} had ended before it was started again.", flush=True)
        return True
    restart = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    bundle = Bundle(folder.bundle(job.bundle_digest))
    step = bundle.load_step(job.path)
    if job.evaluates:
        run_task(folder, job, task, step, restart=restart)
    elif job.asks_until:
        run_until(folder, job, step.block)
    else:
        until = bundle.load_step(job.until_path).block if job.until_path else None
        run_call(folder, job, step.block, step.kwargs, until=until)
    return True


def _check_cwd(job: JobFile) -> None:
    """Make sure that relative paths mean what they meant: SLURM starts a job in /tmp where its folder is missing."""
    if job.cwd is not None and not (Path(job.cwd).is_dir() and Path.cwd().samefile(job.cwd)):
        raise DataError(
            f"the job should run in {job.cwd}, which this node does not have; it runs in {Path.cwd()}.",
            "Submit from a folder that the nodes can see.",
        )


def _is_last(folder: RunFolder, job: JobFile) -> bool:
    from orchestrator.handoff.receipt import receipts_of

    try:
        have = receipts_of(folder.job(job.token))
    except Busy:
        # The work is done, whoever goes on: the orchestrator job will.
        return False
    return all(task in have for task in parse_indexes(job.tasks))
