"""What array tasks of f3dasm leave: a file per experiment, which may hold a result that the table lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.experiment_sample import SAMPLE_FOLDER, ExperimentSample
from orchestrator.data.values import is_missing
from orchestrator.errors import DataError

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["collect_left_overs", "has_left_overs", "remove_collected"]


def has_left_overs(project_dir: Path | str) -> bool:
    """Tell whether there is such a file."""
    return any(_files(project_dir))


def collect_left_overs(data: ExperimentData, project_dir: Path | str) -> list[str]:
    """Put each file's result into the row that its name says, if that has the same inputs and no result yet.

    Parameters
    ----------
    data : ExperimentData
        The table; it is changed.
    project_dir : Path or str
        The project folder.

    Returns
    -------
    list of str
        A sentence for each file that fits nowhere.

    Raises
    ------
    DataError
        If a file can't be read; all of them stay where they are.
    """
    misfits = []
    for row, file, sample in _left_overs(project_dir):
        misfit = _misfit(data, row, sample)
        if misfit:
            misfits.append(f"{file} is left where it is: {misfit}.")
            continue
        mine = data.get_experiment_sample(row)
        if not mine.is_status("finished"):
            # Its inputs stay: the file has them as JSON knows them.
            done = ExperimentSample(mine._input_data, sample._output_data, sample.job_status, mine.project_dir)
            data.store_experimentsample(done, row)
    return misfits


def remove_collected(project_dir: Path | str) -> None:
    """Delete the files whose result the stored table holds."""
    left = list(_left_overs(project_dir))
    if not left:
        return
    from orchestrator.data.experiment_data import ExperimentData

    data = ExperimentData.from_file(project_dir)
    for row, file, sample in left:
        if not _misfit(data, row, sample):
            file.unlink()
    with suppress(OSError):  # others are left in it
        (Path(project_dir) / SAMPLE_FOLDER).rmdir()


def _files(project_dir: Path | str) -> Iterator[Path]:
    return (file for file in (Path(project_dir) / SAMPLE_FOLDER).glob("*.json") if file.stem.isdecimal())


def _left_overs(project_dir: Path | str) -> Iterator[tuple[int, Path, ExperimentSample]]:
    for file in sorted(_files(project_dir)):
        try:
            yield int(file.stem), file, ExperimentSample.from_json(file)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} can't be read: {error!r}.", "Mend it, or move it away.") from error


def _misfit(data: ExperimentData, row: int, sample: ExperimentSample) -> str:
    """Tell why a file is not the result of an experiment in the table; the empty text if it is."""
    try:
        mine = data.get_experiment_sample(row)
    except KeyError:
        return f"the table has no experiment {row}"
    if sample.job_status.name not in ("FINISHED", "ERROR"):
        return "it holds no result"
    same = _comparable(mine._input_data) == _comparable(sample._input_data)
    return "" if same else f"it has other inputs than experiment {row}"


def _comparable(inputs: Mapping[str, Any]) -> dict[str, Any]:
    # f3dasm writes as text what JSON doesn't know; a missing value is an absent name.
    present = {name: value for name, value in inputs.items() if not is_missing(value)}
    return {name: value if isinstance(value, int | float) else str(value) for name, value in present.items()}
