"""The scheduler that is this machine.

It accepts a job at once and runs it when it is waited for: a step in this process, on the live object; a parallel
batch on a pool; a batch of one task in this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from orchestrator.definition.bundle import LoadedStep
from orchestrator.engine.local.pool import Pool
from orchestrator.handoff.claim import claim
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.receipt import receipts_of
from orchestrator.indexes import parse_indexes
from orchestrator.machine.answers import Accepted
from orchestrator.machine.batches import Limits
from orchestrator.machine.facts import JobFact, Seen
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job
from orchestrator.machine.states import FailureKind
from orchestrator.workspace import RunFolder

__all__ = ["LocalScheduler"]

TASKS_PER_WORKER = 4
"""Tasks per worker in a batch: enough that a slow slice doesn't leave the other workers idle for long."""


class LocalScheduler:
    """Runs one job at a time in the process that advances.

    Parameters
    ----------
    folder : RunFolder
    load : callable
        Gives the step of a path, or what an `until` path names: the live object, or what the bundle keeps.
    n_workers : int
        Worker processes for a parallel step.
    on_done : callable
        Told how many more experiments have a result.
    n_tasks : int, optional
        Tasks that a parallel step is cut into; by default four per worker.
    interruptible : callable, optional
        Gives the block in which a job runs: the only one in which a Ctrl-C may be raised.

    Attributes
    ----------
    exception : BaseException or None
        What the last step of this process raised, with its traceback.
    """

    grace = 0.0
    is_local = True
    has_tail = False

    def __init__(
        self,
        folder: RunFolder,
        load: Callable[[str], LoadedStep],
        n_workers: int,
        on_done: Callable[[int], None],
        n_tasks: int | None = None,
        interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.limits = Limits(n_tasks=n_tasks or n_workers * TASKS_PER_WORKER)
        self.exception: BaseException | None = None
        self._folder = folder
        self._load = load
        self._n_workers = n_workers
        self._on_done = on_done
        self._interruptible = interruptible
        self._n_submitted = 0
        self._job: JobFile | None = None
        self._facts: dict[str, JobFact] = {}
        self._stop: FailureKind | None = None

    def submit(self, job: JobFile) -> Accepted:
        """Take a job: it starts with the next `wait`."""
        self._job = job
        self._n_submitted += 1
        self._facts[job.token] = JobFact(Seen.RUNNING)
        return Accepted(f"{os.getpid()}.{self._n_submitted}", time.time())

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        """Say what became of jobs; one of another process is over, since that process no longer holds the run."""
        return {job.token: self._facts.get(job.token) or _of_another_process(job) for job in jobs}

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs: none runs while the engine decides."""
        tokens = {job.token for job in jobs}
        if self._job is not None and self._job.token in tokens:
            self._job = None
        for token in tokens:
            if self._facts.get(token, _NEVER).seen is not Seen.OVER:
                self._facts[token] = _over(FailureKind.CANCELLED, "cancelled by the user")

    def stop(self, kind: FailureKind) -> None:
        """Ask the job that runs to stop soon. May be called from another thread or a signal handler."""
        self._stop = kind

    def wait(self) -> None:
        """Run what was accepted, until it is over.

        Raises
        ------
        KeyboardInterrupt
            If it was stopped; what became of the job is known then.
        """
        job, self._job = self._job, None
        if job is None:
            raise RuntimeError("nothing was submitted: there is nothing to wait for")
        if not claim(self._folder.job(job.token), f"{os.getpid()}.{self._n_submitted}"):
            raise RuntimeError(f"job {job.token} was started before: the records should know that")
        try:
            with self._interruptible():
                failed = self._run(job)
        except KeyboardInterrupt:
            kind = self._stop or FailureKind.INTERRUPTED
            self._facts[job.token] = _over(kind, _STOPPED[kind])
            raise
        self._facts[job.token] = JobFact(Seen.OVER, failed_tasks=failed)

    def _run(self, job: JobFile) -> dict[int, tuple[str, str]]:
        if job.role == Role.BATCH and self._wants_pool(job):
            return self._run_pool(job)
        self._run_here(job)
        return {}

    def _wants_pool(self, job: JobFile) -> bool:
        return job.parallel

    def _run_pool(self, job: JobFile) -> dict[int, tuple[str, str]]:
        have = receipts_of(self._folder.job(job.token))
        tasks = [task for task in parse_indexes(job.tasks) if task not in have]
        pool = Pool(job, tasks, self._n_workers, self._on_done)
        pool.run(lambda: self._stop is not None)
        if self._stop is not None:
            raise KeyboardInterrupt
        return pool.failed

    def _run_here(self, job: JobFile) -> None:
        from orchestrator.worker.capture import tee
        from orchestrator.worker.execute import run_call, run_task, run_until

        step = self._load(job.path)
        until = self._load(job.until_path).block if job.until_path else None
        with tee(self._folder.log(job.label, job.iteration)):
            receipt: Any
            if job.evaluates:
                for task in parse_indexes(job.tasks):
                    run_task(self._folder, job, task, step, progress=self._on_done)
                return
            if job.asks_until:
                receipt = run_until(self._folder, job, step.block)
            else:
                receipt = run_call(self._folder, job, step.block, step.kwargs, until=until)
        self.exception = receipt.exception


_NEVER = JobFact(Seen.ABSENT)

_STOPPED = {
    FailureKind.INTERRUPTED: "interrupted by the user",
    FailureKind.CANCELLED: "cancelled by the user",
}


def _over(kind: FailureKind, reason: str) -> JobFact:
    return JobFact(Seen.OVER, kind=kind, reason=reason)


def _of_another_process(job: Job) -> JobFact:
    # It runs in the process that submits it, so an intent of a dead process never became a job.
    if job.scheduler_id is None:
        return _NEVER
    return _over(FailureKind.INTERRUPTED, f"the process that ran it ({job.scheduler_id}) ended")
