"""Steer an active run: cancel a step of it, hold it, release it."""

from __future__ import annotations

import time

from orchestrator.db.runs import find_run
from orchestrator.db.store import Store
from orchestrator.errors import LeaseHeld
from orchestrator.machine import steering
from orchestrator.machine.headlines import how_it_ended
from orchestrator.machine.kinds import Mode
from orchestrator.machine.model import Run
from orchestrator.machine.rewind import WHERE_IT_STOPPED
from orchestrator.workspace import Workspace

__all__ = ["about_cancel_step", "about_hold", "about_release", "cancel_step", "hold", "nothing_to_hold", "release"]


def about_cancel_step(workspace: Workspace, key: str, address: str) -> list[str]:
    """Return what `cancel --step` will do, in sentences."""
    run = _own(workspace, key)
    return steering.about_cancel_step(run, steering.step_to_cancel(run, address))


def cancel_step(workspace: Workspace, key: str, address: str) -> str:
    """Cancel the open step of a run, which continues if its next step also runs after a failure.

    Returns
    -------
    str
        One sentence: the result.
    """
    run, store = _own(workspace, key), Store(workspace.database)
    position = steering.step_to_cancel(run, address)
    name = run.plan.slot(position).address
    if not store.request_cancel_step(key, position, time.time()):
        return f"Nothing to do: step {name} of run {key} has ended."
    if store.record(key).mode is Mode.SLURM:
        from orchestrator.engine.cluster.cancel import cancel_step as cancel_on_cluster

        run = cancel_on_cluster(store, key, position)
    else:
        from orchestrator.engine.local.run import cancel_local_step

        run = cancel_local_step(store, key, position)
    what = steering.how_cancelled(name, position, store.history.valid_step_runs(key))
    return f"{what} " + (f"Run {key} {how_it_ended(run)}." if run.has_ended else _continues(key))


def _continues(key: str) -> str:
    return f"The run continues. Watch it with: orchestrator status {key}"


def about_hold(workspace: Workspace, key: str) -> list[str]:
    """Return what `hold` will do, in sentences; none if it has nothing to do."""
    run = _own(workspace, key)
    if _nothing_to_hold(run) is not None:
        return []
    return steering.about_hold(run, is_driven=not find_run(workspace.database, key).stalled)


def nothing_to_hold(workspace: Workspace, key: str) -> str | None:
    """Return that `hold` has nothing to do, and why; None if it has something to do."""
    return _nothing_to_hold(_own(workspace, key))


def _nothing_to_hold(run: Run) -> str | None:
    if run.has_ended:
        return f"Nothing to do: run {run.key} {how_it_ended(run)}."
    # SLURM may not have answered when the jobs of the run were to be held.
    if run.is_held and (not run.needs_wakeup or steering.holds_its_jobs(run)):
        return f"Nothing to do: run {run.key} is held already. To continue it: orchestrator release {run.key}"
    return None


def about_release(workspace: Workspace, key: str) -> list[str]:
    """Return what `release` will do, in sentences; none for a run that is not held."""
    run = _own(workspace, key)
    return steering.about_release(run) if run.is_held else []


def hold(workspace: Workspace, key: str) -> str:
    """Hold a run: nothing new is started.

    Returns
    -------
    str
        One sentence: the result.
    """
    run, store = _own(workspace, key), Store(workspace.database)
    if (nothing := _nothing_to_hold(run)) is not None:
        return nothing
    store.set_held(key, time.time(), is_held=True)
    if run.needs_wakeup:
        from orchestrator.engine.cluster.hold import hold_jobs

        hold_jobs(store, key)
    return f"Run {key} is held. To continue it: orchestrator release {key}"


def release(workspace: Workspace, key: str, *, jobs: int | None = None) -> str | None:
    """Release a run that is held; a run on this machine continues in this process.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    jobs : int, optional
        Number of worker processes of a local run.

    Returns
    -------
    str or None
        One sentence: the result; None if the run has ended, which its progress says.
    """
    from orchestrator.engine.commands import continue_run

    run, store = _own(workspace, key), Store(workspace.database)
    if not run.is_held and (run.has_ended or steering.holds_its_jobs(run)):
        return f"Nothing to do: run {key} is not held."
    store.set_held(key, time.time(), is_held=False)
    try:
        continue_run(store, store.record(key), WHERE_IT_STOPPED, None, jobs)
    except LeaseHeld:
        # The process that advances it has not ended since the hold.
        return _continues(key)
    return None if store.load(key).has_ended else _continues(key)


def _own(workspace: Workspace, key: str) -> Run:
    store = Store(workspace.database)
    store.own_record(key)
    return store.load(key)
