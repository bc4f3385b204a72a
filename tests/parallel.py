"""Share the suite among more processes than there are cores: while tests wait for SLURM, others compute."""

from __future__ import annotations

import os

import pytest

MORE_THAN_CORES = 4
SHARED_CLUSTERS = ("sandbox", "sandbox_with_accounting")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return len(os.sched_getaffinity(0)) + MORE_THAN_CORES


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests of one cluster in one process, and let those begin first that take long."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if name := cluster_of(item):
            item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: (not item.get_closest_marker("slurm"), not item.get_closest_marker("acceptance")))


def cluster_of(item: pytest.Item) -> str | None:
    """Name the shared cluster that a test uses; one test may use both."""
    fixtures = getattr(item, "fixturenames", ())
    used = [name for name in SHARED_CLUSTERS if name in fixtures]
    return used[-1] if used else None
