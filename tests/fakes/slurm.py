"""A cluster in memory: runs the jobs of a run in this process, wakes the run, and can be made to lie."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial

from orchestrator.definition.bundle import LoadedStep
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster import orchestrate
from orchestrator.engine.context import Context
from orchestrator.errors import Busy, SchedulerUnreachable
from orchestrator.handoff.claim import claim, owner_of
from orchestrator.handoff.folder import RunFolder
from orchestrator.handoff.jobfile import JobFile, read_jobfile
from orchestrator.indexes import parse_indexes
from orchestrator.machine.answers import Accepted, Answer, RefusedForNow, Unanswered
from orchestrator.machine.batches import Limits
from orchestrator.machine.facts import JobFact
from orchestrator.machine.model import Job
from orchestrator.machine.plan import Plan
from orchestrator.slurm.states import meaning
from orchestrator.worker.execute import run_call, run_task, run_until
from tests.fakes.queue import MINUTE, WAITS, Entry, PowerCut, Queue

PATIENCE = 8 * MINUTE
"""Seconds for which an orchestrator job looks again."""

Opened = Callable[..., AbstractContextManager[Context]]


class FakeSlurm:
    """A scheduler whose jobs run when its time passes, with `tick`.

    Parameters
    ----------
    folder : RunFolder
    load : callable
        Gives the step of a path.
    opened : callable, optional
        Gives the block in which a job holds the run: `own_token` and `own_id` say which orchestrator job it is,
        `within` of which job of a step it is the tail.
    has_tail : bool
        Whether a job of a step advances the run at its end.
    lies : random.Random, optional
        Draws what goes wrong between us and the cluster.

    Attributes
    ----------
    ran : Counter
        How often each (token, task) ran.
    most_live, most_waiting : int
        Most jobs of steps that were live, and orchestrator jobs that waited, at once.
    """

    grace = 90.0
    is_local = True  # its nodes are this process

    def __init__(
        self,
        folder: RunFolder,
        load: Callable[[str], LoadedStep],
        *,
        opened: Opened | None = None,
        has_tail: bool = False,
        lies: random.Random | None = None,
    ) -> None:
        self.limits = Limits()
        self.has_tail = has_tail
        self.queue = Queue(self._process)
        self.ran: Counter[tuple[str, int]] = Counter()
        self.said: list[str] = []
        self.n_observed = 0
        self.most_live = self.most_waiting = 0
        self._folder = folder
        self._load = load
        self._opened = opened
        self._lies = lies
        self._left_out: dict[str, float] = {}

    @property
    def now(self) -> float:
        return self.queue.now

    def tick(self) -> None:
        """Let a minute pass."""
        self.queue.tick()

    # --- as a scheduler --------------------------------------------------------------------------

    def write_scripts(self, plan: Plan) -> None:
        """Its jobs have no scripts."""

    def submit(self, job: JobFile) -> Answer:
        return self._sbatch(job.token)

    def submit_orchestrator(self, token: str, after: str) -> Answer:
        return self._sbatch(token, after)

    def repoint(self, scheduler_id: str, after: str) -> bool:
        self._may_be_silent()
        return self.queue.repoint(scheduler_id, after)

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        self._may_be_silent()
        self.n_observed += 1
        found = {job.token: self._entry(job) for job in jobs if not self._leaves_out(job.token)}
        return {token: _fact(entry) for token, entry in found.items() if entry is not None}

    def cancel(self, jobs: Sequence[Job]) -> None:
        self._may_be_silent()
        self.queue.cancel([job.scheduler_id for job in jobs if job.scheduler_id is not None])

    def _sbatch(self, token: str, after: str | None = None) -> Answer:
        what = self._draw("refuses", "hears nothing", "answer is lost", "comes late", "takes it twice")
        if what == "refuses":
            return RefusedForNow("the queue is full")
        if what != "hears nothing":
            job_id = self.queue.take(token, after, delay=3 * self.grace if what == "comes late" else 0.0)
        if what == "takes it twice":
            self.queue.take(token, after)
        self._count()
        return Unanswered("Socket timed out") if what not in (None, "takes it twice") else Accepted(job_id)

    def _entry(self, job: Job) -> Entry | None:
        """Find a job; of two submissions, the one that runs it, and end the other."""
        mine = {entry.job_id: entry for entry in self.queue.listed if entry.token == job.token}
        wanted = (owner_of(self._folder.job(job.token)), job.scheduler_id, *mine)
        kept = next((job_id for job_id in wanted if job_id in mine), None)
        self.queue.cancel([job_id for job_id in mine if job_id != kept])
        return None if kept is None else mine[kept]

    def _count(self) -> None:
        live = self.queue.live
        self.most_live = max(self.most_live, sum(self._is_step(entry) for entry in live))
        waiting = {entry.token for entry in live if not self._is_step(entry) and entry.state == WAITS}
        self.most_waiting = max(self.most_waiting, len(waiting))

    # --- lies ------------------------------------------------------------------------------------

    def _draw(self, *whats: str) -> str | None:
        if self._lies is None or self._lies.randrange(4):
            return None
        return self._lies.choice(whats)

    def _may_be_silent(self) -> None:
        if self._draw("silent", "answers", "answers") == "silent":
            raise SchedulerUnreachable("squeue did not end within 60 s.", "Try again.")

    def _leaves_out(self, token: str) -> bool:
        """Answer without a job that it has, at one moment only: after the second one it would count as gone."""
        if self._draw("leaves out") is None:
            return False
        return self._left_out.setdefault(token, self.now) == self.now

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
            if self.has_tail and self._opened is not None:
                # Whatever becomes of it: the job has done its work.
                with suppress(Busy, PowerCut), self._opened(within=entry.job_id) as context:
                    advance(context)
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


def _fact(entry: Entry) -> JobFact:
    seen, kind, _ = meaning(entry.state)
    reason = f"it ended {entry.state}" if kind else None
    return JobFact(seen, entry.job_id, entry.started_at, entry.ended_at, kind, reason)
