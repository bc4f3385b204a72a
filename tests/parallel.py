"""Share the suite among more processes than there are cores: while tests wait for SLURM, others compute."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.atomic import write_atomically

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler.protocol import Scheduling

MORE_THAN_CORES = 6
"""Processes that wait for SLURM while others compute."""

LESS_URGENT = 3
"""Niceness of tests that compute: those on a cluster wait for each other's jobs, and so form the longest chain."""

CLUSTERS = 3
"""Clusters without accounting that run side by side: most tests on SLURM share them, and mostly wait."""

LONG = ("slurm", "acceptance", "slow")
"""Tests with these marks start first, in this order: otherwise the last of them would run alone."""


SHARED = {
    "sandbox_with_accounting": "cluster with accounting",
    "studies_with_accounting": "cluster with accounting",
    "sandbox": "cluster",
    "studies": "cluster",
    "sandbox_like": "clusters of equal settings",
    "wheel": "installed wheel",
    "f3dasm_python": "f3dasm",
}
"""The fixtures that take long to start, and the group of the tests that share one."""

GROUPS = "ORCHESTRATOR_TEST_GROUPS"
"""The environment variable that names the file in which the group of each test is."""

PR_SET_PDEATHSIG = 1


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # Otherwise it would finish its test after the run was killed, and its cluster would run until then.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    folder = tempfile.TemporaryDirectory(prefix="orchestrator-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ[GROUPS] = f"{folder.name}/groups.json"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    waits = "not slurm" not in config.getoption("markexpr")
    return len(os.sched_getaffinity(0)) + (MORE_THAN_CORES if waits else 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        """Runs the tests that share a running cluster in one process, so that it starts once."""

        _groups: dict[str, str] | None = None

        def _split_scope(self, nodeid: str) -> str:
            # The processes that collect know the fixtures of a test; this one knows its name only.
            if self._groups is None:
                self._groups = json.loads(Path(os.environ[GROUPS]).read_text())
            return self._groups.get(nodeid, nodeid)

    return ByGroup(config, log)


def group_of(item: pytest.Item) -> str | None:
    """Return what a test shares with others that is worth starting once; None where it shares nothing."""
    # A parameter names one of two clusters: these tests run whole studies, and take so long that they have clusters of
    # their own.
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if any(isinstance(name, str) and name in SHARED for name in parameters):
        return "either cluster"
    fixtures = getattr(item, "fixturenames", ())
    return next((group for name, group in SHARED.items() if name in fixtures), None)


def groups_of(items: list[pytest.Item]) -> dict[str, str]:
    """Return the group of each test that has one."""
    groups = {item.nodeid: group for item in items if (group := group_of(item))}
    on_cluster = [item for item in items if groups.get(item.nodeid) == SHARED["sandbox"]]
    cluster_of = shared_out(Counter(item.path for item in on_cluster), CLUSTERS)
    return groups | {item.nodeid: f"cluster {cluster_of[item.path]}" for item in on_cluster}


def shared_out(files: Counter[Path], n: int) -> dict[Path, int]:
    """Return for each file to which of `n` clusters its tests go, about as many to each."""
    tests = [0] * n
    cluster_of = {}
    for file, n_tests in files.most_common():
        cluster_of[file] = tests.index(min(tests))
        tests[cluster_of[file]] += n_tests
    return cluster_of


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and not item.get_closest_marker("slurm") and os.nice(0) < LESS_URGENT:
        os.nice(LESS_URGENT)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=lambda item: next((k for k, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG)))
    if config.workerinput["workerid"] == "gw0":
        write_atomically(Path(os.environ[GROUPS]), json.dumps(groups_of(items)).encode())
