"""Fixtures that give the real SLURM to tests marked `slurm`: one cluster for all of them, or clusters of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.slurm.sandboxes import Sandbox, started


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Give the cluster without accounting that all tests share: tell jobs apart by their names."""
    with started() as one:
        yield one


@pytest.fixture(scope="session")
def sandbox_with_accounting() -> Iterator[Sandbox]:
    """Give the cluster with accounting that all tests share; its squeue soon forgets what has ended."""
    with started(accounting=True, conf=["MinJobAge=2"]) as one:
        yield one


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Give a function that starts a cluster of the test's own: `start_sandbox(nodes=2, conf=["MaxArraySize=11"])`."""
    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(started(**given))
