"""What a resume will do, in sentences, before it does it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.amounts import plural
from orchestrator.machine.changes import AddStepRun, Change, ForgetAnswer, RequestTables, Retry, Withdraw
from orchestrator.machine.decide import next_position
from orchestrator.machine.kinds import StepKind
from orchestrator.machine.model import Run
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import Replanned
from orchestrator.machine.rewind import ValidStepRun
from orchestrator.machine.states import StepRunState

__all__ = ["announce", "announce_new_plan", "announce_next", "repeats_work"]

MOST_SHOWN = 4
"""Step runs that are named; of more only the first and the last are."""

_ONLY_OPEN = "Experiments that have a result now are not evaluated again; with resume --table-as-then they are."

_TABLE_AS_NOW = "It begins with the table as it is now; with resume --table-as-then, as it was then."


def announce(steps: Sequence[ValidStepRun], changes: Sequence[Change]) -> list[str]:
    """Return one sentence for each thing that changes do to step runs.

    Parameters
    ----------
    steps : sequence of ValidStepRun
        The step runs of the run, in order.
    changes : sequence of Change
        From `reopening`.
    """
    accepted = {change.position for change in changes if isinstance(change, AddStepRun) and change.accepts_failed}
    puts_back = any(isinstance(change, RequestTables) and change.tables for change in changes)
    lines: list[str] = []
    for change in changes:
        match change:
            case Withdraw(position=position, forgets=is_named) if position not in accepted:
                again = [step for step in steps if step.position >= position]
                lines += [f"Runs again: {_named(again)}."] if again else []
                if again and is_named and not puts_back:
                    lines += _about_the_table(again[0], is_first=again[0] is steps[0])
            case Retry(positions, until, _):
                failed = [step for step in steps if step.position in positions]
                n = sum(step.n_failed for step in failed)
                lines.append(f"Evaluates again: {_experiments(n)} of {_named(failed)}.")
                kept = [step for step in steps if positions[0] < step.position < until and step not in failed]
                lines += [f"Keeps: {_named(kept)}."] if kept else []
                again = [step for step in steps if step.position >= until]
                lines += [f"Runs again after that: {_named(again)}."] if again else []
            case RequestTables(tables) if tables:
                lines.append("Puts the tables back as they were when it began. Later results are archived.")
            case AddStepRun(position=position) if position in accepted:
                step = next(step for step in steps if step.position == position)
                lines.append(f"Accepts: {_experiments(step.n_failed)} of {step.address}.")
    return lines


def _about_the_table(step: ValidStepRun, *, is_first: bool) -> list[str]:
    """Return with which table a named step runs again; nothing for the first one, which began without a table."""
    if step.kind is StepKind.BATCH:
        return [_ONLY_OPEN]
    return [] if is_first else [_TABLE_AS_NOW]


def announce_next(run: Run) -> list[str]:
    """Return with which step a run continues that is active; nothing for one that has ended."""
    last, position = run.step_run, 0
    if last is not None:
        position = next_position(run, last) if last.has_ended else last.position
    if run.has_ended or position >= run.plan.size:
        return []
    return [f"Continues run {run.key} with {run.plan.slot(position).address}."]


def announce_new_plan(steps: Sequence[ValidStepRun], replanned: Replanned, plan: Plan) -> list[str]:
    """Return one sentence for each thing that a new pipeline means for the step runs of a run.

    Parameters
    ----------
    steps : sequence of ValidStepRun
        The step runs of the run, in order.
    replanned : Replanned
        From `replan`.
    plan : Plan
        The new plan.
    """
    kept, later = steps[: replanned.n_valid], steps[replanned.n_valid :]
    lines = []
    if replanned.removed:
        lines.append(f"No longer in the pipeline: {_named(replanned.removed)}. Their experiments stay in the table.")
    if not replanned.changes:
        return lines
    position = plan.after(kept[-1].position, kept[-1].until) if kept else 0
    if any(isinstance(change, ForgetAnswer) for change in replanned.changes):
        position = kept[-1].position + 1
    if position < plan.size:
        lines.append(f"Continues with the new pipeline at: {plan.slot(position).address}.")
    again = [step for step in later if step not in replanned.removed]
    return [*lines, f"Runs again: {_named(again)}."] if again else lines


def repeats_work(steps: Sequence[ValidStepRun], changes: Sequence[Change]) -> bool:
    """Whether changes withdraw a step run that has succeeded, so that its work is done again."""
    begins = [change.position for change in changes if isinstance(change, Withdraw)]
    begins += [change.again_from for change in changes if isinstance(change, Retry)]
    return any(step.state is StepRunState.SUCCEEDED and step.position >= begin for step in steps for begin in begins)


def _experiments(n: int) -> str:
    return plural(n, "failed experiment")


def _named(steps: Sequence[ValidStepRun]) -> str:
    shown = [step.address for step in steps if step.kind is not StepKind.UNTIL] or [step.address for step in steps]
    if len(shown) <= MOST_SHOWN:
        return ", ".join(shown)
    return f"{shown[0]} to {shown[-1]} ({len(shown)} step runs)"
