"""The states of runs, step runs and jobs, and the only moves between them.

The table `MOVES` comes first: the constraints of the database, the guards of `orchestrator.db.store` and the diagram in
the docs are all made from it (`scripts/state-diagram` prints it).
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "KINDS_THAT_COUNT",
    "MOVES",
    "FailureKind",
    "JobState",
    "RunState",
    "StepRunState",
    "may_move",
    "mermaid",
]


class RunState(StrEnum):
    """Where a run stands. "Stalled" is derived by `status`, never stored."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepRunState(StrEnum):
    """Where one step at one iteration stands."""

    PENDING = "pending"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class JobState(StrEnum):
    """Where one submission to the scheduler stands."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


MOVES: dict[type[StrEnum], dict[str, tuple[str, ...]]] = {
    RunState: {
        "active": ("succeeded", "failed", "cancelled"),
        "succeeded": ("active",),  # resume --from-step
        "failed": ("active",),  # resume
        "cancelled": ("active",),  # resume
    },
    # A resumed step is a new row of a new epoch: what a step run ended as stays as history.
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
        # back to planned: refused for now, or never arrived; submitted again under the same token
        "submitting": ("planned", "queued", "failed", "cancelled"),
        "queued": ("running", "failed", "cancelled", "lost"),
        "running": (
            "queued",
            "succeeded",
            "failed",
            "cancelled",
            "lost",
        ),  # queued: SLURM requeued it
        "succeeded": (),
        "failed": (),
        "cancelled": (),
        "lost": (),
    },
}

RUN_ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
STEP_RUN_ENDED = frozenset({StepRunState.SUCCEEDED, StepRunState.FAILED, StepRunState.CANCELLED, StepRunState.SKIPPED})
JOB_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
JOB_WITH_SCHEDULER = frozenset({JobState.SUBMITTING, JobState.QUEUED, JobState.RUNNING})


class FailureKind(StrEnum):
    """Why a job or one of its tasks failed."""

    REFUSED = "refused"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    NODE_FAILURE = "node_failure"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    EXCEPTION = "exception"
    INFRASTRUCTURE = "infrastructure"
    INTERRUPTED = "interrupted"


KINDS_THAT_COUNT = frozenset({FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT, FailureKind.INFRASTRUCTURE})
"""The kinds that `Step.retries` speaks of; the user's exception is not among them."""

KINDS_OF_THE_CLUSTER = frozenset({FailureKind.NODE_FAILURE, FailureKind.PREEMPTED})
"""The kinds that are nobody's fault: they get `TRIES_OF_THE_CLUSTER` tries of their own, whatever `retries` says."""

TRIES_OF_THE_CLUSTER = 3


def may_move(old: StrEnum, new: StrEnum) -> bool:
    """Tell whether the machine has an arrow from `old` to `new`.

    Parameters
    ----------
    old, new : RunState, StepRunState or JobState
        Two states of the same type.

    Returns
    -------
    bool
    """
    return type(old) is type(new) and new.value in MOVES[type(old)][old.value]


def mermaid(states: type[StrEnum]) -> str:
    """Draw one machine as a Mermaid state diagram.

    Parameters
    ----------
    states : type
        `RunState`, `StepRunState` or `JobState`.

    Returns
    -------
    str
        The diagram's source, one arrow per line, without a trailing newline.
    """
    moves = MOVES[states]
    first = next(iter(moves))
    arrows = [f"    {old} --> {new}" for old, targets in moves.items() for new in targets]
    # An end that resume can leave is still an end.
    returns = {new for targets in moves.values() for new in targets}
    ends = [f"    {state} --> [*]" for state in moves if state in returns and state in _ENDS]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {first}", *arrows, *ends])


_ENDS = frozenset(str(state) for state in RUN_ENDED | STEP_RUN_ENDED | JOB_ENDED)
