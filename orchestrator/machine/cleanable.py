"""Which runs `clean` chooses, by key, state and time since their end, and which of them it keeps and why.

What it deletes of them is decided in `orchestrator.engine.cleaning`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import NamedTuple

from orchestrator.errors import DefinitionError
from orchestrator.machine.states import RunState
from orchestrator.machine.value import value

__all__ = ["Cleanable", "ReasonToKeep", "Part", "Selection", "age_in_seconds", "chosen", "why_kept"]

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class Part(StrEnum):
    """What of a run is deleted."""

    RUN = "run"
    """All: its records, its folder with tables and code, and its logs."""
    LOGS = "logs"
    """Its logs only."""
    RESULT_FILES = "result_files"
    """The archived result files of its tasks, with time and host of each experiment."""


@value
class Cleanable(NamedTuple):
    """A run, as far as `clean` decides about it.

    Attributes
    ----------
    key : str
        The run's key.
    state : RunState
        Where it stands.
    is_own : bool
        Whether it belongs to this user.
    ended_at : float or None
        When it ended, in epoch seconds.
    has_jobs : bool
        Whether a job of it has not ended.
    n_failed : int
        Number of its experiments and step runs that failed.
    """

    key: str
    state: RunState
    is_own: bool = True
    ended_at: float | None = None
    has_jobs: bool = False
    n_failed: int = 0


@value
class Selection(NamedTuple):
    """Which runs a user has chosen; every condition that is given must be true.

    Attributes
    ----------
    keys : collection of str
        Their keys; empty: any.
    states : collection of str
        Their states; empty: any.
    older_than : float or None
        Seconds since their end.
    """

    keys: Collection[str] = ()
    states: Collection[str] = ()
    older_than: float | None = None


def age_in_seconds(text: str) -> float:
    """Return an age such as `30d`, `12h` or `2w` in seconds.

    Raises
    ------
    DefinitionError
        If it is not one.
    """
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found is None:
        raise DefinitionError(f"{text!r} is not a valid age.", "Write it as 90m, 12h, 30d or 4w.")
    return int(found[1]) * _UNITS[found[2]]


def chosen(runs: Iterable[Cleanable], selection: Selection, now: float) -> list[Cleanable]:
    """Return the runs that a user has chosen, whether they may be deleted or not."""
    return [
        run
        for run in runs
        if (not selection.keys or run.key in selection.keys)
        and (not selection.states or run.state in selection.states)
        and (selection.older_than is None or (run.ended_at is not None and now - run.ended_at >= selection.older_than))
    ]


class ReasonToKeep(NamedTuple):
    """Why nothing of a run may be deleted.

    Attributes
    ----------
    why : str
        A clause about the run.
    hint : str
        How to change that, with the command; empty if it can't be changed.
    is_active : bool
        Whether the run has not ended.
    """

    why: str
    hint: str = ""
    is_active: bool = False


def why_kept(run: Cleanable, part: Part) -> ReasonToKeep | None:
    """Return why nothing of a run may be deleted; None if it may."""
    if not run.is_own:
        return ReasonToKeep("it belongs to another user")
    if run.state is RunState.ACTIVE:
        return ReasonToKeep("it has not ended", f"To end it: orchestrator cancel {run.key}", is_active=True)
    if run.has_jobs:
        return ReasonToKeep("a job of it may be left", f"To check: orchestrator advance {run.key}")
    if part is Part.RESULT_FILES and (run.state is not RunState.SUCCEEDED or run.n_failed):
        return ReasonToKeep("a resume or retry needs its result files")
    return None
