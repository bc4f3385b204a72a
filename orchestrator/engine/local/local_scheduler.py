"""The scheduler of runs on this machine.

It accepts each job at once and runs it in `wait`: a parallel batch in a pool of worker processes, any other job in this
process.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.addresses import format_address
from orchestrator.definition.bundle import LoadedStep
from orchestrator.engine.local.pool import Workers
from orchestrator.errors import DataError, StudyError
from orchestrator.handoff.claim import claim
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.receipt import has_ended
from orchestrator.host import is_terminal
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
"""Tasks per worker in a batch, so that a slow task does not leave the other workers idle for long."""


class LocalScheduler:
    """Runs one job at a time in the process that advances.

    Parameters
    ----------
    folder : RunFolder
        The run's folder.
    load : callable
        Returns the step or `until` at a path of the plan, from memory or from the bundle.
    n_workers : int
        Number of worker processes for a parallel step.
    on_done : callable
        Called with the number of experiments that have a new result.
    n_tasks : int, optional
        Number of tasks of a parallel step; by default four per worker.
    prints_output : bool, default True
        Whether the output of a step in this process is also printed, beside its log.
    interruptible : callable, optional
        Returns the context in which a job runs, the only one in which a Ctrl-C may be raised.

    Attributes
    ----------
    exception : BaseException or None
        The exception of the last step of this process, with its traceback.
    has_printed : str or None
        Address of the last step of this process that printed something.
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
        *,
        prints_output: bool = True,
    ) -> None:
        self.limits = Limits(n_tasks=n_tasks or n_workers * TASKS_PER_WORKER)
        self.exception: BaseException | None = None
        self.has_printed: str | None = None
        self._prints_output = prints_output
        self._folder = folder
        self._load = load
        self._n_workers = n_workers
        self._on_done = on_done
        self._interruptible = interruptible
        self._n_submitted = 0
        self._job: JobFile | None = None
        self._facts: dict[str, JobFact] = {}
        self._stop: FailureKind | None = None
        self._workers = Workers()

    def submit(self, job: JobFile) -> Accepted:
        """Accept a job; it starts with the next `wait`."""
        self._job = job
        self._n_submitted += 1
        self._facts[job.token] = JobFact(Seen.RUNNING)
        return Accepted(f"{os.getpid()}.{self._n_submitted}", time.time())

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        """Return what became of jobs; a job of another process is over, because that process has lost the lease."""
        return {job.token: self._facts.get(job.token) or _of_another_process(job) for job in jobs}

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs; none of them runs while the engine decides."""
        tokens = {job.token for job in jobs}
        if self._job is not None and self._job.token in tokens:
            self._job = None
        for token in tokens:
            if self._facts.get(token, _NEVER_STARTED).seen is not Seen.OVER:
                self._facts[token] = _ended_fact(FailureKind.CANCELLED, "cancelled by the user")

    def stop(self, kind: FailureKind) -> None:
        """Make the running job stop soon. May be called from another thread or a signal handler."""
        self._stop = kind

    def stop_no_longer(self) -> None:
        """Let later jobs run, after one was stopped with its step."""
        self._stop = None

    @property
    def has_job(self) -> bool:
        """Whether a job was submitted that has not run yet."""
        return self._job is not None

    def close(self) -> None:
        """End the worker processes."""
        self._workers.close()

    def wait(self) -> None:
        """Run the accepted job to its end.

        Raises
        ------
        KeyboardInterrupt
            If it was stopped. What became of the job is known then.
        """
        job, self._job = self._job, None
        if job is None:
            raise RuntimeError("no job was submitted, so there is none to wait for")
        try:
            is_first = claim(self._folder.job(job.token), f"{os.getpid()}.{self._n_submitted}")
        except DataError as error:
            self._facts[job.token] = _ended_fact(FailureKind.INFRASTRUCTURE, error.message)
            return
        if not is_first:
            raise RuntimeError(f"job {job.token} was started before, and the records do not show that")
        try:
            with self._interruptible():
                failed = self._run(job)
        except KeyboardInterrupt:
            kind = self._stop or FailureKind.INTERRUPTED
            self._facts[job.token] = _ended_fact(kind, _WHY_STOPPED[kind])
            raise
        self._facts[job.token] = JobFact(Seen.OVER, failed_tasks=failed)

    def _run(self, job: JobFile) -> dict[int, tuple[str, str]]:
        # This process can't end an experiment after its timeout.
        if job.role == Role.BATCH and (job.parallel or job.timeout is not None):
            return self._run_in_workers(job)
        return self._run_in_process(job)

    def _run_in_workers(self, job: JobFile) -> dict[int, tuple[str, str]]:
        folder = self._folder.job(job.token)
        tasks = [task for task in parse_indexes(job.tasks) if not has_ended(folder, task)]
        n_workers = self._n_workers if job.parallel else 1
        failed = self._workers.run(job, tasks, n_workers, self._on_done, lambda: self._stop is not None)
        if self._stop is not None:
            raise KeyboardInterrupt
        return failed

    def _run_in_process(self, job: JobFile) -> dict[int, tuple[str, str]]:
        """Run a job, and return why tasks of it failed."""
        from orchestrator.worker.capture import tee
        from orchestrator.worker.processes import killing_programs

        log = self._folder.log(job.label, job.iteration)
        before = _size(log)
        try:
            with tee(log, is_printed=self._prints_output), self._without_prompts(), killing_programs():
                return self._run_with_output(job)
        finally:
            if _size(log) > before:
                self.has_printed = format_address(job.name, job.iteration)

    def _run_with_output(self, job: JobFile) -> dict[int, tuple[str, str]]:
        from orchestrator.worker.receipt_writer import fail_receipt
        from orchestrator.worker.surroundings import put_back_after

        try:
            step = self._load(job.path)
            until = self._load(job.until_path).block if job.until_path else None
        except StudyError as error:
            for task in parse_indexes(job.tasks):
                self.exception = fail_receipt(self._folder, job, task, 0, error).exception
            return {}
        # What the study changed when it was imported holds for its steps.
        with put_back_after(f"step {job.label}"):
            return self._evaluate(job, step) if job.evaluates else self._call(job, step, until)

    @contextmanager
    def _without_prompts(self) -> Iterator[None]:
        """Let `breakpoint()` and `input()` say why they can't be used, if their prompts would not be seen."""
        if self._prints_output:
            yield
            return
        hook, ask = sys.breakpointhook, builtins.input
        if hook is sys.__breakpointhook__:
            sys.breakpointhook = partial(_refuse, "breakpoint()")
        if is_terminal(sys.stdin):
            builtins.input = partial(_refuse, "input()")
        try:
            yield
        finally:
            sys.breakpointhook, builtins.input = hook, ask

    def _evaluate(self, job: JobFile, step: LoadedStep) -> dict[int, tuple[str, str]]:
        from orchestrator.worker.execute import run_task

        failed: dict[int, tuple[str, str]] = {}
        for task in parse_indexes(job.tasks):
            try:
                run_task(self._folder, job, task, step, progress=self._on_done)
            except DataError as error:
                failed[task] = (FailureKind.INFRASTRUCTURE, error.message)
        return failed

    def _call(self, job: JobFile, step: LoadedStep, until: Callable[..., Any] | None) -> dict[int, tuple[str, str]]:
        from orchestrator.worker.execute import run_call, run_until

        try:
            if job.asks_until:
                receipt = run_until(self._folder, job, step.block)
            else:
                receipt = run_call(self._folder, job, step.block, step.kwargs, until=until)
        except DataError as error:
            return {0: (FailureKind.INFRASTRUCTURE, error.message)}
        self.exception = receipt.exception
        return {}


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0


def _refuse(what: str, *arguments: object, **more: object) -> NoReturn:
    raise RuntimeError(
        f"{what} has no terminal here: the output of this step goes to its log. "
        'Run it with --verbose, or in Python with run(console="output")'
    )


_NEVER_STARTED = JobFact(Seen.ABSENT)

_WHY_STOPPED = {
    FailureKind.INTERRUPTED: "the run was stopped",
    FailureKind.CANCELLED: "cancelled by the user",
}


def _ended_fact(kind: FailureKind, reason: str) -> JobFact:
    return JobFact(Seen.OVER, kind=kind, reason=reason)


def _of_another_process(job: Job) -> JobFact:
    # A job runs in the process that submits it, so a job without an id never started.
    if job.scheduler_id is None:
        return _NEVER_STARTED
    return _ended_fact(FailureKind.INTERRUPTED, f"the process that ran it ({job.scheduler_id}) ended")
