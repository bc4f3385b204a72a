"""A cluster in memory: accepts jobs, runs them when time passes, forgets them, and can be asked by token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.definition.bundle import LoadedStep
from orchestrator.engine.scheduler import Accepted
from orchestrator.handoff.claim import claim
from orchestrator.handoff.folder import RunFolder
from orchestrator.handoff.jobfile import JobFile
from orchestrator.indexes import parse_indexes
from orchestrator.machine.batches import Limits
from orchestrator.machine.facts import JobFact, Seen
from orchestrator.machine.model import Job
from orchestrator.worker.execute import run_call, run_task, run_until

MINUTE = 60.0


@dataclass
class Submitted:
    job: JobFile
    scheduler_id: str
    seen: Seen = Seen.QUEUED
    started_at: float | None = None
    ended_at: float | None = None


class FakeSlurm:
    """Time passes with `tick`: what was queued runs, what ran is over, what was over is forgotten.

    Attributes
    ----------
    now : float
        Its clock.
    ran : Counter
        How often each (token, task) ran.
    """

    grace = 90.0
    is_here = True  # its nodes are this process
    has_tail = False

    def __init__(self, folder: RunFolder, load: Callable[[str], LoadedStep]) -> None:
        self.limits = Limits()
        self.now = 1_000_000.0
        self.ran: Counter[tuple[str, int]] = Counter()
        self.n_observed = 0
        self.most_live = 0
        self._folder = folder
        self._load = load
        self._jobs: list[Submitted] = []
        self._next_id = 100

    def submit(self, job: JobFile) -> Accepted:
        self._next_id += 1
        self._jobs.append(Submitted(job, str(self._next_id)))
        self.most_live = max(self.most_live, sum(known.ended_at is None for known in self._jobs))
        return Accepted(str(self._next_id))

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        self.n_observed += 1
        known = {submitted.job.token: submitted for submitted in self._jobs}
        return {
            job.token: JobFact(found.seen, found.scheduler_id, found.started_at, found.ended_at)
            for job in jobs
            if (found := known.get(job.token)) is not None
        }

    def cancel(self, jobs: Sequence[Job]) -> None:
        tokens = {job.token for job in jobs}
        for submitted in self._jobs:
            if submitted.job.token in tokens and submitted.ended_at is None:
                submitted.seen, submitted.ended_at = Seen.OVER, self.now

    def tick(self) -> None:
        """Let a minute pass."""
        self._jobs = [job for job in self._jobs if job.seen is not Seen.OVER]
        for submitted in self._jobs:
            submitted.started_at = self.now
            self._run(submitted)
            submitted.seen, submitted.ended_at = Seen.OVER, self.now + MINUTE
        self.now += MINUTE

    def _run(self, submitted: Submitted) -> None:
        job = submitted.job
        if not claim(self._folder.job(job.token), submitted.scheduler_id):
            return
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
