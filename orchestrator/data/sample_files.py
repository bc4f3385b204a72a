"""Sample files, which array tasks of f3dasm write: one per experiment, with a result that the table may not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.values import is_missing
from orchestrator.errors import DataError
from orchestrator.table_folder import SAMPLE_FOLDER

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = [
    "CollectedFiles",
    "SampleFile",
    "collect_and_warn",
    "collect_sample_files",
    "read_sample_files",
    "remove_collected",
]


class SampleFile(NamedTuple):
    """A file that an array task of f3dasm wrote, with its content.

    Attributes
    ----------
    row : int
        Label of the experiment: the number in the file's name.
    path : Path
        Path of the file.
    sample : ExperimentSample
        The experiment in it.
    """

    row: int
    path: Path
    sample: ExperimentSample


class CollectedFiles(NamedTuple):
    """Sample files by whether their results are in the table.

    Attributes
    ----------
    new : list of SampleFile
        Files whose result has now been written to the table.
    known : list of SampleFile
        Files whose result was in the table already.
    unmatched : list of (SampleFile, str)
        Files whose result belongs to no row, each with the reason.
    """

    new: list[SampleFile]
    known: list[SampleFile]
    unmatched: list[tuple[SampleFile, str]]


def read_sample_files(project_dir: Path | str) -> list[SampleFile]:
    """Read the sample files of a project folder.

    Parameters
    ----------
    project_dir : Path or str
        The folder that contains ``experiment_sample``.

    Returns
    -------
    list of SampleFile
        The files, sorted by their numbers.

    Raises
    ------
    DataError
        If a file can't be read, or the folder can't be listed.
    """
    files = (_read(path) for path in _paths(Path(project_dir) / SAMPLE_FOLDER))
    return sorted((file for file in files if file is not None), key=lambda file: file.row)


def collect_sample_files(data: ExperimentData, sample_files: Iterable[SampleFile]) -> CollectedFiles:
    """Write the result of each file to the row with its number, if that has the same inputs and no result.

    Parameters
    ----------
    data : ExperimentData
        The table; it is changed.
    sample_files : iterable of SampleFile
        The files.

    Returns
    -------
    CollectedFiles
        The files by whether their results are in the table.
    """
    collected = CollectedFiles([], [], [])
    for file in sample_files:
        reason = _mismatch(data, file)
        if reason:
            collected.unmatched.append((file, reason))
            continue
        row, sample = data.get_experiment_sample(file.row), file.sample
        if _keeps_result(row, sample):
            collected.known.append(file)
            continue
        # The row keeps its own inputs: in the file, JSON may have changed their types.
        updated = ExperimentSample(row._input_data, sample._output_data, sample.job_status, row.project_dir)
        data.store_experimentsample(updated, file.row)
        collected.new.append(file)
    return collected


def collect_and_warn(data: ExperimentData) -> None:
    """Collect the files of the table's project folder in the table, and log which were not collected, and why."""
    from logging import getLogger

    for file, why in collect_sample_files(data, read_sample_files(data.project_dir or ".")).unmatched:
        getLogger("orchestrator").warning("%s was not collected: %s.", file.path, why)


def remove_collected(sample_files: Iterable[SampleFile]) -> None:
    """Delete files whose results are in the stored table. Another process may delete them at the same time.

    Parameters
    ----------
    sample_files : iterable of SampleFile
        The files.

    Raises
    ------
    DataError
        If a file can't be deleted.
    """
    folders = set()
    for file in sample_files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{file.path} is in the table, but can't be deleted: {error!r}.", "Delete it.") from error
        folders.add(file.path.parent)
    for folder in folders:
        with suppress(OSError):  # other files are in it
            folder.rmdir()


def _paths(folder: Path) -> Iterator[Path]:
    try:
        # Not `glob`, which finds nothing, and raises nothing, in a folder that can't be listed.
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{folder} can't be listed: {error!r}.", "Make it readable, or move it.") from error
    yield from (path for path in paths if path.suffix == ".json" and path.stem.isdecimal())


def _read(path: Path) -> SampleFile | None:
    try:
        return SampleFile(int(path.stem), path, ExperimentSample.from_json(path))
    except FileNotFoundError:
        return None  # another process has collected it
    # What to do is part of the message, because of a failed step only the message is recorded.
    except DataError as error:
        raise DataError(f"{error.message.removesuffix('.')}; fix it, or move it.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error!r}; fix it, or move it.") from error


def _mismatch(data: ExperimentData, file: SampleFile) -> str:
    """Return the reason why the result in a file belongs to no row of the table; empty if it belongs to one."""
    try:
        row = data.get_experiment_sample(file.row)
    except KeyError:
        return "no such experiment in the table"
    if file.sample.job_status.name not in ("FINISHED", "ERROR"):
        return "no result in the file"
    if _comparable(row._input_data) != _comparable(file.sample._input_data):
        return "inputs that differ from those of the experiment"
    is_same = _comparable(row._output_data) == _comparable(file.sample._output_data)
    return "another result is in the table" if _keeps_result(row, file.sample) and not is_same else ""


def _keeps_result(row: ExperimentSample, sample: ExperimentSample) -> bool:
    """Whether an experiment keeps its own result. One that failed is replaced by one that did not."""
    return row.is_status("finished") or row.job_status == sample.job_status


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    # f3dasm writes values that JSON can't hold as text; a missing value is an absent name.
    present = {name: value for name, value in values.items() if not is_missing(value)}
    return {name: value if isinstance(value, int | float) else str(value) for name, value in present.items()}
