"""The records of one run, as far as decisions need them.

A run of a million step runs loads as quickly as one of three: the model holds only the open step run (or else the last
one that ended) with its jobs, and two sums over the past.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each command.
from base64 import b32encode
from typing import NamedTuple

from orchestrator.machine.kinds import Doubt, Role, Stopping
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import (
    BLAMED_KINDS,
    JOB_ENDED,
    JOB_WITH_SCHEDULER,
    STEP_RUN_ENDED,
    JobState,
    RunState,
    StepRunState,
)
from orchestrator.machine.value import value
from orchestrator.sha256 import sha256_of

__all__ = ["MAX_IDLE_WAKEUPS", "Job", "SuspendedStepRuns", "Run", "StepRun", "TableThen", "blamed_kind", "token_for"]


MAX_IDLE_WAKEUPS = 5
"""Orchestrator jobs in a row after which no other is planned if the scheduler accepted no job of a step meanwhile."""


@value
class Job(NamedTuple):
    """One unit of work for the scheduler; normally submitted once.

    Attributes
    ----------
    token : str
        Ten base-32 characters: its name before it has an id, and the name of its folder.
    role : Role
        What it is for.
    batch : int
        Which batch of its step run, from 0.
    attempt : int
        From 1; a resume does not reset it.
    tasks : str
        The tasks of the manifest that it runs, as a SLURM index list: `"0-9,12"`; `"0"` for a single process.
    state : JobState
        Where it stands.
    kind : str or None
        A `FailureKind` if it did not succeed.
    reason : str or None
        The text of the scheduler or of an error, for a human; `orchestrator.machine.wording` makes a sentence of it.
    scheduler_id : str or None
        The scheduler's id.
    doubt : Doubt or None
        What is not known about it.
    doubt_since : float or None
        Epoch seconds of the first answer that raised the doubt; None for a doubt that does not end with time.
    rivals : tuple of str
        The scheduler's ids of other submissions under its token, which must be cancelled.
    failed_tasks : str
        The tasks without a receipt of success, as an index list.
    n_finished, n_failed : int
        Experiments, from the receipts.
    until : bool or None
        The answer of the loop's `until`, if this job called it.
    waits_for : str or None
        For an orchestrator job, the scheduler's id of the job after whose end it starts.
    planned_at : float or None
        Epoch seconds when it was recorded; no submission of its token is earlier. None before it is recorded.
    stopping : Stopping or None
        How far it is after its tasks have stopped their step early; None if they have not.
    held : bool
        Whether the scheduler was asked to hold the tasks of it that still wait, because the run is held.
    job_file : str or None
        SHA-256 of its file; None if it has none, or if the process that submitted it died before it recorded that.
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
    stopping: Stopping | None = None
    held: bool = False
    job_file: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.state in JOB_ENDED

    @property
    def is_accepted(self) -> bool:
        """Whether the scheduler has accepted it, and it has not ended."""
        return self.state in (JobState.QUEUED, JobState.RUNNING)

    @property
    def is_orchestrator(self) -> bool:
        """Whether it is an orchestrator job."""
        return self.role == Role.ORCHESTRATOR

    def starts_after(self, scheduler_id: str | None) -> bool:
        """Whether it waits in the queue for the end of the job with this id."""
        return self.state is JobState.QUEUED and self.waits_for is not None and self.waits_for == scheduler_id

    @property
    def is_missing(self) -> bool:
        """Whether the scheduler no longer lists it, or its receipts are missing, and the grace has not passed yet."""
        return self.doubt in (Doubt.UNLISTED, Doubt.RECEIPTS_MISSING)


@value
class StepRun(NamedTuple):
    """One step at one iteration.

    Attributes
    ----------
    position : int
        Its place in the plan.
    epoch : int
        From 0; each time a resume withdraws it, the next one begins. Old epochs stay as history.
    first_attempt : int
        The attempt of this epoch's first job.
    accepts_failed : bool
        Whether the user accepts its failed experiments, whatever `max_failed` says; they are not evaluated again.
    state : StepRunState
        Where it stands.
    reason : str or None
        Why it ended as it did, or what it waits for.
    n_experiments, n_tasks, batch_size : int or None
        The result of the freeze: open experiments, tasks in the manifest, tasks in one batch. None before the freeze.
    manifest : str or None
        SHA-256 of the manifest; None before the freeze.
    n_finished_before, n_failed_before : int
        Experiments of earlier epochs that are not evaluated again in this one.
    until : bool or None
        The answer of the loop's `until` here; None if it was not called.
    jobs : tuple of Job
        The jobs of this epoch, in the order in which they were planned.
    """

    position: int
    epoch: int = 0
    first_attempt: int = 1
    accepts_failed: bool = False
    state: StepRunState = StepRunState.PENDING
    reason: str | None = None
    n_experiments: int | None = None
    n_tasks: int | None = None
    batch_size: int | None = None
    manifest: str | None = None
    n_finished_before: int = 0
    n_failed_before: int = 0
    until: bool | None = None
    jobs: tuple[Job, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.state in STEP_RUN_ENDED

    @property
    def has_failed(self) -> bool:
        """Whether it has ended as failed."""
        return self.state is StepRunState.FAILED

    @property
    def n_finished(self) -> int:
        """Number of its experiments, of whatever epoch, that have finished."""
        return self.n_finished_before + sum(job.n_finished for job in self.jobs)

    @property
    def n_failed(self) -> int:
        """Number of its experiments, of whatever epoch, that have failed."""
        return self.n_failed_before + sum(job.n_failed for job in self.jobs)


@value
class TableThen(NamedTuple):
    """A table as it was when a step run began.

    Attributes
    ----------
    project_dir : str
        Folder of the table, relative to the run's folder.
    position, epoch : int
        The step run.
    """

    project_dir: str
    position: int
    epoch: int


@value
class SuspendedStepRuns(NamedTuple):
    """Step runs that a retry has withdrawn only until the step run before them has ended.

    Attributes
    ----------
    last : StepRun
        The last of them by position, without its jobs.
    n_failed : int
        Number of those that failed.
    """

    last: StepRun
    n_failed: int = 0


@value
class Run(NamedTuple):
    """One execution of a pipeline.

    Attributes
    ----------
    key : str
        The `project_job`.
    salt : str
        Random text, made when the run is created; its tokens are derived from it.
    plan : Plan
        Its steps and loops.
    state : RunState
        Where it stands.
    first_position : int
        Positions before it are `skipped (from_step)`.
    reason : str or None
        Why it ended as it did.
    cancel_requested : bool
        Whether a user has asked to cancel it.
    cancel_step : int or None
        Position of the step run that a user has asked to cancel, while the run continues.
    is_held : bool
        Whether a user holds it: nothing new is started.
    max_tables : int or None
        How many tables are kept, as they were when a step run began; None: all.
    puts_back : tuple of TableThen
        The tables that are put back first, because a user goes back to a step; empty for most runs.
    n_failed_step_runs : int
        Number of step runs that failed or were cancelled, without those that a resume has withdrawn.
    step_run : StepRun or None
        The open one, else the last by position; None before the first.
    suspended : SuspendedStepRuns or None
        The step runs that count again when this one has ended.
    orchestrators : tuple of Job
        The orchestrator jobs that have not ended.
    needs_wakeup : bool
        Whether jobs of the scheduler must wake the run, because no process drives it to its end.
    n_orchestrators : int
        Number of orchestrator jobs that were ever planned.
    idle_wakeups : int
        Number of orchestrator jobs that were planned since the scheduler last accepted a job of a step.
    failing : str or None
        Why the run fails once its live jobs are cancelled; None for every other run.
    login_only : str or None
        The scheduler's message when a node was refused to submit: since then only login nodes submit. None before.
    """

    key: str
    salt: str
    plan: Plan
    state: RunState = RunState.ACTIVE
    first_position: int = 0
    reason: str | None = None
    cancel_requested: bool = False
    cancel_step: int | None = None
    is_held: bool = False
    max_tables: int | None = None
    puts_back: tuple[TableThen, ...] = ()
    n_failed_step_runs: int = 0
    step_run: StepRun | None = None
    suspended: SuspendedStepRuns | None = None
    orchestrators: tuple[Job, ...] = ()
    needs_wakeup: bool = False
    n_orchestrators: int = 0
    idle_wakeups: int = 0
    failing: str | None = None
    login_only: str | None = None

    @property
    def mark(self) -> str:
        """Ten characters, from the salt, that distinguish the run's files from another run's in the same folder."""
        return _digest(self.salt)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, well or badly."""
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
        """Whether any of its jobs must still be observed.

        This is true after its end, too, while orchestrator jobs are left. One that starts then must be recorded as
        running, or it would cancel itself as one that waits.
        """
        return not self.has_ended or bool(self.orchestrators)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of the last step run, and the orchestrator jobs that have not ended."""
        return (*(self.step_run.jobs if self.step_run is not None else ()), *self.orchestrators)

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
        """Return a job of the last step run, or an orchestrator job that has not ended."""
        return next(job for job in self.jobs if job.token == token)


def blamed_kind(kind: str | None) -> str:
    """Return the kind of failure of a job if the experiments that it evaluated may be to blame, else an empty text."""
    return str(kind) if kind in BLAMED_KINDS else ""


def token_for(salt: str, role: Role, position: int, batch: int, attempt: int) -> str:
    """Return a job's token.

    It is a pure function, so that a decision repeated after a crash gives the same token. The run's random salt makes
    it unique.

    Returns
    -------
    str
        Ten characters of the base-32 alphabet, in lower case.
    """
    return _digest(f"{salt}/{role}/{position}/{batch}/{attempt}")


def _digest(text: str) -> str:
    return b32encode(bytes.fromhex(sha256_of(text.encode()))).decode().lower()[:10]
