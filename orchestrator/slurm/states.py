"""What SLURM's words for a job's state mean to us: the table comes first."""

from __future__ import annotations

import re

from orchestrator.machine.facts import Seen
from orchestrator.machine.states import FailureKind

__all__ = ["STATES", "is_stuck", "meaning"]

STATES: dict[str, tuple[Seen, FailureKind | None]] = {
    # waits, or waits again
    "PENDING": (Seen.QUEUED, None),
    "CONFIGURING": (Seen.QUEUED, None),  # its nodes are booting
    "POWER_UP_NODE": (Seen.QUEUED, None),
    "REQUEUED": (Seen.QUEUED, None),  # sacct shows it with an end time, which is that of the former life
    "REQUEUE_FED": (Seen.QUEUED, None),
    "REQUEUE_HOLD": (Seen.QUEUED, None),
    "RESV_DEL_HOLD": (Seen.QUEUED, None),
    "SPECIAL_EXIT": (Seen.QUEUED, None),
    "EXPEDITING": (Seen.QUEUED, None),
    # has processes, or may still have some
    "RUNNING": (Seen.RUNNING, None),
    "COMPLETING": (Seen.RUNNING, None),
    "RESIZING": (Seen.RUNNING, None),
    "SIGNALING": (Seen.RUNNING, None),
    "STAGE_OUT": (Seen.RUNNING, None),
    "STOPPED": (Seen.RUNNING, None),
    "SUSPENDED": (Seen.RUNNING, None),
    "UPDATE_DB": (Seen.RUNNING, None),
    # over
    "COMPLETED": (Seen.OVER, None),
    "CANCELLED": (Seen.OVER, FailureKind.CANCELLED),
    "DEADLINE": (Seen.OVER, FailureKind.TIMEOUT),
    "FAILED": (Seen.OVER, FailureKind.INFRASTRUCTURE),
    "OUT_OF_MEMORY": (Seen.OVER, FailureKind.OUT_OF_MEMORY),
    "PREEMPTED": (Seen.OVER, FailureKind.PREEMPTED),  # one that SLURM runs again is COMPLETING, then PENDING
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
    # The job alone asks for more than it may: no other job's end helps.
    r"(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?",
    r"QOSMin\w+",
)
"""Reasons why a job waits that do not pass by waiting, as patterns."""

_STUCK = "(?i)" + "|".join(f"(?:{pattern})" for pattern in STUCK)


def meaning(state: str) -> tuple[Seen, FailureKind | None, bool]:
    """Say what a state means.

    Parameters
    ----------
    state : str
        As squeue or sacct writes it, such as `RUNNING`, `CANCELLED by 1000` or `CANCELLED+`.

    Returns
    -------
    seen : Seen
    kind : FailureKind or None
        Why it is over, where that is a failure.
    is_known : bool
        False for a word that isn't in the table. It counts as running: to be wrong about that costs a wait.
    """
    words = state.split()
    word = words[0].rstrip("+").upper() if words else ""
    if word not in STATES:
        return Seen.RUNNING, None, False
    return *STATES[word], True


def is_stuck(reason: str) -> bool:
    """Tell whether a job that waits for this reason waits for ever unless somebody does something.

    Parameters
    ----------
    reason : str
        As squeue writes it, with or without parentheses, with spaces or underscores.
    """
    return re.fullmatch(_STUCK, reason.strip("() ").replace("_", " ")) is not None
