"""Everything that one advance works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.progress import Progress
from orchestrator.engine.scheduler import Scheduler
from orchestrator.workspace import RunFolder

__all__ = ["Context"]


class Context(NamedTuple):
    """A run whose lease this process holds, and what is needed to advance it.

    Attributes
    ----------
    store : Store
        The database.
    record : RunRecord
        The part of the run's row that an advance does not change.
    fence : int
        Number of the lease; every write shows it.
    folder : RunFolder
        The run's folder.
    scheduler : Scheduler
        Runs its jobs.
    progress : Progress
        Shows the user what happens.
    clock : callable
        Returns epoch seconds.
    cwd : str or None
        The folder that jobs run in; None if the scheduler runs them in the current one.
    own_token, own_id : str or None
        Token and scheduler's id of the orchestrator job that this process is.
    enclosing_job : str or None
        The scheduler's id of the job that this process is part of: an orchestrator job, a step's job, or a job in which
        the user types.
    is_tail : bool
        Whether it is the tail of a step's job.
    """

    store: Store
    record: RunRecord
    fence: int
    folder: RunFolder
    scheduler: Scheduler
    progress: Progress
    clock: Callable[[], float] = time.time
    cwd: str | None = None
    own_token: str | None = None
    own_id: str | None = None
    enclosing_job: str | None = None
    is_tail: bool = False

    @property
    def may_load_tables(self) -> bool:
        """Whether this process may load a table: it runs the steps itself, or is the tail of a job.

        If the tail runs out of memory, an orchestrator job takes its place.
        """
        return self.scheduler.is_local or self.is_tail

    @property
    def in_job(self) -> bool:
        """Whether this process is part of a job, and so runs on a node."""
        return self.own_token is not None or self.enclosing_job is not None

    @property
    def key(self) -> str:
        """The run's key."""
        return self.record.key
