"""All exceptions that are meant for the user; each one says what to do next.

::

    OrchestratorError            exit code 1
    ├── DefinitionError          2   the pipeline can't run as it is written (also a ValueError)
    ├── StudyError               2   the study file can't be loaded, or holds no pipeline
    ├── StudyChanged             1   the study differs from the code stored with the run
    ├── NotFound                 2   no such workspace, run, step or log
    │   └── NotYet               2   the step of an active run has not started
    ├── DatabaseError            1   the database can't be used
    │   ├── DamagedRecords       1   a value in it is one that its column excludes
    │   ├── NotADatabase         1   the file is not a database of orchestrator
    │   ├── DatabaseTooNew       1   it was written by a newer version of orchestrator
    │   └── DatabaseTooOld       1   it needs `orchestrator db upgrade`
    ├── DataError                1   a table, manifest, result or bundle on disk can't be used
    │   └── NotAllowed           1   a file was not used: another user could run code by it
    ├── NotOwner                 1   the run belongs to another user
    ├── Busy                    75   can't be done now: type the command that the hint names, later
    │   ├── LeaseHeld           75   another process is advancing this run
    │   ├── DatabaseBusy        75   the database is locked
    │   ├── TableBusy           75   a table is locked, or can't be reached now
    │   └── SchedulerUnreachable 75  the scheduler did not answer
    ├── RunFailed                1   the run has failed
    └── Interrupted            130   stopped by Ctrl-C (143: by SIGTERM; 129: by SIGHUP); the run can be resumed
        └── Cancelled            4   the run was cancelled by another process

The `hint` of an error holds the next command to type. Only `orchestrator.cli.errors` prints errors.
`orchestrator.cli.main` ends the process with the exit code of the error. Which code `wait` has, and a run that has
succeeded, is decided in `orchestrator.cli.outcome`.
"""

from __future__ import annotations

__all__ = [
    "Busy",
    "Cancelled",
    "DataError",
    "DamagedRecords",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseTooNew",
    "DatabaseTooOld",
    "DefinitionError",
    "Interrupted",
    "LeaseHeld",
    "NotADatabase",
    "NotAllowed",
    "NotFound",
    "NotOwner",
    "NotYet",
    "OrchestratorError",
    "RunFailed",
    "SchedulerUnreachable",
    "StudyChanged",
    "StudyError",
    "TableBusy",
]


class OrchestratorError(Exception):
    """Base class of all errors that are meant for the user.

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
    """The study differs from the code stored with the run."""


class NotFound(OrchestratorError):
    """No such workspace, run, step or log."""

    exit_code = 2


class NotYet(NotFound):
    """The step of an active run has not started."""


class DatabaseError(OrchestratorError):
    """The database can't be used."""


class NotADatabase(DatabaseError):
    """The file is not a database of orchestrator, or its tables are those of another version."""


class DamagedRecords(DatabaseError):
    """A value in the database is one that its column excludes."""


class DatabaseTooNew(DatabaseError):
    """The database was written by a newer version of orchestrator."""


class DatabaseTooOld(DatabaseError):
    """The database has an older revision than this orchestrator needs."""


class DataError(OrchestratorError):
    """A table, manifest, result or bundle on disk can't be used."""


class NotAllowed(DataError):
    """A file was not used, because another user could run code by it."""


class NotOwner(OrchestratorError):
    """The run belongs to another user, so it can only be read."""


class Busy(OrchestratorError):
    """The command can't be completed now; the hint names the command to type later.

    What was recorded before stays recorded: a run that was submitted, or the request to cancel one.
    """

    exit_code = 75


class LeaseHeld(Busy):
    """Another process is advancing this run.

    Parameters
    ----------
    message, hint : str
        As in `OrchestratorError`.
    holder : object, optional
        Process that holds the lease, if it is known.
    """

    def __init__(self, message: str, hint: str = "", holder: object = None) -> None:
        super().__init__(message, hint)
        self.holder = holder


class DatabaseBusy(Busy):
    """The database was locked for longer than the time limit."""


class TableBusy(Busy):
    """A table is locked by another process for longer than the time limit, or can't be reached now."""


class SchedulerUnreachable(Busy):
    """The scheduler did not answer, so nothing is concluded about its jobs."""


class RunFailed(OrchestratorError):
    """The run has failed.

    If the user's code raised an exception in this process, that is the `__cause__`.
    """


class Interrupted(OrchestratorError):
    """A run, or only the process that advanced it, was stopped by a signal; the run can be resumed.

    Parameters
    ----------
    message, hint : str
        As in `OrchestratorError`.
    exit_code : int, optional
        128 and the number of the signal; by default that of Ctrl-C.
    """

    exit_code = 130

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message, hint)
        if exit_code is not None:
            self.exit_code = exit_code


class Cancelled(Interrupted):
    """The run was cancelled while this process advanced it."""

    exit_code = 4
