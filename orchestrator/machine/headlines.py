"""One sentence about a run, or about a change of it."""

from __future__ import annotations

from orchestrator.amounts import plural
from orchestrator.machine.changes import AddJob, Change, MoveRun, MoveStepRun, Note, RecordFreeze
from orchestrator.machine.kinds import EventKind, Role, StepKind
from orchestrator.machine.model import Run
from orchestrator.machine.states import RunState, StepRunState
from orchestrator.machine.wakeup import why_poll_again

__all__ = ["describe", "ends_a_step", "headline", "progress_line", "how_it_ended", "starts_a_batch"]


def how_it_ended(run: Run) -> str:
    """Return how a run ended, as the part of a sentence after its name."""
    why = f" ({run.reason})" if run.reason and run.state is not RunState.CANCELLED else ""
    verb = "was " if run.state is RunState.CANCELLED else "has "
    return f"{verb}{run.state}{why}"


def describe(run: Run) -> str:
    """Return one sentence: what a run waits for, and what is not known yet."""
    line, why = headline(run), why_poll_again(run)
    return line[0].upper() + line[1:] + (f"; {why}" if why else "") + "."


def headline(run: Run) -> str:
    """Return one line: what a run waits for, or how it ended."""
    if run.state is not RunState.ACTIVE:
        return f"run {run.key}: {run.state}" + (f" ({run.reason})" if run.reason else "")
    if run.is_held and not run.live_jobs:
        return f"run {run.key}: held"
    if run.step_run is None or not run.live_jobs:
        return f"run {run.key}: no job is live"
    address, job = run.plan.slot(run.step_run.position).address, run.live_jobs[0]
    return f"run {run.key}: {address} is job {job.scheduler_id or job.token} ({job.state})"


# --- changes -------------------------------------------------------------------------------------


def ends_a_step(change: Change) -> bool:
    """Whether a change ends a step run, or the run."""
    match change:
        case MoveStepRun(to=to):
            return to is not StepRunState.ACTIVE
        case MoveRun(to=state):
            return state is not RunState.ACTIVE
    return False


def starts_a_batch(change: Change) -> bool:
    """Whether a change plans the evaluation of experiments."""
    return isinstance(change, AddJob) and change.role is Role.BATCH


_SHOWN_NOTES = (EventKind.RESULTS_QUARANTINED, EventKind.RESULTS_NOT_FOLDED, EventKind.FILES_LEFT)

_STATE_WORDS = {
    StepRunState.SUCCEEDED: "done",
    StepRunState.FAILED: "FAILED",
    StepRunState.CANCELLED: "cancelled",
    StepRunState.SKIPPED: "skipped",
}


def progress_line(run: Run, change: Change) -> str | None:
    """Return what a change means for the user; None if it needs no line."""
    match change:
        case MoveStepRun(position=position, to=to) if to in _STATE_WORDS:
            slot = run.plan.slot(position)
            if slot.step.kind is StepKind.UNTIL:
                return None
            why = f" ({change.why})" if change.why else ""
            n = f", {plural(change.n_finished, 'experiment')}" if change.n_finished else ""
            return f"{slot.address}: {_STATE_WORDS[to]}{n}{why}"
        case Note(what=what, position=position, why=why) if what in _SHOWN_NOTES:
            # A note about a job comes just before the end of its step, whose line has the address.
            return why if position is None else f"{run.plan.slot(position).address}: {why}"
        case RecordFreeze(position=position, n_experiments=n_experiments) if n_experiments:
            return f"{run.plan.slot(position).address}: {plural(n_experiments, 'open experiment')}"
        case _:
            return None
