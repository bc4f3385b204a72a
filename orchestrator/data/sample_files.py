"""What array tasks of f3dasm leave: a file per experiment, which may hold a result that the table lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.data.experiment_sample import SAMPLE_FOLDER, ExperimentSample
from orchestrator.data.values import is_missing
from orchestrator.errors import DataError

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["SampleFile", "Put", "put_sample_files", "read_sample_files", "remove_collected"]


class SampleFile(NamedTuple):
    """A file that an array task of f3dasm wrote, with what it holds.

    Attributes
    ----------
    row : int
        The label of the experiment that its name says.
    path : Path
    sample : ExperimentSample
    """

    row: int
    path: Path
    sample: ExperimentSample


class Put(NamedTuple):
    """What became of such files.

    Attributes
    ----------
    new : list of SampleFile
        Those whose result was put into the table now.
    known : list of SampleFile
        Those whose result was in it.
    misfits : list of (SampleFile, str)
        Those that fit nowhere, and why.
    """

    new: list[SampleFile]
    known: list[SampleFile]
    misfits: list[tuple[SampleFile, str]]


def read_sample_files(project_dir: Path | str) -> list[SampleFile]:
    """Read all such files of a project folder, in the order of their numbers.

    Raises
    ------
    DataError
        If one can't be read.
    """
    read = (_read(file) for file in _files(Path(project_dir) / SAMPLE_FOLDER))
    return sorted((found for found in read if found is not None), key=lambda found: found.row)


def put_sample_files(data: ExperimentData, sample_files: Iterable[SampleFile]) -> Put:
    """Put each file's result into the row that its name says, if that has the same inputs and no result yet.

    Parameters
    ----------
    data : ExperimentData
        The table; it is changed.
    sample_files : iterable of SampleFile

    Returns
    -------
    Put
    """
    put = Put([], [], [])
    for found in sample_files:
        why = _misfit(data, found)
        if why:
            put.misfits.append((found, why))
            continue
        mine, sample = data.get_experiment_sample(found.row), found.sample
        if _has_result(mine, sample):
            put.known.append(found)
            continue
        # Its inputs stay: the file has them as JSON knows them.
        done = ExperimentSample(mine._input_data, sample._output_data, sample.job_status, mine.project_dir)
        data.store_experimentsample(done, found.row)
        put.new.append(found)
    return put


def remove_collected(sample_files: Iterable[SampleFile]) -> None:
    """Delete files whose result the stored table holds; another process may be about it, too.

    Raises
    ------
    DataError
        If one can't be deleted.
    """
    folders = set()
    for found in sample_files:
        try:
            found.path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{found.path} is in the table, but can't be deleted: {error!r}.", "Delete it.") from error
        folders.add(found.path.parent)
    for folder in folders:
        with suppress(OSError):  # others are left in it
            folder.rmdir()


def _files(folder: Path) -> Iterator[Path]:
    try:
        # Not `glob`: where a folder can't be listed, that finds nothing in it.
        files = list(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{folder} can't be listed: {error!r}.", "Mend that, or move it away.") from error
    yield from (file for file in files if file.suffix == ".json" and file.stem.isdecimal())


def _read(file: Path) -> SampleFile | None:
    try:
        return SampleFile(int(file.stem), file, ExperimentSample.from_json(file))
    except FileNotFoundError:
        return None  # another process has collected it
    except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
        # A step that fails keeps the message only.
        raise DataError(f"{file} can't be read: {error!r}; mend it, or move it away.") from error


def _misfit(data: ExperimentData, found: SampleFile) -> str:
    """Tell why a file is not the result of an experiment in the table; the empty text if it is."""
    try:
        mine = data.get_experiment_sample(found.row)
    except KeyError:
        return "no such experiment in the table"
    if found.sample.job_status.name not in ("FINISHED", "ERROR"):
        return "no result inside"
    if _comparable(mine._input_data) != _comparable(found.sample._input_data):
        return "inputs that are not the experiment's"
    same = _comparable(mine._output_data) == _comparable(found.sample._output_data)
    return "another result is in the table" if _has_result(mine, found.sample) and not same else ""


def _has_result(mine: ExperimentSample, found: ExperimentSample) -> bool:
    """Tell whether an experiment keeps its own result: one that failed takes a better one."""
    return mine.is_status("finished") or mine.job_status == found.job_status


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    # f3dasm writes as text what JSON doesn't know; a missing value is an absent name.
    present = {name: value for name, value in values.items() if not is_missing(value)}
    return {name: value if isinstance(value, int | float) else str(value) for name, value in present.items()}
