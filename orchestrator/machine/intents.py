"""What `decide` may ask for: one thing at a time, as a value."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.machine.changes import Change
from orchestrator.machine.states import RunState
from orchestrator.machine.value import value

__all__ = ["CancelJobs", "CancelRivals", "Collect", "Finish", "Freeze", "Intent", "Record", "Repoint", "Submit"]


@value
class Record(NamedTuple):
    """Write these changes; nothing outside the database happens."""

    changes: tuple[Change, ...]


@value
class Freeze(NamedTuple):
    """Turn the open experiments into the manifest of the step run at a position."""

    position: int


@value
class Collect(NamedTuple):
    """Bring what tasks left in files into the table of the step run at a position."""

    position: int


@value
class Submit(NamedTuple):
    """Hand the job to the scheduler."""

    token: str


@value
class Repoint(NamedTuple):
    """Let a waiting orchestrator job start after the job with this id of the scheduler."""

    token: str
    after: str


@value
class CancelJobs(NamedTuple):
    """Ask the scheduler to end these jobs."""

    tokens: tuple[str, ...]


@value
class CancelRivals(NamedTuple):
    """Ask the scheduler to end the other submissions, with these ids, of a job."""

    token: str
    ids: tuple[str, ...]


@value
class Finish(NamedTuple):
    """Fold what is left, then end the run."""

    to: RunState
    why: str | None


Intent = Record | Freeze | Collect | Submit | Repoint | CancelJobs | CancelRivals | Finish
