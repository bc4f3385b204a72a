"""The kinds of runs, steps, jobs, events and doubts.

A decision compares members of these enums, never texts. Their values are what the database
stores and `--json` prints.
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.machine.step_kind import StepKind

__all__ = [
    "Dependency",
    "Doubt",
    "EventKind",
    "FailureLevel",
    "Mode",
    "Role",
    "StepKind",
    "StopSignal",
    "Stopping",
    "Wake",
]


class Mode(StrEnum):
    """Where a run's jobs run."""

    LOCAL = "local"
    """In the process that runs the pipeline, and in worker processes that it starts."""
    SLURM = "slurm"
    """On a SLURM cluster."""


class Wake(StrEnum):
    """Which job advances a run on a cluster when a step has ended."""

    JOB = "job"
    """The orchestrator job that waits for the end of the step's job."""
    BOTH = "both"
    """The last task of the step's job, at once, and the orchestrator job as well, later."""


class Dependency(StrEnum):
    """What a step requires of the step before it."""

    AFTEROK = "afterok"
    """Its success."""
    AFTERANY = "afterany"
    """Its end, even by a failure."""


class Role(StrEnum):
    """What a job is for."""

    ORCHESTRATOR = "orchestrator"
    """It advances the run."""
    STEP = "step"
    """It runs a step of kind `call` or `until` in one process."""
    BATCH = "batch"
    """It runs tasks of a step."""


class Doubt(StrEnum):
    """What is not known about a job."""

    UNANSWERED = "unanswered"
    """Whether it was submitted: sbatch gave no answer, or an unreadable one. The reason quotes it."""
    UNLISTED = "unlisted"
    """Whether the scheduler still has it: it answered without the job. Resolved when the grace has passed."""
    RECEIPTS_MISSING = "receipts_missing"
    """How its tasks ended: it is over, but receipts that other machines wrote may appear until the grace has passed."""
    UNKNOWN_STATE = "unknown_state"
    """Where it stands: the scheduler's word for its state, kept as the reason, is unknown here."""


class Stopping(StrEnum):
    """How far an array is whose tasks have stopped their step early."""

    FOUND = "found"
    """Tasks have stopped the step. Those that wait in the queue must be cancelled."""
    DONE = "done"
    """The tasks that waited were cancelled; those that ran end by themselves."""


class StopSignal(StrEnum):
    """Which signal has stopped the process of a run on this machine."""

    INTERRUPT = "SIGINT"
    """Ctrl-C."""
    HANGUP = "SIGHUP"
    """The terminal was closed."""
    TERMINATE = "SIGTERM"
    """The default of `kill`, and what a machine sends when it shuts down."""


class EventKind(StrEnum):
    """What an event is about."""

    RUN = "run"
    STEP_RUN = "step run"
    JOB = "job"
    FREEZE = "freeze"
    JOB_IN_DOUBT = "job is in doubt"
    JOB_KNOWN = "job is known"
    JOB_WAITS = "job waits"
    JOB_STOPS = "job stops"
    JOB_HELD = "job held"
    RUN_FAILING = "run has to fail"
    LOGIN_ONLY = "only login nodes submit"
    WITHDRAWN = "withdrawn"
    RETRY = "retry"
    RESTORED = "restored"
    CODE = "code"
    RESOURCES = "resources"
    OWNER = "owner"
    IMPORTED = "imported"
    LEASE = "lease"
    CANCEL_REQUESTED = "cancel requested"
    STOPPED = "stopped"
    HOLD = "hold"
    TABLES = "tables put back"
    TASK_FAILED = "task failed"
    EXPERIMENTS_FAILED = "experiments failed"
    RESULTS_QUARANTINED = "results quarantined"
    RESULTS_NOT_FOLDED = "results not folded"
    FILES_LEFT = "files left"


class FailureLevel(StrEnum):
    """What failed, in a failure that `status` shows."""

    EXPERIMENTS = EventKind.EXPERIMENTS_FAILED.value
    """Experiments; each is data in the table."""
    TASK = EventKind.TASK_FAILED.value
    """A task of a parallel step, which left no receipt of success."""
    STEP = "step failed"
    """A step, or the only job of a step."""
