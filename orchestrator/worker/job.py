"""A job of a cluster: it does its work once, and its last task then advances the run."""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import Busy, DataError, StudyError
from orchestrator.fast_imports import fast_imports
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.host import die_with_parent
from orchestrator.indexes import parse_indexes
from orchestrator.worker.guarded import IN_ORDER, STOPS, FirstWorker, is_guarded
from orchestrator.worker.tail import Tail
from orchestrator.workspace import RunFolder

if TYPE_CHECKING:
    from orchestrator.definition.bundle import LoadedStep
    from orchestrator.worker.stopping import Others
    from orchestrator.worker.task import SupervisedTask

__all__ = ["run_job"]


class _Done(NamedTuple):
    """What a task has done.

    Attributes
    ----------
    has_claim : bool
        Whether it owns the job: not if another submission has claimed the job, or it was given up.
    must_advance : bool
        Whether the run must be advanced now, although other tasks are left: the step was stopped, and tasks wait that
        must not start.
    """

    has_claim: bool = True
    must_advance: bool = False


def run_job(
    workspace: Path,
    key: str,
    token: str,
    sha256: str,
    *,
    has_process: bool = False,
    dead_worker: FirstWorker | None = None,
) -> None:
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
    dead_worker : FirstWorker, optional
        The first worker of this job, which has died; this process is the second.

    Raises
    ------
    DataError
        If something that the job needs is missing, or its task can't be completed.
    """
    # Set only for this interpreter, not for programs that the step starts.
    os.environ.pop("PYTHONSAFEPATH", None)
    folder = RunFolder(workspace, key)
    job = read_jobfile(folder.job(token).file, sha256)
    if dead_worker is not None:
        from orchestrator.worker.running import alone_since

        dead_worker.kill_programs()
        was_alone = alone_since(folder.job(token).running(_task_of(job), _restart())) is not None
        if dead_worker.has_sigterm or not (was_alone or dead_worker.was_stopped):
            dead_worker.die_likewise()
    guarded = has_process and job.evaluates and dead_worker is None and is_guarded(token)
    if guarded:
        signal.signal(STOPS, signal.SIG_IGN)
        die_with_parent(number=signal.SIGTERM)
    elif has_process and job.evaluates:
        from orchestrator.worker.reaper import fork_below_reaper

        fork_below_reaper(ends_with_parent=False)
    tail = Tail(folder, job)
    if _task_of(job) == parse_indexes(job.tasks)[-1]:
        # This task starts as the last one, and so it will often end as the last one. A tail in each costs too much.
        tail.start()
    try:
        done = _work(folder, job, guarded, dead_worker)
    except BaseException:
        tail.stop()
        raise
    _flush()
    if done.has_claim and (done.must_advance or _is_last(folder, job)):
        tail.advance()
    else:
        tail.stop()
    if has_process and job.evaluates:
        _end(guarded=guarded)


def _flush() -> None:
    from orchestrator.worker.capture import flush_output

    flush_output()


def _end(*, guarded: bool) -> None:
    from orchestrator.worker.ending import complete_files, end_if_alone

    if guarded:  # the experiment may have been evaluated here, and its exit functions have run
        complete_files()
        os._exit(IN_ORDER)
    end_if_alone()


def _task_of(job: JobFile) -> int:
    return job.first_task + int(os.environ["SLURM_ARRAY_TASK_ID"]) if job.parallel else 0


def _restart() -> int:
    """Return how often SLURM has restarted this task under the same id."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def _work(folder: RunFolder, job: JobFile, guarded: bool, dead_worker: FirstWorker | None) -> _Done:
    """Do the work of this task.

    The imports are here, so that the tail's process imports at the same time.
    """
    with fast_imports():
        import orchestrator.definition.pipeline  # noqa: F401 - each study imports it, but without `fast_imports`
        from orchestrator.definition.bundle import Bundle
        from orchestrator.handoff.claim import claim, is_given_up
        from orchestrator.handoff.receipt import has_ended
        from orchestrator.worker.capture import print_at_once
        from orchestrator.worker.execute import run_call, run_until
        from orchestrator.worker.receipt_writer import fail_receipt

    print_at_once()
    _check_cwd(job)
    # All tasks of an array are one submission, but each has its own SLURM_JOB_ID.
    array_id = os.environ.get("SLURM_ARRAY_JOB_ID") if job.parallel else None
    if not claim(folder.job(job.token), array_id or os.environ["SLURM_JOB_ID"]):
        given_up = is_given_up(folder.job(job.token))
        why = "was given up before it started" if given_up else "was submitted twice. The other submission runs it"
        print(f"Job {job.token} {why}.", flush=True)
        return _Done(has_claim=False)
    number = _task_of(job)
    if has_ended(folder.job(job.token), number):
        print(f"Task {number} has already ended. It is not run again.", flush=True)
        return _Done()
    bundle = Bundle(folder.bundle(job.bundle_digest))
    try:
        step = bundle.load_step(job.path)
        until = bundle.load_step(job.until_path).block if job.until_path else None
    except StudyError as error:
        fail_receipt(folder, job, number, _restart(), error)
        return _Done()
    if job.evaluates:
        return _evaluate(folder, job, number, step, guarded, dead_worker)
    if job.asks_until:
        run_until(folder, job, step.block)
    else:
        run_call(folder, job, step.block, step.kwargs, until=until)
    return _Done()


def _evaluate(
    folder: RunFolder, job: JobFile, number: int, step: "LoadedStep", guarded: bool, dead_worker: FirstWorker | None
) -> _Done:
    from orchestrator.worker.stopping import Others, stop_if_needed
    from orchestrator.worker.task import SupervisedTask

    others = Others(folder.job(job.token), number, _restart()) if len(parse_indexes(job.tasks)) > 1 else None
    task = SupervisedTask(folder, job, number, step, restart=_restart(), dead_worker=dead_worker)
    if others is not None and others.have_stopped(now=True):
        task.stop()
        return _Done(must_advance=True)
    if guarded and task.is_alone:
        from orchestrator.worker.alone import evaluate_alone

        try:
            evaluate_alone(task)
            # Before the receipt: a task that has one, and has not told the others, has only finished experiments.
            stop_if_needed(job, task.counts, others)
            task.complete()
        except OSError as error:
            raise DataError(task.why_full(error)) from error
    else:
        _supervise(task, others)
    return _Done(must_advance=others is not None and others.is_first_to_stop)


def _supervise(task: "SupervisedTask", others: "Others | None") -> None:
    from orchestrator.worker.supervisor import Supervisor

    def fail(number: int, reason: str) -> None:
        raise DataError(reason)

    supervisor = Supervisor(1, on_done=lambda n: None, on_failed=fail, ends_at_once=False, others=others)
    supervisor.run({task.number: lambda: task})


def _check_cwd(job: JobFile) -> None:
    """Raise `DataError` in a wrong working directory: SLURM starts a job in /tmp if its folder is missing."""
    if job.cwd is not None and not (Path(job.cwd).is_dir() and Path.cwd().samefile(job.cwd)):
        raise DataError(
            f"the job was submitted from {job.cwd}, which this node does not have; it would run in {Path.cwd()}.",
            "Submit from a folder on a file system that is mounted on the nodes.",
        )


def _is_last(folder: RunFolder, job: JobFile) -> bool:
    """Whether all tasks of the job have a receipt. Two tasks may find that; the lease lets one of them advance."""
    from orchestrator.handoff.receipt import receipts_of

    try:
        have = receipts_of(folder.job(job.token))
    except Busy:
        # The work is done. The orchestrator job will advance the run.
        return False
    return all(task in have for task in parse_indexes(job.tasks))
