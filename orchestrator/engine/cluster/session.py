"""What a process needs to advance a run on a cluster: its scheduler, its lease, and the context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from orchestrator.db.file_systems import is_local
from orchestrator.db.lease_holder import Holder
from orchestrator.db.store import RunRecord, Store
from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.engine.context import Context
from orchestrator.engine.lease import hold_lease
from orchestrator.engine.progress import Silent
from orchestrator.errors import DatabaseError, LeaseHeld
from orchestrator.handoff.environment import read_environment
from orchestrator.slurm.client import Client

__all__ = ["config_of", "dead_holder", "make_context", "hold_lease_on_cluster", "with_lease_on", "scheduler_of"]


def scheduler_of(store: Store, record: RunRecord) -> SlurmScheduler:
    """Return the scheduler of a run that was submitted to a cluster."""
    config = config_of(record)
    folder = store.workspace.run(record.key, config.cluster.log_dir)
    client = Client(submitter=partial(read_environment, folder, config.environment))
    return SlurmScheduler(folder, config, record.name, store.path, shared=not is_local(folder.workspace), client=client)


def config_of(record: RunRecord) -> ClusterConfig:
    """Return the cluster that a run was submitted to."""
    try:
        return ClusterConfig.from_json(record.cluster or {})
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise DatabaseError(
            f"The records of run {record.key} are damaged: its cluster can't be read ({error!r}).",
            "Restore orchestrator.db from a backup, or submit the study again with a new key.",
        ) from error


def make_context(store: Store, key: str, fence: int, scheduler: SlurmScheduler) -> Context:
    """Return the context of one advance."""
    enclosing_job = (Holder.this_process().scheduler_id or "").partition("_")[0] or None
    record, cwd = store.record(key), scheduler.config.cwd
    return Context(store, record, fence, scheduler.folder, scheduler, Silent(), cwd=cwd, enclosing_job=enclosing_job)


@contextmanager
def hold_lease_on_cluster(
    store: Store, key: str, scheduler: SlurmScheduler, on_cancel: Callable[[], None] | None = None
) -> Iterator[int]:
    """Hold a run's lease; if its holder was part of a job that has ended, take it at once.

    This does not wait for a holder: `cancel` and the polling of an orchestrator job try it again.

    Parameters
    ----------
    store : Store
        Where the run is recorded.
    key : str
        The run's key.
    scheduler : SlurmScheduler
        Its scheduler.
    on_cancel : callable, optional
        Called once, in another thread, when a user requests to cancel the run.

    Raises
    ------
    LeaseHeld
        If another process holds it.
    """
    with ExitStack() as stack:
        try:
            fence = stack.enter_context(hold_lease(store, key, on_cancel, beats=True))
        except LeaseHeld as held:
            dead = dead_holder(held, scheduler)
            if dead is None:
                raise
            fence = stack.enter_context(hold_lease(store, key, on_cancel, beats=True, dead_holder=dead))
        yield fence


def dead_holder(held: LeaseHeld, scheduler: SlurmScheduler) -> Holder | None:
    """Return the holder of a lease if it was part of a job that has ended; None if it may live."""
    holder = held.holder
    if not isinstance(holder, Holder) or holder.scheduler_id is None:
        return None
    return holder if scheduler.has_ended(holder.scheduler_id) else None


@contextmanager
def with_lease_on(store: Store, key: str, token: str | None = None, job_id: str | None = None) -> Iterator[Context]:
    """Hold the lease of a run for one advance, and yield the context of it.

    Parameters
    ----------
    store : Store
        Where it is recorded.
    key : str
        The run's key.
    token, job_id : str, optional
        Token and SLURM id of the orchestrator job that this process is.

    Raises
    ------
    LeaseHeld
        If another process holds it.
    NotOwner
        If it belongs to another user.
    """
    scheduler = scheduler_of(store, store.own_record(key))
    with hold_lease_on_cluster(store, key, scheduler) as fence:
        yield make_context(store, key, fence, scheduler)._replace(own_token=token, own_id=job_id)
