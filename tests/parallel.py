"""Share the suite among more processes than there are cores: while tests wait for SLURM, others compute."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler.protocol import Scheduling

MORE_THAN_CORES = 4
LONG = ("slurm", "acceptance", "slow")
"""Tests with these marks begin first, in this order: else the last of them would run alone."""


PR_SET_PDEATHSIG = 1


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # Else it would end its test after the run was killed, and keep its cluster until then.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return len(os.sched_getaffinity(0)) + MORE_THAN_CORES


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    from xdist.scheduler import LoadScopeScheduling

    class ByCluster(LoadScopeScheduling):
        """Keeps the tests of a file that uses SLURM in one process, where they share a running cluster."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if "slurm" in file.split("/") else nodeid

    return ByCluster(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(
            key=lambda item: next((k for k, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG))
        )
