"""How a run ended, as text and as an exit code: for `wait`, and for a run on this machine that has succeeded.

`run`, `resume` and `retry` on this machine raise an error if the run fails, is cancelled or stopped. It has the same
exit code: `RunFailed`, `Cancelled` and `Interrupted` in `orchestrator.errors`.
"""

from __future__ import annotations

import shlex
import time
from enum import IntEnum
from typing import TYPE_CHECKING

import click

from orchestrator.cli.render import how_stopped, is_foreign_run, plural, say, study_argument
from orchestrator.machine.kinds import Mode
from orchestrator.machine.plan import UNTIL
from orchestrator.machine.states import FailureKind, RunState

if TYPE_CHECKING:
    from orchestrator.db.views import RunView
    from orchestrator.workspace import Workspace

__all__ = [
    "ExitCode",
    "commands_after_failures",
    "exit_if_ended",
    "has_full_disk",
    "next_command",
    "request_more",
    "text_and_code",
]

_REQUESTS: dict[str, str] = {FailureKind.OUT_OF_MEMORY: "--mem SIZE", FailureKind.TIMEOUT: "--time TIME"}


class ExitCode(IntEnum):
    """The exit codes of a command that runs, or waits for, a run; `docs/reference/cli.md` has the whole table."""

    SUCCEEDED = 0
    FAILED = 1
    WITH_FAILURES = 3
    CANCELLED = 4
    STALLED = 75
    TIMED_OUT = 124


def text_and_code(view: RunView) -> tuple[str, ExitCode]:
    """Return how a run ended, as a sentence and as an exit code; one that is active has stalled."""
    key, why = view.key, f": {view.reason}" if view.reason else ""
    match view.state:
        case RunState.ACTIVE if view.held_at:
            return f"Run {key} is held.", ExitCode.STALLED
        case RunState.ACTIVE if view.stopped_at:
            return f"Run {key} was stopped ({how_stopped(view, time.time())}).", ExitCode.STALLED
        case RunState.ACTIVE:
            return f"Run {key} is stalled: {view.stalled}.", ExitCode.STALLED
        case RunState.CANCELLED:
            return f"Run {key} was cancelled.", ExitCode.CANCELLED
        case RunState.FAILED:
            return f"Run {key} has failed{why}.", ExitCode.FAILED
    if view.n_failed:
        return f"Run {key} has succeeded. {_about_failed(view)}", ExitCode.WITH_FAILURES
    if view.n_failed_step_runs:
        return f"Run {key} has ended{why}.", ExitCode.WITH_FAILURES
    return f"Run {key} has succeeded.", ExitCode.SUCCEEDED


def _about_failed(view: RunView) -> str:
    how = "accepted by the user" if view.has_accepted_failed else "which is within the limits"
    return f"{plural(view.n_failed, 'experiment')} failed, {how}."


def next_command(view: RunView, *, never_began: bool = False, at: str = "") -> tuple[str, str]:
    """Return what to type for a run that does not continue by itself.

    Parameters
    ----------
    view : RunView
        A run that is held, stopped or stalled, has failed or was cancelled.
    never_began : bool, default False
        Whether a job ended before it began its work: `submit` checks the cluster of the study first.
    at : str, default ""
        Where the run would continue: ` from STEP`.

    Returns
    -------
    about, command : str
        A text and the command, without the options that name the workspace.
    """
    key = view.key
    if is_foreign_run(view):
        return "To make it yours: ", f"orchestrator takeover {key}"
    if view.held_at:
        return "To continue it: ", f"orchestrator release {key}"
    if never_began:
        about = "Fix the cause in the study, such as env_setup or runner, then continue: "
        return about, f"orchestrator submit {study_argument(view)} --project-job {key}"
    if view.stalled and view.login_only:
        return f"To continue{at}, on a login node: ", f"orchestrator wait {key} --drive"
    cause = "Make room" if has_full_disk(view) else "Fix the cause"
    about = f"{cause}, then continue" if view.state is RunState.FAILED else "To continue"
    return f"{about}{at}: ", f"orchestrator resume {key}"


def has_full_disk(view: RunView) -> bool:
    """Whether a run has failed because its disk is full: then nothing in its study is wrong."""
    from orchestrator.worker.processes import NO_SPACE

    return view.state is RunState.FAILED and NO_SPACE in (view.reason or "")


def commands_after_failures(view: RunView, options: str = "") -> list[tuple[str, str]]:
    """Return what to type about the failed experiments of a run that has ended: a text, and the command."""
    if not view.n_failed or view.state not in (RunState.SUCCEEDED, RunState.FAILED):
        return []
    commands = [("To evaluate the failed experiments again: ", f"orchestrator retry {view.key}{options}")]
    if view.study:
        # The run has stored the code with which they failed.
        update = f"orchestrator retry {view.key} --update {study_argument(view)}{options}"
        commands.append(("If you changed the study for that: ", update))
    if view.has_too_many_failed:
        accept = f"orchestrator resume {view.key} --accept-failed{options}"
        commands.append(("To accept the failed experiments and continue: ", accept))
    return commands


def request_more(run: RunView, step: str, kind: str | None) -> str | None:
    """Return the command with which the jobs of a step request more of what they lacked; None on this machine.

    Also None for the `until` of a loop: `set` changes the steps of a pipeline.
    """
    option = _REQUESTS.get(kind or "")
    if run.mode is not Mode.SLURM or option is None or step == UNTIL or is_foreign_run(run):
        return None
    return f"orchestrator set {run.key} {shlex.quote(step)} {option}"


def exit_if_ended(workspace: Workspace, key: str) -> None:
    """End the command with the exit code of a run, and say first what to type about failed experiments.

    Return if the run has not ended.
    """
    from orchestrator.db.runs import find_run

    view = find_run(workspace.database, key)
    if view.state is RunState.ACTIVE:
        return
    _, code = text_and_code(view)
    if code is ExitCode.WITH_FAILURES and view.n_failed:
        # The end itself was printed by the run.
        say(_about_failed(view), err=True)
        for about, command in commands_after_failures(view):
            say(f"{about}{command}", err=True)
    raise click.exceptions.Exit(code)
