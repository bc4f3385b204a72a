"""A cluster in memory: executes the jobs of a run in this process, advances it, and can give wrong answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial

from orchestrator import SlurmCluster
from orchestrator.definition.bundle import LoadedStep
from orchestrator.engine.cluster import orchestrate
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.engine.context import Context
from orchestrator.errors import Busy
from orchestrator.handoff.claim import claim
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.indexes import parse_indexes
from orchestrator.worker.execute import run_call, run_task, run_until
from orchestrator.workspace import RunFolder
from tests.fakes.client import FakeClient
from tests.fakes.queue import MINUTE, WAITS, Entry, Killed, Queue

PATIENCE = 8 * MINUTE
"""Seconds for which an orchestrator job polls."""

GRACE = 90

Opened = Callable[..., AbstractContextManager[Context]]


class SchedulerHere(SlurmScheduler):
    """The scheduler of a cluster whose nodes are this process."""

    is_local = True


class FakeSlurm:
    """A cluster whose jobs run when its time passes, with `tick`, and the scheduler that talks to it.

    Parameters
    ----------
    folder : RunFolder
    load : callable
        Returns the step of a path.
    opened : callable, optional
        Returns the block in which a job holds the run: `own_token` and `own_id` say which orchestrator job it is,
        `enclosing_job` of which job of a step it is the tail.
    has_tail : bool
        Whether a job of a step advances the run at its end.
    has_accounting : bool
        Whether sacct can be asked for what squeue has forgotten.
    lies : random.Random, optional
        Draws the failures between us and the cluster.

    Attributes
    ----------
    scheduler : SlurmScheduler
    client : FakeClient
        The client that the scheduler uses.
    ran : Counter
        How often each (token, task) ran.
    most_live, most_waiting : int
        Most jobs of steps that were live, and orchestrator jobs that waited, at once.
    """

    def __init__(
        self,
        folder: RunFolder,
        load: Callable[[str], LoadedStep],
        *,
        opened: Opened | None = None,
        has_tail: bool = False,
        has_accounting: bool = True,
        lies: random.Random | None = None,
    ) -> None:
        self.queue = Queue(self._process, self._count)
        self.client = FakeClient(self.queue, lies, late=3.0 * GRACE)
        settings = SlurmCluster(partition="p", grace=GRACE, wake="both" if has_tail else "job")
        config = ClusterConfig(
            settings, orchestrator_resources(None), str(folder.workspace), has_accounting=has_accounting
        )
        database = folder.workspace / "orchestrator.db"
        self.scheduler = SchedulerHere(folder, config, "fake", database, shared=False, client=self.client)
        self.ran: Counter[tuple[str, int]] = Counter()
        self.said: list[str] = []
        self.most_live = self.most_waiting = 0
        self._folder = folder
        self._load = load
        self._opened = opened

    @property
    def now(self) -> float:
        return self.queue.now

    def tick(self) -> None:
        """Let a minute pass."""
        self.queue.tick()

    def _count(self) -> None:
        live = self.queue.live
        self.most_live = max(self.most_live, sum(self._is_step(entry) for entry in live))
        waiting = {entry.token for entry in live if not self._is_step(entry) and entry.state == WAITS}
        self.most_waiting = max(self.most_waiting, len(waiting))

    # --- its nodes -------------------------------------------------------------------------------

    def _process(self, entry: Entry) -> Iterator[float]:
        if self._is_step(entry):
            return self._step(entry, read_jobfile(self._folder.job(entry.token).file))
        assert self._opened is not None
        opened = partial(self._opened, own_token=entry.token, own_id=entry.job_id)
        return orchestrate.poll(opened, PATIENCE, self.said.append, lambda: self.now)

    def _is_step(self, entry: Entry) -> bool:
        return self._folder.job(entry.token).file.exists()

    def _step(self, entry: Entry, job: JobFile) -> Iterator[float]:
        if claim(self._folder.job(job.token), entry.job_id):
            self._work(job)
            if self.scheduler.has_tail and self._opened is not None:
                # Also if this fails, the job has done its work.
                with suppress(Busy, Killed), self._opened(enclosing_job=entry.job_id) as context:
                    orchestrate.advance(context)
        yield from ()

    def _work(self, job: JobFile) -> None:
        step = self._load(job.path)
        for task in parse_indexes(job.tasks):
            self.ran[job.token, task] += 1
            if job.kind == "batch":
                run_task(self._folder, job, task, step)
            elif job.kind == "until":
                run_until(self._folder, job, step.block)
            else:
                until = self._load(job.until_path).block if job.until_path else None
                run_call(self._folder, job, step.block, step.kwargs, until=until)
