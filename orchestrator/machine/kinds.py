"""The kinds that the records tell apart: of runs, steps, jobs, events and doubts.

A decision compares members of these enums, never words. Their values stand in the database and in `--json`.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Dependency", "Doubt", "EventKind", "FailureLevel", "Mode", "Role", "StepKind", "Wake"]


class Mode(StrEnum):
    """Where a run's jobs run."""

    LOCAL = "local"
    """In the process that runs the pipeline, and in worker processes that it starts."""
    SLURM = "slurm"
    """On a SLURM cluster."""


class Wake(StrEnum):
    """Who advances a run on a cluster when a step has ended."""

    JOB = "job"
    """The orchestrator job that waits for the end of the step's job."""
    BOTH = "both"
    """The last task of the step's job, at once; the orchestrator job as well, later."""


class Dependency(StrEnum):
    """What a step needs of the step before it."""

    AFTEROK = "afterok"
    """Its success."""
    AFTERANY = "afterany"
    """Its end, also by a failure."""


class StepKind(StrEnum):
    """What runs a step."""

    CALL = "call"
    """One process calls a block or a callable."""
    BATCH = "batch"
    """A DataGenerator evaluates experiments, in one task or in many."""
    UNTIL = "until"
    """One process asks a loop's `until`."""


class Role(StrEnum):
    """What a job is for."""

    ORCHESTRATOR = "orchestrator"
    """It advances the run."""
    STEP = "step"
    """It runs a step in one process."""
    BATCH = "batch"
    """It runs tasks of a step."""


class Doubt(StrEnum):
    """What is not known about a job."""

    UNANSWERED = "unanswered"
    """Whether it was submitted: sbatch gave no answer, or none that can be read. The reason holds its words."""
    UNLISTED = "unlisted"
    """Whether the scheduler still has it: it answered without the job. Resolved when the grace has passed."""
    RECEIPTS_MISSING = "receipts_missing"
    """How its tasks ended: it is over, and receipts that other machines wrote may appear until the grace has passed."""
    UNKNOWN_STATE = "unknown_state"
    """What it does: the scheduler calls its state by a word, kept as the reason, that is unknown here."""


class EventKind(StrEnum):
    """What a line of the history is about."""

    RUN = "run"
    STEP_RUN = "step run"
    JOB = "job"
    FREEZE = "freeze"
    JOB_IN_DOUBT = "job is in doubt"
    JOB_KNOWN = "job is known"
    JOB_WAITS = "job waits"
    RUN_FAILING = "run has to fail"
    WITHDRAWN = "withdrawn"
    CODE = "code"
    LEASE = "lease"
    CANCEL_REQUESTED = "cancel requested"
    TASK_FAILED = "task failed"
    EXPERIMENTS_FAILED = "experiments failed"
    RESULTS_QUARANTINED = "results quarantined"
    RESULTS_NOT_FOLDED = "results not folded"
    FILES_LEFT = "files left"


class FailureLevel(StrEnum):
    """What a failure that `status` shows is one of."""

    EXPERIMENTS = EventKind.EXPERIMENTS_FAILED.value
    """Experiments: each is data in the table."""
    TASK = EventKind.TASK_FAILED.value
    """A task of a parallel step, which left no receipt of success."""
    STEP = "step failed"
    """A step, or the job of a step that has only one."""
