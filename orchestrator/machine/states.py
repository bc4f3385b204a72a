"""The states of runs, step runs and jobs, and the only moves between them.

Why jobs fail is here, too. Which failure is retried, and how often, is decided by `_may_retry` in
`orchestrator.machine.decide`.

The constraints of the database are made from the enums, the guards of `orchestrator.db.moves` from the table `MOVES`.
`scripts/state-diagram` prints both into `docs/concepts/states.md`, with the sentence below each state.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "BLAMED_KINDS",
    "CLUSTER_KINDS",
    "CLUSTER_RETRIES",
    "MOVES",
    "RETRYABLE_KINDS",
    "FailureKind",
    "JobState",
    "RunState",
    "StepRunState",
    "may_move",
    "requested_kinds",
]


class RunState(StrEnum):
    """Where a run stands. "Stalled" is derived by `status`, never stored."""

    ACTIVE = "active"
    """Work is left: a step is open, or the next one is still to be opened."""
    SUCCEEDED = "succeeded"
    """All steps are done. Steps that failed before one with `dependency="afterany"` are counted in the reason."""
    FAILED = "failed"
    """A step failed, or results could not be written to the table; `resume` continues from there."""
    CANCELLED = "cancelled"
    """A user cancelled it; `resume` continues from there."""


class StepRunState(StrEnum):
    """Where one step at one iteration stands."""

    PENDING = "pending"
    """It is the next one and has no job yet; a parallel step gets its manifest now, a collecting step collects."""
    ACTIVE = "active"
    """Its jobs are submitted, wait or run; a job that failed may be retried."""
    SUCCEEDED = "succeeded"
    """Its jobs have succeeded. Experiments may have failed: their errors are in the table."""
    FAILED = "failed"
    """A job failed for good, too many experiments failed, or the table could not be used; the reason says which."""
    CANCELLED = "cancelled"
    """It was stopped before its end: by `cancel`, or by a `resume` that repeats it."""
    SKIPPED = "skipped"
    """There was nothing to do: the run began at a later step (`from_step`), or no experiment was open."""


class JobState(StrEnum):
    """Where one submission to the scheduler stands."""

    PLANNED = "planned"
    """It is recorded and not submitted: not yet, or the scheduler did not accept it now and is asked again later."""
    SUBMITTING = "submitting"
    """It is being submitted. After a crash at this point the scheduler is asked whether it has the job."""
    QUEUED = "queued"
    """The scheduler has accepted it, its id is recorded, and it waits to start."""
    RUNNING = "running"
    """The scheduler has started it."""
    SUCCEEDED = "succeeded"
    """All its tasks left receipts of success; an orchestrator job leaves none, its end is enough."""
    FAILED = "failed"
    """It was refused, or it ended and a task failed or left no receipt; its kind says how (see below)."""
    CANCELLED = "cancelled"
    """It was ended by `cancel` or an interrupt, or it is no longer needed."""
    LOST = "lost"
    """The scheduler answered twice without it, and it left no complete set of receipts."""


MOVES: dict[type[StrEnum], dict[str, tuple[str, ...]]] = {
    RunState: {
        "active": ("succeeded", "failed", "cancelled"),
        "succeeded": ("active",),  # resume --from-step
        "failed": ("active",),  # resume
        "cancelled": ("active",),  # resume
    },
    # A repeated step is a new row of a new epoch; the old row stays as history.
    StepRunState: {
        "pending": ("active", "skipped", "failed", "cancelled"),
        "active": ("succeeded", "failed", "cancelled"),
        "succeeded": (),
        "failed": (),
        "cancelled": (),
        "skipped": (),
    },
    JobState: {
        "planned": ("submitting", "cancelled"),
        # planned: refused for now, or it never arrived; it is submitted again under the same token
        "submitting": ("planned", "queued", "failed", "cancelled"),
        "queued": ("running", "failed", "cancelled", "lost"),
        # queued: SLURM has requeued it
        "running": ("queued", "succeeded", "failed", "cancelled", "lost"),
        "succeeded": (),
        "failed": (),
        "cancelled": (),
        "lost": (),
    },
}
"""Which states may follow each state."""

RUN_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
STEP_RUN_ENDED = frozenset({StepRunState.SUCCEEDED, StepRunState.FAILED, StepRunState.CANCELLED, StepRunState.SKIPPED})
STEP_RUN_FLAWED = {StepRunState.FAILED: "failed", StepRunState.CANCELLED: "was cancelled"}
"""The states of step runs that have ended and must be repeated, and the words for them."""

JOB_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
JOB_WITH_SCHEDULER = frozenset({JobState.SUBMITTING, JobState.QUEUED, JobState.RUNNING})


class FailureKind(StrEnum):
    """Why a job or one of its tasks failed."""

    REFUSED = "refused"
    """The scheduler does not accept it; its message is kept as the reason."""
    OUT_OF_MEMORY = "out_of_memory"
    """It needed more memory than it had asked for."""
    TIMEOUT = "timeout"
    """It ran longer than its time limit."""
    NODE_FAILURE = "node_failure"
    """Its node failed or could not start it."""
    PREEMPTED = "preempted"
    """The scheduler ended it in favour of another job."""
    CANCELLED = "cancelled"
    """It was cancelled, through the orchestrator or through the scheduler."""
    EXCEPTION = "exception"
    """The step raised an exception; its type, message and traceback are kept."""
    NOT_STARTED = "not_started"
    """It ended before it could begin its work: `env_setup` or `runner` failed, or its node is broken."""
    INFRASTRUCTURE = "infrastructure"
    """It ended without a receipt, and nothing more exact is known."""
    STOPPED = "stopped"
    """Its step stopped early: too many experiments failed, or the first ones all failed with the same exception."""
    INTERRUPTED = "interrupted"
    """The process that ran it on this machine was interrupted or died."""


RETRYABLE_KINDS = frozenset(
    {FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT, FailureKind.NOT_STARTED, FailureKind.INFRASTRUCTURE}
)
"""The kinds that are retried as often as `Step.retries` says. An exception of the step is not among them.

`_may_retry` in `orchestrator.machine.decide` counts the retries."""

BLAMED_KINDS = RETRYABLE_KINDS - {FailureKind.NOT_STARTED}
"""The kinds for which an experiment may be to blame that was evaluated when a job ended."""

CLUSTER_KINDS = frozenset({FailureKind.NODE_FAILURE, FailureKind.PREEMPTED})
"""The kinds for which neither the user nor the step is to blame: they are retried `CLUSTER_RETRIES` times."""

CLUSTER_RETRIES = 3
"""Retries of a job after failures of the cluster, in addition to `Step.retries`."""


def requested_kinds(state: RunState) -> frozenset[FailureKind]:
    """Return the kinds that are no failures in a run of this state, because its user has ended the jobs.

    In a run that was not cancelled, a job that was is a failure: someone typed `scancel`.
    """
    cancelled = {FailureKind.CANCELLED} if state is RunState.CANCELLED else set[FailureKind]()
    return frozenset({FailureKind.INTERRUPTED, *cancelled})


def may_move(old: StrEnum, new: StrEnum) -> bool:
    """Whether the move from `old` to `new` is allowed.

    Parameters
    ----------
    old, new : RunState, StepRunState or JobState
        Two states of the same type.
    """
    return type(old) is type(new) and new.value in MOVES[type(old)][old.value]
