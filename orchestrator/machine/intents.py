"""What `decide` may return: one thing to do next, as a value."""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each command.
from typing import NamedTuple

from orchestrator.machine.changes import Change
from orchestrator.machine.model import TableThen
from orchestrator.machine.states import RunState
from orchestrator.machine.value import value

__all__ = [
    "CancelJobs",
    "CancelRivals",
    "CancelWaiting",
    "Collect",
    "Effect",
    "Finish",
    "Freeze",
    "HoldJob",
    "Intent",
    "PutBackTables",
    "Record",
    "SetDependency",
    "Submit",
]


@value
class Record(NamedTuple):
    """Write these changes. This has no effect outside the database."""

    changes: tuple[Change, ...]


@value
class Freeze(NamedTuple):
    """Write the open experiments into the manifest of the step run at a position."""

    position: int


@value
class Collect(NamedTuple):
    """Fold the result files of the tasks into the table of the step run at a position."""

    position: int


@value
class Submit(NamedTuple):
    """Submit the job to the scheduler."""

    token: str


@value
class SetDependency(NamedTuple):
    """Make a waiting orchestrator job start after the end of the job with this scheduler id."""

    token: str
    after: str


@value
class CancelJobs(NamedTuple):
    """Ask the scheduler to cancel these jobs."""

    tokens: tuple[str, ...]


@value
class CancelRivals(NamedTuple):
    """Ask the scheduler to cancel the other submissions of a job, which have these ids."""

    token: str
    ids: tuple[str, ...]


@value
class CancelWaiting(NamedTuple):
    """Ask the scheduler to cancel the tasks of a job that still wait in the queue."""

    token: str


@value
class HoldJob(NamedTuple):
    """Ask the scheduler to hold the tasks of a job that still wait in the queue, or to release them."""

    token: str
    is_held: bool


@value
class PutBackTables(NamedTuple):
    """Put tables back as they were when a step began."""

    tables: tuple[TableThen, ...]


@value
class Finish(NamedTuple):
    """Fold the remaining results, then end the run."""

    to: RunState
    why: str | None


Effect = (
    Freeze
    | Collect
    | Submit
    | SetDependency
    | CancelJobs
    | CancelRivals
    | CancelWaiting
    | HoldJob
    | PutBackTables
    | Finish
)
"""What `orchestrator.engine.perform` does outside the records."""

Intent = Record | Effect
