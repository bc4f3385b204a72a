"""Freeze: the open experiments become a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.results import inputs_digest
from orchestrator.data.values import to_jsonable
from orchestrator.handoff.folder import RunFolder
from orchestrator.handoff.manifest import Entry, Manifest, tasks_for, write_manifest
from orchestrator.worker.table_errors import as_own_errors

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Frozen", "Request", "freeze"]


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
    per_task, most_tasks : int or None
        How the experiments are cut into tasks.
    """

    position: int
    epoch: int
    mark: str
    project_dir: str
    per_task: int | None = None
    most_tasks: int | None = None


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
        with as_own_errors(project_dir):
            entries, n_quarantined = _open_experiments(project_dir, before)
            write_manifest(path, tasks_for(entries, request.per_task, request.most_tasks))
    manifest = Manifest.open(path)
    return Frozen(manifest.n_experiments, manifest.n_tasks, n_quarantined)


def _open_experiments(project_dir: Path, reopen: Iterable[Path]) -> tuple[list[Entry], int]:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.fold import fold

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
