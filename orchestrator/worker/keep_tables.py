"""Keep the table with which a step run begins, so that a user can go back to it.

How many are kept by default, and which of them a resume or a fork begins with: `orchestrator.machine.earlier_tables`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from orchestrator.data.kept_table import keep_table
from orchestrator.errors import DataError
from orchestrator.workspace import RunFolder

__all__ = ["keep", "names_of_kept", "remove_superfluous"]


def keep(folder: RunFolder, project_dir: str, position: int, epoch: int, mark: str, max_tables: int | None) -> None:
    """Keep the table of a step run that begins, and remove those that are superfluous.

    A table that can't be kept, as on a full disk, does not stop the step.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    project_dir : str
        Folder of the table, relative to the run's.
    position, epoch : int
        Of the step run.
    mark : str
        `Run.mark`.
    max_tables : int or None
        How many tables are kept; None: all.
    """
    if max_tables != 0:
        with suppress(OSError, DataError):
            earlier = [folder.kept_tables / name for name in reversed(names_of_kept(folder, mark))]
            keep_table(folder.table(project_dir), folder.kept_table(position, epoch, mark), earlier)
            remove_superfluous(folder, mark, max_tables)


def remove_superfluous(folder: RunFolder, mark: str, max_tables: int | None) -> list[str]:
    """Remove the kept tables that are superfluous, and return their names; also what a killed process had begun."""
    names = names_of_kept(folder, mark)
    removed = [] if max_tables is None else names[: max(0, len(names) - max_tables)]
    if paths := [*(folder.kept_tables / name for name in removed), *folder.kept_tables.glob(".*.tmp")]:
        from shutil import rmtree  # a slow import, and each freeze comes here

        for path in paths:
            rmtree(path, ignore_errors=True)
    return removed


def names_of_kept(folder: RunFolder, mark: str) -> list[str]:
    """Return the names of the kept tables of a run, the oldest first."""
    try:
        paths = [path for path in folder.kept_tables.iterdir() if path.name.endswith(f".{mark}")]
    except FileNotFoundError:
        return []
    return [path.name for path in sorted(paths, key=_made_at)]


def _made_at(path: Path) -> tuple[int, str]:
    with suppress(FileNotFoundError):
        return (path / "snapshot.json").stat().st_mtime_ns, path.name
    return 0, path.name
