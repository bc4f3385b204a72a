"""What is done with the tables of a run between its steps: freeze, fold and collect.

Freezing turns open experiments into a manifest. Folding puts what tasks left in result files into the tables;
collecting does that where a step asks for it, also with the files that array tasks of f3dasm leave.

What goes wrong with a table fails the step that needs it, unless it passes by itself: the next advance would meet it
again, and the run could never end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EAGAIN, EIO, ENOMEM, ENOTCONN, ESHUTDOWN, ESTALE, ETIMEDOUT
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.fold import FoldReport, fold
from orchestrator.data.results import inputs_digest
from orchestrator.data.values import to_jsonable
from orchestrator.errors import Busy, DataError, OrchestratorError
from orchestrator.handoff.manifest import Entry, Manifest, tasks_for, write_manifest
from orchestrator.workspace import RunFolder

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.sample_files import CollectedFiles

__all__ = ["Collected", "Frozen", "Request", "collect", "fold_all", "freeze", "no_table"]

PASSING = frozenset({EAGAIN, EIO, ENOMEM, ENOTCONN, ESHUTDOWN, ESTALE, ETIMEDOUT})
"""What a file system on the network says while it does not answer."""


# --- freeze -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What shall be frozen; JSON values only.

    Attributes
    ----------
    position, epoch : int
        Of the step run.
    mark : str
        Of its run.
    project_dir : str
        Folder of the table, relative to the run's.
    per_task, max_tasks : int or None
        How the experiments are cut into tasks.
    """

    position: int
    epoch: int
    mark: str
    project_dir: str
    per_task: int | None = None
    max_tasks: int | None = None


@dataclass(frozen=True)
class Frozen:
    """What was found.

    Attributes
    ----------
    n_experiments, n_tasks : int
    n_quarantined : int
        Results that fit no experiment, and were set aside.
    """

    n_experiments: int
    n_tasks: int
    n_quarantined: int


def freeze(folder: RunFolder, request: Request) -> Frozen:
    """Write the manifest of a step run; one that is there already stays.

    Experiments that failed in an earlier epoch of the step run are opened again.

    Raises
    ------
    DataError
        If there is no table, or it can't be read or stored.
    Busy
        If it can't be reached now, or another process holds it.
    """
    path, *before = (folder.manifest(request.position, epoch, request.mark) for epoch in range(request.epoch, -1, -1))
    n_quarantined = 0
    if not path.exists():
        project_dir = folder.table(request.project_dir)
        with _as_own_errors(project_dir):
            entries, n_quarantined = _open_experiments(project_dir, before)
            write_manifest(path, tasks_for(entries, request.per_task, request.max_tasks))
    manifest = Manifest.open(path)
    return Frozen(manifest.n_experiments, manifest.n_tasks, n_quarantined)


def _open_experiments(project_dir: Path, reopen: Iterable[Path]) -> tuple[list[Entry], int]:
    from orchestrator.data.experiment_data import ExperimentData

    n_quarantined = len(fold(project_dir).quarantined)
    data = ExperimentData.from_file(project_dir)
    failed = _failed_before(data, [path for path in reopen if path.exists()])
    if failed:
        data.mark(failed, "open", in_place=True)
        data.store(project_dir)
    entries = [
        Entry(label, inputs_digest(inputs), _jsonable(inputs), _jsonable(outputs))
        for label, inputs, outputs in data.open_rows()
    ]
    return entries, n_quarantined


def _failed_before(data: ExperimentData, manifests: Iterable[Path]) -> list[int]:
    if not manifests:
        return []
    from orchestrator.data.job_status import JobStatus

    evaluated = {(entry.row, entry.digest) for path in manifests for entry in Manifest.open(path)}
    inputs_of = data.input_rows()
    return [
        label
        for place, (label, status) in enumerate(zip(data.labels(), data.statuses(), strict=True))
        if status is JobStatus.ERROR and (label, inputs_digest(inputs_of(place))) in evaluated
    ]


def _jsonable(values: dict[str, object]) -> dict[str, object]:
    return {name: to_jsonable(value) for name, value in values.items()}


# --- fold and collect ---------------------------------------------------------------------------


def fold_all(folder: RunFolder, project_dirs: Iterable[str]) -> list[FoldReport]:
    """Fold all results of a run whose jobs have ended.

    Parameters
    ----------
    folder : RunFolder
    project_dirs : iterable of str
        Folders of tables, relative to the run's.

    Returns
    -------
    list of FoldReport
        One per table.

    Raises
    ------
    DataError
        If a table is not there, or can't be read or stored: its results stay where they are. Others are folded.
    Busy
        If one can't be reached now, or another process holds it.
    """
    reports, errors = [], []
    for project_dir in project_dirs:
        try:
            with _as_own_errors(folder.table(project_dir)):
                reports.append(fold(folder.table(project_dir)))
        except OrchestratorError as error:
            # The other tables can get theirs.
            errors.append(error)
    if errors:
        raise errors[0]
    return reports


@dataclass(frozen=True)
class Collected:
    """What was found.

    Attributes
    ----------
    n_quarantined : int
        Results that fit no experiment, and were set aside.
    unmatched : dict of str to list of int
        Numbers of the files of f3dasm's tasks that fit nowhere, and stay where they are, by the reason.
    """

    n_quarantined: int
    unmatched: dict[str, list[int]]


def collect(folder: RunFolder, project_dir: str) -> Collected:
    """Do what `CollectArrayResults` does, in one commit; a second time nothing is left to do.

    Parameters
    ----------
    folder : RunFolder
    project_dir : str
        Folder of the table, relative to the run's.

    Raises
    ------
    DataError
        If there is no table, or it or a file can't be read; what was not collected stays where it is.
    Busy
        If another process holds the table.
    """
    from orchestrator.data.sample_files import collect_sample_files, read_sample_files, remove_collected

    where = folder.table(project_dir)
    collected: list[CollectedFiles] = []

    def put(table: ExperimentData) -> int:
        collected.append(collect_sample_files(table, sample_files))
        return len(collected[-1].new)

    with _as_own_errors(where):
        sample_files = read_sample_files(where)
        report = fold(where, more=put)
        remove_collected([*collected[-1].new, *collected[-1].known])
    unmatched: dict[str, list[int]] = {}
    for found, why in collected[-1].unmatched:
        unmatched.setdefault(why, []).append(found.row)
    return Collected(len(report.quarantined), unmatched)


# --- errors -------------------------------------------------------------------------------------


@contextmanager
def _as_own_errors(project_dir: Path) -> Iterator[None]:
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
