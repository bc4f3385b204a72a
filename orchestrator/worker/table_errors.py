"""What goes wrong with a table fails the step that needs it, by name, unless it passes by itself.

Whoever advances a run would meet it again and again, and could never end the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EAGAIN, EIO, ENOMEM, ENOTCONN, ESHUTDOWN, ESTALE, ETIMEDOUT
from pathlib import Path

from orchestrator.errors import Busy, DataError, OrchestratorError

__all__ = ["as_own_errors", "no_table"]

PASSING = frozenset({EAGAIN, EIO, ENOMEM, ENOTCONN, ESHUTDOWN, ESTALE, ETIMEDOUT})
"""What a file system on the network says while it does not answer."""


@contextmanager
def as_own_errors(project_dir: Path) -> Iterator[None]:
    """Say of any error in a block what it means for the table of a project folder.

    Raises
    ------
    Busy
        If the file system does not answer now, or memory is too small here: nothing follows from that.
    DataError
        Instead of whatever else was raised.
    """
    try:
        yield
    except AssertionError:
        raise  # a bug of ours
    except Exception as error:
        raise _own(project_dir / "experiment_data", error) from error


def no_table(project_dir: Path) -> DataError:
    """Say that a step finds no table."""
    return DataError(
        f"there is no table in {project_dir / 'experiment_data'}.",
        "A step before this one has to store one: ExperimentData(...).store(project_dir)",
    )


def _own(table: Path, error: Exception) -> OrchestratorError:
    cause = error.__cause__ if isinstance(error, DataError) else error
    if isinstance(cause, OSError) and cause.errno in PASSING:
        return Busy(f"The table in {table} can't be reached now: {cause.strerror}.", "Try again.")
    if isinstance(cause, MemoryError):
        return Busy(f"There is too little memory here for the table in {table}.", "Try again where there is more.")
    if isinstance(error, OrchestratorError):
        return error
    if isinstance(error, FileNotFoundError) and not (table / "domain.json").exists():
        return no_table(table.parent)
    return DataError(f"the table in {table} can't be used: {type(error).__name__}: {error}", "Mend it.")
