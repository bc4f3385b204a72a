"""Fixtures that give the real SLURM to tests marked `slurm`: one cluster for all of them, or clusters of their own."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.slurm.sandboxes import Sandbox, started
from tests.slurm.studies import Studies
from tests.temporary import short_root


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Return the cluster without accounting that all tests share: tell jobs apart by their names.

    It remembers ended jobs for SLURM's default time.
    """
    with started(conf=["MinJobAge=300"]) as one:
        yield one


@pytest.fixture(scope="session")
def sandbox_with_accounting() -> Iterator[Sandbox]:
    """Return the cluster with accounting that all tests share; its squeue soon forgets ended jobs."""
    with started(accounting=True, conf=["MinJobAge=2"]) as one:
        yield one


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Return a function that starts a cluster of the test's own: `start_sandbox(nodes=2, conf=["MaxArraySize=11"])`."""
    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(started(**given))


@pytest.fixture(scope="session")
def sandbox_like() -> Iterator[Callable[..., Sandbox]]:
    """Return a function that returns a running cluster, one for all tests that ask for the same nodes and lines.

    A test leaves it idle, and its servers running.
    """
    with contextlib.ExitStack() as stack:
        running: dict[tuple[int, tuple[str, ...]], Sandbox] = {}

        def give(*, nodes: int, conf: Sequence[str]) -> Sandbox:
            key = (nodes, tuple(conf))
            if key not in running:
                running[key] = stack.enter_context(started(nodes=nodes, conf=conf))
            return running[key]

        yield give


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Return a folder where a sandbox can be, since its path is short; all users may pass it."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-", dir=short_root()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def studies(sandbox: Sandbox, tmp_path: Path) -> Iterator[Studies]:
    """Return a workspace on the cluster without accounting; at the end nothing of it may be left in the queue."""
    with workspace_on(sandbox, tmp_path) as one:
        yield one


@pytest.fixture
def studies_with_accounting(sandbox_with_accounting: Sandbox, tmp_path: Path) -> Iterator[Studies]:
    """Return a workspace on the cluster with accounting; at the end nothing of it may be left in the queue."""
    with workspace_on(sandbox_with_accounting, tmp_path) as one:
        yield one


@contextlib.contextmanager
def workspace_on(cluster: Sandbox, folder: Path) -> Iterator[Studies]:
    """Return a workspace on a cluster, whose queue must be empty at the end."""
    try:
        yield Studies(folder, cluster)
        # The task or the orchestrator job that ended the run may still be ending.
        cluster.wait_until_idle(seconds=30)
    finally:
        if cluster.jobs_left():
            cluster.scancel("--user", getpass.getuser())
            cluster.wait_until_idle(seconds=60)
