"""What `decide` may ask for: one thing at a time, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.machine.changes import Change
from orchestrator.machine.states import RunState

__all__ = ["CancelJobs", "Finish", "Freeze", "Intent", "Record", "Repoint", "Submit"]


@dataclass(frozen=True, slots=True)
class Record:
    """Write these changes; nothing outside the database happens."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Freeze:
    """Turn the open experiments into the manifest of the step run at a position."""

    position: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand the job to the scheduler."""

    token: str


@dataclass(frozen=True, slots=True)
class Repoint:
    """Let a waiting orchestrator job start after the job with this id of the scheduler."""

    token: str
    after: str


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """Ask the scheduler to end these jobs."""

    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Fold what is left, then end the run."""

    to: RunState
    why: str | None


Intent = Record | Freeze | Submit | Repoint | CancelJobs | Finish
