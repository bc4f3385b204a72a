"""One experiment: its inputs, its outputs, its status."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.atomic import write_atomically
from orchestrator.data.job_status import JobStatus
from orchestrator.data.references import Reference, write_object
from orchestrator.data.values import from_jsonable, is_missing, to_jsonable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SAMPLE_FOLDER", "ExperimentSample"]

SAMPLE_FOLDER = "experiment_sample"


class ExperimentSample:
    """One experiment: its inputs, its outputs and its status; what `DataGenerator.execute` gets and returns.

    Parameters
    ----------
    input_data : dict or None, default None
        The inputs by name.
    output_data : dict or None, default None
        The outputs by name.
    job_status : str, JobStatus or None, default None
        The status; by default FINISHED if there are outputs, else OPEN.
    project_dir : Path, str or None, default None
        The project folder; the current folder by default.
    id : int or None, default None
        The experiment's label in its table, if it has one.
    _input_data, _output_data : dict or None
        f3dasm's names of the first two.

    Raises
    ------
    ValueError
        There is no such status.

    Examples
    --------
    >>> sample = ExperimentSample({"x": 3.0})
    >>> sample.store("y", sample.input_data["x"] ** 2)
    >>> sample.mark("finished")
    >>> sample.to_dict()
    {'x': 3.0, 'y': 9.0}
    """

    def __init__(
        self,
        input_data: Mapping[str, Any] | None = None,
        output_data: Mapping[str, Any] | None = None,
        job_status: str | JobStatus | None = None,
        project_dir: Path | str | None = None,
        *,
        id: int | None = None,
        _input_data: Mapping[str, Any] | None = None,
        _output_data: Mapping[str, Any] | None = None,
    ) -> None:
        self._input_data: dict[str, Any] = dict(input_data or _input_data or {})
        self._output_data: dict[str, Any] = dict(output_data or _output_data or {})
        if job_status is None:
            job_status = JobStatus.FINISHED if self._output_data else JobStatus.OPEN
        self.job_status = JobStatus.of(job_status)
        self.project_dir = Path.cwd() if project_dir is None else Path(project_dir)
        self.id = id

    @property
    def input_data(self) -> dict[str, Any]:
        """A copy of the inputs; objects that lie on disk are loaded."""
        return self._loaded(self._input_data)

    @property
    def output_data(self) -> dict[str, Any]:
        """A copy of the outputs; objects that lie on disk are loaded. Use `store` to change them."""
        return self._loaded(self._output_data)

    def _loaded(self, data: dict[str, Any]) -> dict[str, Any]:
        return {name: self._load(value) for name, value in data.items()}

    def _load(self, value: Any) -> Any:
        return value.load(self.project_dir) if isinstance(value, Reference) else value

    def get(self, name: str) -> Any:
        """Return the input, or else the output, of that name.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        Any
            The value.

        Raises
        ------
        KeyError
            There is neither an input nor an output of that name with a value.
        """
        for data in (self._input_data, self._output_data):
            if data.get(name) is not None:
                return self._load(data[name])
        raise KeyError(f"the experiment has neither an input nor an output {name!r}")

    def store(
        self,
        name: str,
        object: Any,
        to_disk: bool = False,
        store_function: Callable[..., Any] | None = None,
        load_function: Callable[..., Any] | None = None,
        load_kwargs: dict[str, Any] | None = None,
        which: str = "output",
    ) -> None:
        """Set an output (or input).

        Parameters
        ----------
        name : str
            Its name.
        object : Any
            Its value. With `to_disk`, a path or text names a file that is there already, relative
            to ``experiment_data``.
        to_disk : bool, default False
            Whether the value is written to a file of its own, at once; the table holds its path.
        store_function : callable or None, default None
            ``store_function(object, path) -> path``. Without one: ``.npy`` for NumPy arrays, ``.csv``
            for pandas, pickle for the rest.
        load_function : callable or None, default None
            ``load_function(path, **load_kwargs) -> object``.
        load_kwargs : dict or None, default None
            Further arguments for `load_function`.
        which : {"output", "input"}, default "output"
            Which of the two it is.

        Raises
        ------
        ValueError
            `which` is something else.
        """
        if which not in ("input", "output"):
            raise ValueError(f"which is 'input' or 'output', not {which!r}")
        value = object
        if to_disk:
            path = (
                str(object)
                if isinstance(object, str | Path)
                else write_object(self.project_dir, name, self._identity(), object, store_function)
            )
            value = Reference(path, load_function, load_kwargs)
        (self._input_data if which == "input" else self._output_data)[name] = value

    def _identity(self) -> str:
        return os.urandom(8).hex() if self.id is None else str(self.id)

    def mark(self, status: str | JobStatus) -> None:
        """Set the status.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The status.

        Raises
        ------
        ValueError
            There is no such status.
        """
        self.job_status = JobStatus.of(status)

    def is_status(self, status: str | JobStatus) -> bool:
        """Whether the experiment has a status.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The status.

        Returns
        -------
        bool
            True if it has.

        Raises
        ------
        ValueError
            There is no such status.
        """
        return self.job_status is JobStatus.of(status)

    def replace_nan(self, replacement_value: Any) -> None:
        """Replace missing inputs and outputs.

        Parameters
        ----------
        replacement_value : Any
            What to put in their place.
        """
        for data in (self._input_data, self._output_data):
            data.update({n: replacement_value for n, value in data.items() if is_missing(value)})

    def round(self, decimals: int) -> None:
        """Round all numbers among inputs and outputs.

        Parameters
        ----------
        decimals : int
            Digits to keep after the point.
        """
        for data in (self._input_data, self._output_data):
            for name, value in data.items():
                if isinstance(value, float) and math.isfinite(value):
                    data[name] = round(value, decimals)

    def to_dict(self) -> dict[str, Any]:
        """Return inputs and outputs in one dict."""
        return {**self.input_data, **self.output_data}

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and the outputs as two one-dimensional arrays."""
        import numpy as np

        return np.array(list(self.input_data.values())), np.array(list(self.output_data.values()))

    @classmethod
    def from_numpy(cls, input_array: np.ndarray) -> ExperimentSample:
        """Make an open experiment with the inputs ``x0``, ``x1``, ...

        Parameters
        ----------
        input_array : numpy.ndarray
            The inputs, of any shape.

        Returns
        -------
        ExperimentSample
            The experiment.
        """
        return cls({f"x{i}": value for i, value in enumerate(input_array.ravel().tolist())})

    @classmethod
    def from_json(cls, path: Path | str) -> ExperimentSample:
        """Read an experiment that `store_as_json` or f3dasm wrote.

        Parameters
        ----------
        path : Path or str
            The file.

        Returns
        -------
        ExperimentSample
            The experiment.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(
            {name: _from_json(value) for name, value in content["input_data"].items()},
            {name: _from_json(value) for name, value in content["output_data"].items()},
            content["job_status"],
            content["project_dir"],
        )

    def store_as_json(self, project_dir: Path | str | None = None, id: int = 0) -> Path:
        """Write the experiment to ``experiment_sample/<id>.json``, wholly or not at all.

        Parameters
        ----------
        project_dir : Path, str or None, default None
            The project folder; the experiment's own by default.
        id : int, default 0
            Names the file.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        TypeError
            A value can't be kept as JSON.
        """
        folder = Path(project_dir or self.project_dir) / SAMPLE_FOLDER
        content = {
            "input_data": {name: _to_json(value) for name, value in self._input_data.items()},
            "output_data": {name: _to_json(value) for name, value in self._output_data.items()},
            "job_status": self.job_status.name,
            "project_dir": str(self.project_dir),
        }
        path = folder / f"{id}.json"
        write_atomically(path, json.dumps(content, indent=2).encode())
        return path

    def __add__(self, other: ExperimentSample) -> ExperimentSample:
        return ExperimentSample(
            {**self._input_data, **other._input_data},
            {**self._output_data, **other._output_data},
            project_dir=self.project_dir,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExperimentSample):
            return NotImplemented
        return (
            self.job_status is other.job_status
            and _comparable(self._input_data) == _comparable(other._input_data)
            and _comparable(self._output_data) == _comparable(other._output_data)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"ExperimentSample(input_data={self._input_data}, output_data={self._output_data}, "
            f"job_status={self.job_status})"
        )


def _comparable(data: Mapping[str, Any]) -> dict[str, Any]:
    # Arrays compare by element, which is no answer; their JSON form is.
    return {name: to_jsonable(value) if hasattr(value, "dtype") else value for name, value in data.items()}


def _to_json(value: Any) -> Any:
    return value.to_json() if isinstance(value, Reference) else to_jsonable(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and value.get("__type__") == "ReferenceValue":
        return Reference.from_json(value)
    return from_jsonable(value)
