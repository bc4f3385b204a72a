"""`ExperimentSample`: one experiment with its inputs, outputs and status."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from operator import is_
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.atomic import write_atomically
from orchestrator.damage import read_whole
from orchestrator.data.job_status import JobStatus
from orchestrator.data.references import Reference, keep_file, write_object
from orchestrator.data.scratch import Scratch
from orchestrator.data.values import from_jsonable, is_missing, to_jsonable
from orchestrator.errors import DataError
from orchestrator.table_folder import SAMPLE_FOLDER

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ExperimentSample", "Reader"]


Reader: TypeAlias = "tuple[Callable[[int], dict[str, Any]], Callable[[int], dict[str, Any]]]"
"""Functions that return the inputs and the outputs of the row at a position."""


class ExperimentSample:
    """One experiment with its inputs, outputs and status. `DataGenerator.execute` gets and returns one.

    Parameters
    ----------
    input_data : dict or None, default None
        The inputs by name.
    output_data : dict or None, default None
        The outputs by name.
    job_status : str, JobStatus or None, default None
        The status. By default FINISHED if there are outputs, else OPEN.
    project_dir : Path, str or None, default None
        The project folder. By default the current folder.
    id : int or None, default None
        Label of the experiment in its table; None if it is not from a table.
    _input_data, _output_data : dict or None, default None
        The same as `input_data` and `output_data`, as f3dasm names them.

    Raises
    ------
    ValueError
        If there is no such status.

    Examples
    --------
    >>> sample = ExperimentSample({"x": 3.0})
    >>> sample.store("y", sample.input_data["x"] ** 2)
    >>> sample.mark("finished")
    >>> sample.to_dict()
    {'x': 3.0, 'y': 9.0}
    """

    # What was read of the row of a table; None if nothing was, or there is no row.
    _inputs: dict[str, Any] | None = None
    _outputs: dict[str, Any] | None = None
    _inputs_read: dict[str, Any] | None = None
    _outputs_read: dict[str, Any] | None = None
    _reader: Reader
    _position: int

    reason: str | None = None
    _stored: frozenset[str] = frozenset()
    _scratch: Scratch | None = None

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
        self._inputs = dict(input_data or _input_data or {})
        self._outputs = dict(output_data or _output_data or {})
        if job_status is None:
            job_status = JobStatus.FINISHED if self._output_data else JobStatus.OPEN
        self.job_status = JobStatus.of(job_status)
        if not isinstance(project_dir, Path):
            project_dir = Path.cwd() if project_dir is None else Path(project_dir)
        self.project_dir = project_dir
        self.id = id

    @property
    def scratch_dir(self) -> Path:
        """A folder for the files of this experiment alone, such as those of a program that it runs.

        It is created, empty, when it is first asked for. Each try of an experiment gets another one. In a pipeline,
        `Step.keep_scratch` says when it is kept.
        """
        if self._scratch is None:
            self._scratch = Scratch(self.project_dir, "sample" if self.id is None else str(self.id))
        return self._scratch.create()

    def _has_changed(self) -> bool:
        """Whether inputs or outputs of an experiment of a table differ from those that were read."""
        return not (_is_same(self._inputs, self._inputs_read) and _is_same(self._outputs, self._outputs_read))

    def _changed_data(self) -> dict[str, dict[str, Any]]:
        """Return what differs from the row: the inputs, the outputs, or both, by ``"input"`` and ``"output"``."""
        data = {"input": (self._inputs, self._inputs_read), "output": (self._outputs, self._outputs_read)}
        return {which: now for which, (now, read) in data.items() if now is not None and not _is_same(now, read)}

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_inputs": self._input_data, "_outputs": self._output_data}
        state.pop("_reader", None)  # with the rows of the table
        return state

    @property
    def _input_data(self) -> dict[str, Any]:
        if self._inputs is None:
            self._inputs = self._reader[0](self._position)
            self._inputs_read = dict(self._inputs)
        return self._inputs

    @property
    def _output_data(self) -> dict[str, Any]:
        if self._outputs is None:
            self._outputs = self._reader[1](self._position)
            self._outputs_read = dict(self._outputs)
        return self._outputs

    @property
    def input_data(self) -> dict[str, Any]:
        """A copy of the inputs by name. An object on disk is loaded when it is looked at."""
        return self._loaded(self._input_data)

    @property
    def output_data(self) -> dict[str, Any]:
        """A copy of the outputs by name. An object on disk is loaded when it is looked at. `store` sets an output."""
        return self._loaded(self._output_data)

    def _loaded(self, data: dict[str, Any]) -> dict[str, Any]:
        if Reference not in set(map(type, data.values())):
            return dict(data)
        from orchestrator.data.loaded_on_use import LoadedOnUse  # a task without objects on disk saves the import

        return LoadedOnUse(data, self._load)

    def _load(self, value: Any) -> Any:
        return value.load(self.project_dir) if isinstance(value, Reference) else value

    def get(self, name: str) -> Any:
        """Return the input of a name, else the output of this name.

        Parameters
        ----------
        name : str
            Name of the input or output.

        Returns
        -------
        Any
            The value.

        Raises
        ------
        KeyError
            If neither an input nor an output of this name has a value.
        """
        for data in (self._input_data, self._output_data):
            if data.get(name) is not None:
                return self._load(data[name])
        if name in self._input_data:  # None is one of its values
            return None
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
        """Set an output, or an input.

        Parameters
        ----------
        name : str
            Name of the output.
        object : Any
            The value. With `to_disk=True`, a path or text is the path of an existing file: relative to
            ``experiment_data`` or to the working folder, or absolute. It is copied to ``experiment_data``, unless it is
            there.
        to_disk : bool, default False
            Whether the value is written to its own file, immediately; the table then contains the path.
        store_function : callable or None, default None
            ``store_function(object, path) -> path`` writes the file; `path` has no suffix. By default NumPy arrays are
            written as ``.npy``, pandas objects as ``.csv``, those of xarray as ``.nca`` and ``.ncs``, other objects as
            pickles.
        load_function : callable or None, default None
            ``load_function(path, **load_kwargs) -> object`` reads the file. By default the suffix decides; with an
            unknown one, such as ``.frd``, the value is the path of the file.
        load_kwargs : dict or None, default None
            Further arguments of `load_function`.
        which : {"output", "input"}, default "output"
            Whether an output or an input is set.

        Raises
        ------
        ValueError
            If `which` is neither "output" nor "input".
        FileNotFoundError
            If `to_disk` is True, and there is no file of the path.

        Examples
        --------
        >>> sample = ExperimentSample({"x": 2.0})
        >>> sample.store("y", [2.0, 4.0])
        >>> sample.store("log", {"steps": 3}, to_disk=True)
        >>> sample.get("log")
        {'steps': 3}
        """
        if which not in ("input", "output"):
            raise ValueError(f"which={which!r} is not valid; use 'input' or 'output'")
        value = object
        if to_disk:
            path = (
                keep_file(self.project_dir, name, self._identity(), object)
                if isinstance(object, str | Path)
                else write_object(self.project_dir, name, self._identity(), object, store_function)
            )
            value = Reference(path, load_function, load_kwargs)
        (self._input_data if which == "input" else self._output_data)[name] = value
        if which == "output":
            self._stored |= {name}

    def stored_outputs(self, before: Mapping[str, Any]) -> list[str]:
        """Return the names of the outputs that were set.

        Parameters
        ----------
        before : mapping of str to Any
            The outputs that the experiment had at the beginning.

        Returns
        -------
        list of str
            The names, also of those that were set to the value that they had.
        """
        data = self._output_data
        return [n for n, value in data.items() if n in self._stored or n not in before or value is not before[n]]

    def _identity(self) -> str:
        return os.urandom(8).hex() if self.id is None else str(self.id)

    def mark(self, status: str | JobStatus, reason: str | None = None) -> None:
        """Set the status.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The new status. An experiment that a data generator marks as an error has failed, and keeps its outputs.
        reason : str or None, default None
            Why the experiment has failed. `orchestrator status` and `logs` show it as the message of the error.

        Raises
        ------
        ValueError
            If there is no such status, or there is a reason for another one than "error".

        Examples
        --------
        >>> sample = ExperimentSample({"x": 2.0})
        >>> sample.store("residual", 0.3)
        >>> sample.mark("error", reason="the solver did not converge")
        """
        new = JobStatus.of(status)
        if reason is not None and new is not JobStatus.ERROR:
            raise ValueError(f"a reason needs the status 'error', not {status!r}")
        self.job_status, self.reason = new, reason

    def is_status(self, status: str | JobStatus) -> bool:
        """Whether the experiment has a status.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The status.

        Returns
        -------
        bool
            True if the experiment has this status.

        Raises
        ------
        ValueError
            If there is no such status.
        """
        return self.job_status is JobStatus.of(status)

    def replace_nan(self, replacement_value: Any) -> None:
        """Replace missing inputs and outputs.

        Parameters
        ----------
        replacement_value : Any
            The replacement.
        """
        for data in (self._input_data, self._output_data):
            data.update({n: replacement_value for n, value in data.items() if is_missing(value)})

    def round(self, decimals: int) -> None:
        """Round the floats among inputs and outputs.

        Parameters
        ----------
        decimals : int
            Number of decimal places.
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
        """Create an open experiment with the inputs ``x0``, ``x1``, ...

        Parameters
        ----------
        input_array : numpy.ndarray
            The inputs, of any shape; they are flattened in row-major order.

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
            Path of the file.

        Returns
        -------
        ExperimentSample
            The experiment.

        Raises
        ------
        DataError
            If it is not a file of an experiment.
        """
        try:
            content = json.loads(read_whole(Path(path)))
            return cls(
                {name: _from_json(value) for name, value in content["input_data"].items()},
                {name: _from_json(value) for name, value in content["output_data"].items()},
                content["job_status"],
                content["project_dir"],
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__}: {error}"
            raise DataError(f"{path} is not a file of an experiment, or is damaged: {why}") from error

    def _copy(self) -> ExperimentSample:
        """Return a copy, for f3dasm's own data generators."""
        values = (deepcopy(self._input_data), deepcopy(self._output_data))
        return ExperimentSample(*values, self.job_status, self.project_dir, id=self.id)

    def to_multiindex(self) -> dict[tuple[str, str], Any]:
        """Return status, inputs and outputs in one dict, by two words: `jobs`, `input` or `output`, and the name.

        Returns
        -------
        dict of tuple to Any
            The values; paths of objects on disk.
        """
        return {
            ("jobs", ""): self.job_status.name.lower(),
            **{("input", name): value for name, value in self._input_data.items()},
            **{("output", name): value for name, value in self._output_data.items()},
        }

    def store_as_json(self, idx: int = 0, project_dir: Path | str | None = None) -> Path:
        """Write the experiment to ``experiment_sample/<idx>.json``, completely or not at all.

        Parameters
        ----------
        idx : int, default 0
            Number in the name of the file.
        project_dir : Path, str or None, default None
            The project folder. By default that of the experiment.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        TypeError
            If a value can't be written as JSON.
        """
        folder = Path(project_dir or self.project_dir) / SAMPLE_FOLDER
        content = {
            "input_data": {name: _to_json(value) for name, value in self._input_data.items()},
            "output_data": {name: _to_json(value) for name, value in self._output_data.items()},
            "job_status": self.job_status.name,
            "project_dir": str(self.project_dir),
        }
        path = folder / f"{idx}.json"
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


def _is_same(now: Mapping[str, Any] | None, read: Mapping[str, Any] | None) -> bool:
    """Whether each value is the one that was read."""
    if now is None or read is None:
        return now is read
    return len(now) == len(read) and list(now) == list(read) and all(map(is_, now.values(), read.values()))


def _comparable(data: Mapping[str, Any]) -> dict[str, Any]:
    # == compares arrays element by element; their JSON can be compared as a whole.
    return {name: to_jsonable(value) if hasattr(value, "dtype") else value for name, value in data.items()}


def _to_json(value: Any) -> Any:
    return value.to_json() if isinstance(value, Reference) else to_jsonable(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and value.get("__type__") == "ReferenceValue":
        return Reference.from_json(value)
    return from_jsonable(value)
