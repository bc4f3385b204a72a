"""How a run stands, in one sentence."""

from __future__ import annotations

from orchestrator.machine.model import Run
from orchestrator.machine.states import RunState
from orchestrator.machine.wakeup import why_poll_again

__all__ = ["outcome", "describe", "headline"]


def outcome(run: Run) -> str:
    """Say how a run ended, after its name."""
    why = f" ({run.reason})" if run.reason and run.state is not RunState.CANCELLED else ""
    verb = "was " if run.state is RunState.CANCELLED else "has "
    return f"{verb}{run.state}{why}"


def describe(run: Run) -> str:
    """Say in one sentence what a run waits for, and what is not known yet."""
    line, why = headline(run), why_poll_again(run)
    return line[0].upper() + line[1:] + (f"; {why}" if why else "") + "."


def headline(run: Run) -> str:
    """Say in one line what a run waits for, or how it ended."""
    if run.state is not RunState.ACTIVE:
        return f"run {run.key}: {run.state}" + (f" ({run.reason})" if run.reason else "")
    if run.step_run is None or not run.live_jobs:
        return f"run {run.key}: nothing runs"
    address, job = run.plan.slot(run.step_run.position).address, run.live_jobs[0]
    return f"run {run.key}: {address} is job {job.scheduler_id or job.token} ({job.state})"
