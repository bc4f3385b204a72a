"""What the records say of one run: the part that decisions need, and no more.

A run of a million step runs loads as quickly as one of three: the model holds the step run that is open (or else the
last one that ended) with its jobs, and two sums over the past.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from typing import NamedTuple

from orchestrator.machine.kinds import Doubt, Role
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import JOB_ENDED, JOB_WITH_SCHEDULER, STEP_RUN_ENDED, JobState, RunState, StepRunState
from orchestrator.machine.value import value

__all__ = ["Job", "Run", "StepRun", "token_for"]


@value
class Job(NamedTuple):
    """One submission to the scheduler.

    Attributes
    ----------
    token : str
        Ten base-32 characters: its name before it has an id, and the name of its folder.
    role : Role
    batch : int
        Which batch of its step run, from 0.
    attempt : int
        From 1; counts on through resume.
    tasks : str
        The tasks of the manifest that it runs, as SLURM writes index lists: `"0-9,12"`; `"0"` for a single process.
    state : JobState
    kind : str or None
        A `FailureKind` when it did not succeed.
    reason : str or None
        The words of the scheduler or of an error, for a human: `orchestrator.machine.wording` makes a sentence of them.
    scheduler_id : str or None
        The scheduler's id.
    doubt : Doubt or None
        What is not known about it.
    doubt_since : float or None
        Of a doubt that time resolves: epoch seconds of the first answer that left it open.
    rivals : tuple of str
        The scheduler's ids of other submissions under its token, which have to be cancelled.
    failed_tasks : str
        The tasks that ended without a receipt, as an index list.
    n_finished, n_failed : int
        Experiments, from the receipts.
    until : bool or None
        What the loop's question answered, if this job asked it.
    waits_for : str or None
        Of an orchestrator job: the scheduler's id of the job after whose end it starts.
    planned_at : float or None
        Epoch seconds when it was recorded: no submission of its token is earlier. None before it is recorded.
    """

    token: str
    role: Role
    batch: int = 0
    attempt: int = 1
    tasks: str = "0"
    state: JobState = JobState.PLANNED
    kind: str | None = None
    reason: str | None = None
    scheduler_id: str | None = None
    doubt: Doubt | None = None
    doubt_since: float | None = None
    rivals: tuple[str, ...] = ()
    failed_tasks: str = ""
    n_finished: int = 0
    n_failed: int = 0
    until: bool | None = None
    waits_for: str | None = None
    planned_at: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in JOB_ENDED

    @property
    def is_orchestrator(self) -> bool:
        """Whether it is an orchestrator job."""
        return self.role == Role.ORCHESTRATOR

    def starts_after(self, scheduler_id: str | None) -> bool:
        """Whether it is in the queue and can't start before the end of the job with this id."""
        return self.state is JobState.QUEUED and self.waits_for is not None and self.waits_for == scheduler_id

    @property
    def is_missing(self) -> bool:
        """Whether the scheduler's last answer, or the receipts, left open what became of it."""
        return self.doubt in (Doubt.UNLISTED, Doubt.RECEIPTS_MISSING)


@value
class StepRun(NamedTuple):
    """One step at one iteration.

    Attributes
    ----------
    position : int
        Where in the plan.
    epoch : int
        0, and one more each time that it was put back; old epochs stay as history.
    first_attempt : int
        The attempt that this epoch's first job has.
    state : StepRunState
    reason : str or None
        Why it ended as it did, or what it waits for.
    n_experiments, n_tasks, batch_size : int or None
        What freezing found: open experiments, tasks in the manifest, tasks in one batch. None before the freeze.
    until : bool or None
        What the loop's question answered here.
    jobs : tuple of Job
        Of this epoch, in the order in which they were planned.
    """

    position: int
    epoch: int = 0
    first_attempt: int = 1
    state: StepRunState = StepRunState.PENDING
    reason: str | None = None
    n_experiments: int | None = None
    n_tasks: int | None = None
    batch_size: int | None = None
    until: bool | None = None
    jobs: tuple[Job, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it is closed."""
        return self.state in STEP_RUN_ENDED

    @property
    def has_failed(self) -> bool:
        """Whether it has ended as failed."""
        return self.state is StepRunState.FAILED


@value
class Run(NamedTuple):
    """One execution of a pipeline.

    Attributes
    ----------
    key : str
        The `project_job`.
    salt : str
        Random text made with the run, from which its tokens are derived.
    state : RunState
    plan : Plan
    first_position : int
        Positions before it are `skipped (from_step)`.
    reason : str or None
    cancel_requested : bool
    n_failed_step_runs : int
        Step runs that ended failed, of those that still count.
    step_run : StepRun or None
        The one that is open, else the last by position; None before the first.
    orchestrators : tuple of Job
        The orchestrator jobs that have not ended.
    needs_wakeup : bool
        Whether a job of the scheduler has to wake the run: it is not driven by a process that waits.
    n_orchestrators : int
        Orchestrator jobs that it ever had.
    idle_wakeups : int
        Orchestrator jobs that were planned since the scheduler last took a job of a step.
    failing : str or None
        Why the run has to fail, once its live jobs are cancelled.
    """

    key: str
    salt: str
    plan: Plan
    state: RunState = RunState.ACTIVE
    first_position: int = 0
    reason: str | None = None
    cancel_requested: bool = False
    n_failed_step_runs: int = 0
    step_run: StepRun | None = None
    orchestrators: tuple[Job, ...] = ()
    needs_wakeup: bool = False
    n_orchestrators: int = 0
    idle_wakeups: int = 0
    failing: str | None = None

    @property
    def mark(self) -> str:
        """Ten characters, from the salt, that tell the run's files from those of another run in the same folder."""
        return _digest(self.salt)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self.state is not RunState.ACTIVE

    @property
    def has_failed(self) -> bool:
        """Whether it has ended as failed."""
        return self.state is RunState.FAILED

    @property
    def was_cancelled(self) -> bool:
        """Whether it has ended as cancelled."""
        return self.state is RunState.CANCELLED

    @property
    def needs_observation(self) -> bool:
        """Whether there is anything to observe for it.

        After its end, too, as long as orchestrator jobs are left: one that starts then must know that it runs, or it
        would cancel itself as one that waits.
        """
        return not self.has_ended or bool(self.orchestrators)

    @property
    def jobs_with_scheduler(self) -> tuple[Job, ...]:
        """The jobs that the scheduler should know."""
        return tuple(job for job in (*self.live_jobs, *self.orchestrators) if job.state in JOB_WITH_SCHEDULER)

    @property
    def live_jobs(self) -> tuple[Job, ...]:
        """The jobs of the open step run that have not ended."""
        jobs = self.step_run.jobs if self.step_run is not None else ()
        return tuple(job for job in jobs if not job.has_ended)

    def job(self, token: str) -> Job:
        """Give a job that has not ended: one of the open step run's, or an orchestrator job."""
        return next(job for job in (*self.live_jobs, *self.orchestrators) if job.token == token)


def token_for(salt: str, role: Role, position: int, batch: int, attempt: int) -> str:
    """Derive a job's token.

    A pure function gives the same token to whoever decides again after a crash; the run's random salt makes it unique.

    Returns
    -------
    str
        Ten characters of the base-32 alphabet, lower case.
    """
    return _digest(f"{salt}/{role}/{position}/{batch}/{attempt}")


def _digest(text: str) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:10]
