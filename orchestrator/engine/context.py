"""What one advance works with."""

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
    """A run, held by its lease, and the world around it.

    Attributes
    ----------
    store : Store
    record : RunRecord
        What does not change while the run goes on.
    fence : int
        Proof of the lease; every write shows it.
    folder : RunFolder
    scheduler : Scheduler
    progress : Progress
        Told what happens, for the user's eyes.
    clock : callable
        Gives epoch seconds.
    cwd : str or None
        The folder that jobs run in, where the scheduler could choose another.
    own_token, own_id : str or None
        Of the orchestrator job that this process is.
    enclosing_job : str or None
        The id of the scheduler's job that this process is part of: of an orchestrator job, of one of a step, or of one
        in which the user types.
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
    def holds_tables(self) -> bool:
        """Whether this process may load a table: one that runs the steps itself, and the tail of a job.

        If a tail dies of it, an orchestrator job takes its place.
        """
        return self.scheduler.is_local or self.is_tail

    @property
    def key(self) -> str:
        """The run's key."""
        return self.record.key
