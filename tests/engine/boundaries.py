"""The moments at which a process may be killed, and a run that is killed once at each of them."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sqlite3
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import pytest

from orchestrator.data import kept_table, sample_files
from orchestrator.db import leases, opening
from orchestrator.db.store import Store
from tests.fakes.queue import Killed

WITH_AFTER = ("write", "link", "submit", "sbatch")
"""Actions that are followed by their own boundary, since the next action may not be one."""

T = TypeVar("T")


class Swept(NamedTuple):
    """How many boundaries a run has, and at how many of them it was killed."""

    n_boundaries: int
    n_deaths: int


class Kept:
    """A connection that stays open when its user closes it, and then rolls back, as a closed one does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        self._connection.rollback()

    def __del__(self) -> None:
        self._connection.close()


class Boundaries:
    """Counts the boundaries of a run; at those that `dies_here` names, the process that advances is killed.

    Attributes
    ----------
    n : int
        How many there have been.
    died : str
        What it was killed before or after.
    is_on : bool
        Whether what happens is done by a process that may be killed.
    is_over : bool
        Whether another sweep kills at all that follows.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, dies_here: Callable[[int], bool] = lambda n: False) -> None:
        self.n, self.died, self.is_on, self.is_over, self.is_dead = 0, "", False, False, False
        self._monkeypatch, self._dies_here = monkeypatch, dies_here
        self.watch(Store, "write")
        self.watch(os, "rename")  # also those of pathlib
        self.watch(os, "link")
        self.watch(kept_table, "write_synced")
        self.watch(sample_files, "remove_collected")
        # The process dies, not the machine: written files remain.
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        monkeypatch.setattr(opening, "PRAGMAS", opening.PRAGMAS.replace("synchronous = FULL", "synchronous = OFF"))
        self._connections: dict[int, Kept] = {}
        self._keep_connections()
        # Nor does the dead process clean up.
        unlink = Path.unlink
        monkeypatch.setattr(Path, "unlink", lambda *a, **k: self._live() or unlink(*a, **k))
        released = leases.Leases.release
        monkeypatch.setattr(leases.Leases, "release", lambda *a: None if self.is_dead else released(*a))

    def _keep_connections(self) -> None:
        """Open the database once per process: a third of the time of a run was the same check of its schema."""
        connect = opening._connect

        def kept(path: str, access: opening.Access, writable: bool) -> Kept | sqlite3.Connection:
            if access == "upgrade":
                return connect(path, access, writable)
            file = Path(path).stat().st_ino
            if file not in self._connections:
                self._connections[file] = Kept(connect(path, access, writable))
            return self._connections[file]

        self._monkeypatch.setattr(opening, "_connect", kept)

    def watch(self, owner: object, *names: str) -> None:
        for name in names:
            self._watch(owner, name)

    def _watch(self, owner: object, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments, **keywords):
            self._boundary(f"before {name}")
            result = original(*arguments, **keywords)
            if name in WITH_AFTER:
                self._boundary(f"after {name}")
            return result

        self._monkeypatch.setattr(owner, name, watched)

    def _live(self) -> None:
        if self.is_dead:
            raise Killed

    def _boundary(self, where: str) -> None:
        self._live()
        if not self.is_on or self.is_over:
            return
        self.n += 1
        # What copies the world renames folders, too.
        self.is_on = False
        try:
            self.is_dead = self._dies_here(self.n)
        finally:
            self.is_on = True
        if self.is_dead:
            self.died = where
            raise Killed

    def go_on(self) -> None:
        """Start another process, which has none of the locks and files of the dead one."""
        self.is_dead = False
        self._connections.clear()
        leases._held.clear()


class Branches:
    """Copies the world at the chosen boundaries: in the copy, the process is killed there; here, it continues.

    A copy is a fork of this process with a copy of the workspace at the same place; this process waits for its end.

    Attributes
    ----------
    died_at : int or None
        In a copy, the boundary.
    n_deaths : int
        How many copies there have been.
    failures : list of str
    """

    def __init__(self, workspace: Path, chosen: Callable[[int], bool]) -> None:
        self.died_at: int | None = None
        self.n_deaths = 0
        self.failures: list[str] = []
        self._workspace, self._chosen = workspace, chosen
        # Named after the workspace: other sweeps run beside it at the same time.
        names = (f"{workspace.name}.{what}" for what in ("original", "report", "copy"))
        self._original, self._report, self._copy = map(workspace.with_name, names)
        # Otherwise a copy's garbage collector would visit, and so copy, all memory of this process.
        gc.freeze()

    def dies_here(self, n: int) -> bool:
        if self.died_at is not None or not self._chosen(n):
            return False
        self.n_deaths += 1
        self._copy_workspace()
        me, child = os.getpid(), _fork()
        if child == 0:
            self.died_at = n
            # Its locks have the process id of the process that it is a copy of.
            os.getpid = lambda: me
            os.chdir(self._workspace)
            return True
        try:
            _, status = os.waitpid(child, 0)
        except BaseException:  # the time of the test is up
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        if status:
            self.failures.append(self._report.read_text() if self._report.exists() else f"boundary {n}: {status=}")
        self._report.unlink(missing_ok=True)
        shutil.rmtree(self._workspace)
        shutil.move(self._original, self._workspace)
        return False

    def end(self, report: str) -> NoReturn:
        """End a copy."""
        self._report.write_text(report)
        os._exit(bool(report))

    def _copy_workspace(self) -> None:
        """Replace the workspace by a copy: the open files of this process stay open."""
        shutil.copytree(self._workspace, self._copy, symlinks=True)
        shutil.move(self._workspace, self._original)
        shutil.move(self._copy, self._workspace)


def sweep(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Boundaries], T],
    check: Callable[[T, T], None],
    part: tuple[int, int],
) -> Swept:
    """Let a run be killed once at each boundary of a part of them.

    Parameters
    ----------
    workspace : Path
    monkeypatch : MonkeyPatch
    run : callable
        Executes the run and returns its result.
    check : callable
        Compares the result of a run that was killed with that of a run that was not.
    part : tuple of int
        The k-th of n parts, from 1.
    """
    k, n_parts = part
    with monkeypatch.context() as patch:
        expected = run(Boundaries(patch))
    empty(workspace)
    branches = Branches(workspace, lambda n: n % n_parts == k % n_parts)
    with monkeypatch.context() as patch:
        boundaries = Boundaries(patch, branches.dies_here)
        try:
            check(run(boundaries), expected)
        except BaseException:
            if branches.died_at is None:
                raise
            branches.end(f"killed at boundary {branches.died_at}, {boundaries.died}:\n{traceback.format_exc()}")
        if branches.died_at is not None:
            branches.end("")
    gc.unfreeze()
    assert not branches.failures, "\n".join(branches.failures)
    return Swept(boundaries.n, branches.n_deaths)


def empty(workspace: Path) -> None:
    """Remove all that is in a workspace."""
    shutil.rmtree(workspace)
    workspace.mkdir()
    os.chdir(workspace)
    leases._held.clear()


def _fork() -> int:
    with warnings.catch_warnings():
        # Other threads have nothing that the copy needs: it ends by os._exit.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
