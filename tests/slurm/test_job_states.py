"""Every job state of SLURM is known to us, and no unknown one ends a job."""

from __future__ import annotations

import pytest

from orchestrator.machine.facts import Seen
from orchestrator.machine.states import FailureKind
from orchestrator.slurm.job_states import STATES, is_stuck, meaning

# Of SLURM 22.05's and 25.05's documents: base states, then flags that are shown in their place.
WORDS = [
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
    "LAUNCH_FAILED",
    "REQUEUED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESIZING",
    "CONFIGURING",
    "COMPLETING",
    "STOPPED",
    "RECONFIG_FAIL",
    "POWER_UP_NODE",
    "REVOKED",
    "REQUEUE_FED",
    "RESV_DEL_HOLD",
    "SIGNALING",
    "STAGE_OUT",
    "EXPEDITING",
    "UPDATE_DB",
]


def test_the_table_has_every_state():
    assert set(STATES) == set(WORDS)


def test_a_job_is_over_only_in_these_states():
    assert {word for word in WORDS if meaning(word).seen is Seen.OVER} == {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    }


@pytest.mark.parametrize("word", [word for word in WORDS if meaning(word).seen is Seen.OVER and word != "COMPLETED"])
def test_every_failed_state_has_a_kind_of_failure(word):
    assert meaning(word).kind is not None


@pytest.mark.parametrize("written", ["CANCELLED", "CANCELLED by 0", "CANCELLED by 1000", "CANCELLED+", "cancelled"])
def test_a_cancelled_job_is_read_as_sacct_writes_it(written):
    assert meaning(written) == (Seen.OVER, FailureKind.CANCELLED, True)


@pytest.mark.parametrize("written", ["", "HIBERNATING", "RUNNING_LATE", "0"])
def test_an_unknown_state_counts_as_live_and_is_reported(written):
    assert meaning(written) == (Seen.RUNNING, None, False)


@pytest.mark.parametrize(
    "reason",
    [
        "DependencyNeverSatisfied",
        "JobHeldUser",
        "(JobHeldAdmin)",
        "launch failed requeued held",
        "launch_failed_requeued_held",
        "PartitionConfig",
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "BadConstraints",
        "InvalidAccount",
        "InvalidQOS",
        "AssocMaxWallDurationPerJobLimit",
        "QOSMaxCpuPerJobLimit",
        "QOSMinCpuNotSatisfied",
    ],
)
def test_these_reasons_never_pass_by_waiting(reason):
    assert is_stuck(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "None",
        "",
        "Priority",
        "Resources",
        "Dependency",
        "BeginTime",
        "JobArrayTaskLimit",
        "PartitionDown",
        "QOSMaxCpuPerUserLimit",
        "QOSMaxJobsPerUserLimit",
        "AssocGrpCpuLimit",
        "AssocMaxJobsLimit",
        "ReqNodeNotAvail, UnavailableNodes:n1",
        "Licenses",
    ],
)
def test_these_reasons_pass_by_waiting(reason):
    assert not is_stuck(reason)
