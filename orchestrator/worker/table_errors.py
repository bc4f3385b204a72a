"""What goes wrong with a table fails the step that needs it, by name, whatever it is.

Whoever advances a run would meet it again and again, and could never end the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DataError, OrchestratorError

__all__ = ["as_data_errors"]


@contextmanager
def as_data_errors(project_dir: Path) -> Iterator[None]:
    """Say of any error in a block what it means for the table of a project folder.

    Raises
    ------
    DataError
        Instead of whatever was raised, unless that was one of ours.
    """
    try:
        yield
    except OrchestratorError:
        raise
    except FileNotFoundError as error:
        if (project_dir / "experiment_data" / "domain.json").exists():
            raise _unusable(project_dir, error) from error
        raise DataError(
            f"there is no table in {project_dir / 'experiment_data'}.",
            "A step has to store one before: ExperimentData(...).store(project_dir)",
        ) from None
    except Exception as error:
        raise _unusable(project_dir, error) from error


def _unusable(project_dir: Path, error: Exception) -> DataError:
    what = f"{type(error).__name__}: {error}"
    return DataError(f"the table in {project_dir / 'experiment_data'} can't be used: {what}", "Mend it.")
