"""The meaning of SLURM's job states, and of its reasons why a job waits. Our states: `orchestrator.machine.states`."""

from __future__ import annotations

import re
from typing import NamedTuple

from orchestrator.machine.facts import Seen
from orchestrator.machine.states import FailureKind

__all__ = ["STATES", "Meaning", "is_stuck", "meaning"]

STATES: dict[str, tuple[Seen, FailureKind | None]] = {
    # the job waits, or waits again
    "PENDING": (Seen.QUEUED, None),
    "CONFIGURING": (Seen.QUEUED, None),  # its nodes are booting
    "POWER_UP_NODE": (Seen.QUEUED, None),
    "REQUEUED": (Seen.QUEUED, None),  # sacct prints an end time, which is that of the earlier start
    "REQUEUE_FED": (Seen.QUEUED, None),
    "REQUEUE_HOLD": (Seen.QUEUED, None),
    "RESV_DEL_HOLD": (Seen.QUEUED, None),
    "SPECIAL_EXIT": (Seen.QUEUED, None),
    "EXPEDITING": (Seen.QUEUED, None),
    # the job has processes, or may still have some
    "RUNNING": (Seen.RUNNING, None),
    "COMPLETING": (Seen.RUNNING, None),
    "RESIZING": (Seen.RUNNING, None),
    "SIGNALING": (Seen.RUNNING, None),
    "STAGE_OUT": (Seen.RUNNING, None),
    "STOPPED": (Seen.RUNNING, None),
    "SUSPENDED": (Seen.RUNNING, None),
    "UPDATE_DB": (Seen.RUNNING, None),
    # the job has ended
    "COMPLETED": (Seen.OVER, None),
    "CANCELLED": (Seen.OVER, FailureKind.CANCELLED),
    "DEADLINE": (Seen.OVER, FailureKind.TIMEOUT),
    # What the user's code raised is in a receipt, which counts before this: here the script or Python itself failed.
    "FAILED": (Seen.OVER, FailureKind.INFRASTRUCTURE),
    "OUT_OF_MEMORY": (Seen.OVER, FailureKind.OUT_OF_MEMORY),
    "PREEMPTED": (Seen.OVER, FailureKind.PREEMPTED),  # a job that SLURM requeues is COMPLETING, then PENDING
    "REVOKED": (Seen.OVER, FailureKind.INFRASTRUCTURE),
    "TIMEOUT": (Seen.OVER, FailureKind.TIMEOUT),
    "BOOT_FAIL": (Seen.OVER, FailureKind.NODE_FAILURE),
    "LAUNCH_FAILED": (Seen.OVER, FailureKind.NODE_FAILURE),
    "NODE_FAIL": (Seen.OVER, FailureKind.NODE_FAILURE),
    "RECONFIG_FAIL": (Seen.OVER, FailureKind.NODE_FAILURE),
}

STUCK = (
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "JobHeldAdmin",
    "JobHeldUser",
    "JobHoldMaxRequeue",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "ReservationDeleted",
    "job requeued in held state",
    "launch failed requeued held",
    "user env retrieval failed requeued held",
    # The job itself exceeds a limit: it does not help when other jobs end.
    r"(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?",
    r"QOSMin\w+",
)
"""Reasons that do not change by waiting, as patterns: the job never starts without an action of the user."""

_STUCK = "(?i)" + "|".join(f"(?:{pattern})" for pattern in STUCK)


class Meaning(NamedTuple):
    """The meaning of a state.

    Attributes
    ----------
    seen : Seen
        Whether the job waits, runs or has ended.
    kind : FailureKind or None
        Kind of failure, for a state that is one.
    is_known : bool
        False for a state that is not in the table. It counts as running: if that is wrong, the run only waits.
    """

    seen: Seen
    kind: FailureKind | None
    is_known: bool = True


def meaning(state: str) -> Meaning:
    """Return the meaning of a state.

    Parameters
    ----------
    state : str
        As squeue or sacct writes it, such as `RUNNING`, `CANCELLED by 1000` or `CANCELLED+`.
    """
    words = state.split()
    word = words[0].rstrip("+").upper() if words else ""
    if word not in STATES:
        return Meaning(Seen.RUNNING, None, is_known=False)
    return Meaning(*STATES[word])


def is_stuck(reason: str) -> bool:
    """Whether a job that waits for this reason never starts without an action of the user.

    Parameters
    ----------
    reason : str
        As squeue writes it, with or without parentheses, with spaces or underscores.
    """
    return re.fullmatch(_STUCK, reason.strip("() ").replace("_", " ")) is not None
