"""Every error that a user can meet, and what each one asks the user to do next.

::

    OrchestratorError            exit code 1
    ├── DefinitionError          2   the pipeline can't run as it is written (also a ValueError)
    ├── StudyError               2   the study file can't be loaded, or holds no pipeline
    ├── StudyChanged             1   the study differs from the code that the run keeps
    ├── NotFound                 2   no such workspace, run, step or log
    │   └── NotYet               2   the step of a run that goes on has not begun
    ├── DatabaseError            1   the database can't be used
    │   ├── NotADatabase         1   the file is something else
    │   ├── DatabaseTooNew       1   a newer orchestrator wrote it
    │   └── DatabaseTooOld       1   it wants `orchestrator db upgrade`
    ├── DataError                1   a table, manifest, result or bundle on disk can't be used
    ├── Busy                    75   try again later: nothing was changed
    │   ├── LeaseHeld           75   another process is advancing this run
    │   ├── DatabaseBusy        75   the database stayed locked
    │   └── SchedulerUnreachable 75  the scheduler did not answer
    ├── RunFailed                1   the run ended, and not well
    └── Interrupted              1   stopped on request; the run can go on

Each error carries the next command to type (`hint`); `orchestrator.cli.errors` is the one place that prints them.
"""

from __future__ import annotations

__all__ = [
    "Busy",
    "DataError",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseTooNew",
    "DatabaseTooOld",
    "DefinitionError",
    "Interrupted",
    "LeaseHeld",
    "NotADatabase",
    "NotFound",
    "NotYet",
    "OrchestratorError",
    "RunFailed",
    "SchedulerUnreachable",
    "StudyChanged",
    "StudyError",
]


class OrchestratorError(Exception):
    """Base of all errors that are meant for the user.

    Parameters
    ----------
    message : str
        What happened, and why.
    hint : str, default ""
        What to do next; where a command helps, the command.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class DefinitionError(OrchestratorError, ValueError):
    """The pipeline can't run as it is written."""

    exit_code = 2


class StudyError(OrchestratorError):
    """The study file can't be loaded, or holds no pipeline."""

    exit_code = 2


class StudyChanged(OrchestratorError):
    """The study differs from the code that the run keeps."""


class NotFound(OrchestratorError):
    """No such workspace, run, step or log."""

    exit_code = 2


class NotYet(NotFound):
    """The step of a run that goes on has not begun."""


class DatabaseError(OrchestratorError):
    """The database can't be used."""


class NotADatabase(DatabaseError):
    """The file is something else than a database of ours."""


class DatabaseTooNew(DatabaseError):
    """A newer orchestrator wrote the database."""


class DatabaseTooOld(DatabaseError):
    """The database has an older revision than this orchestrator needs."""


class DataError(OrchestratorError):
    """A table, manifest, result or bundle on disk can't be used."""


class Busy(OrchestratorError):
    """Nothing was changed; try again later."""

    exit_code = 75


class LeaseHeld(Busy):
    """Another process is advancing this run.

    Parameters
    ----------
    message, hint : str
    holder : object, optional
        Who holds the lease, where that is known.
    """

    def __init__(self, message: str, hint: str = "", holder: object = None) -> None:
        super().__init__(message, hint)
        self.holder = holder


class DatabaseBusy(Busy):
    """The database stayed locked for longer than we wait."""


class SchedulerUnreachable(Busy):
    """The scheduler did not answer; nothing was concluded from that."""


class RunFailed(OrchestratorError):
    """The run ended, and not well.

    Where the failure was an exception of the user's code in this process, it is the `__cause__`.
    """


class Interrupted(OrchestratorError):
    """Stopped on request, be it a run or only the process that looked after it; the run can go on."""
