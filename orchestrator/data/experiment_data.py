"""The table: experiments with their inputs, outputs and statuses, in columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.data.columns import (
    cells_of,
    column_of,
    decode_column,
    encode_column,
    plain_cell,
    plain_cells,
    read_csv,
    write_csv,
)
from orchestrator.data.domain import Domain, Parameter
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.files import data_folder, read_snapshot, store_table
from orchestrator.data.fold import FoldReport, fold_into
from orchestrator.data.job_status import JobStatus
from orchestrator.data.kinds import is_array, is_frame, is_integer, is_truth
from orchestrator.data.references import Reference, write_object
from orchestrator.data.results import ResultFile
from orchestrator.data.values import is_missing, to_jsonable
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["ExperimentData"]

_STATUSES = list(JobStatus)
_OPEN, _FINISHED = JobStatus.OPEN.value, JobStatus.FINISHED.value
_Columns: TypeAlias = dict[str, list[Any]]
_Data: TypeAlias = "pd.DataFrame | np.ndarray | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Path | str"


class ExperimentData:
    """Experiments: one row each, with inputs, outputs and a status.

    Rows have labels, integers that stay with them when the table is sorted or cut. A missing value
    is an absent name in an `ExperimentSample` and NaN or None in a DataFrame.

    Parameters
    ----------
    domain : Domain, Path, str or None, default None
        The domain, or the file that holds it; by default one is made of the data's names.
    input_data, output_data : optional
        The inputs and the outputs: a list of dicts, a dict of columns, a DataFrame, a NumPy array (its
        columns take the domain's names, else ``x0``, ``x1``, ... and ``y`` or ``y0``, ``y1``,
        ...), or a CSV file in f3dasm's layout.
    jobs : pandas.Series, sequence of str, Path, str or None, default None
        The statuses, or the file that holds them; by default an experiment with outputs is
        FINISHED, another one OPEN.
    project_dir : Path, str or None, default None
        The project folder; the current folder by default.

    Raises
    ------
    DataError
        The data have no form that is known.

    Examples
    --------
    >>> data = ExperimentData(input_data=[{"x": 1.0}, {"x": 2.0}])
    >>> for label, sample in data:
    ...     sample.store("y", sample.input_data["x"] ** 2)
    ...     sample.mark("finished")
    >>> data.to_numpy()[1].ravel().tolist()
    [1.0, 4.0]
    """

    def __init__(
        self,
        domain: Domain | Path | str | None = None,
        input_data: _Data | None = None,
        output_data: _Data | None = None,
        jobs: pd.Series[Any] | Sequence[str] | Path | str | None = None,
        project_dir: Path | str | None = None,
    ) -> None:
        if domain is None:
            domain = Domain()
        self._domain = domain if isinstance(domain, Domain) else Domain.from_file(domain)
        self._project_dir = _absolute(project_dir)
        inputs = _columns_of(input_data, self._domain.input_space, "input")
        outputs = _columns_of(output_data, self._domain.output_space, "output")
        statuses = _statuses_of(jobs)
        lengths = [len(cells) for columns in (inputs, outputs) for cells in columns.values()]
        n = max([*lengths, len(statuses), _n_rows(input_data)], default=0)
        self._fill(list(range(n)), inputs, outputs, bytearray(n))
        for position in range(n):
            self._status[position] = self._status_at(position, statuses)

    def _fill(self, labels: list[int], inputs: _Columns, outputs: _Columns, status: bytearray) -> None:
        """Take over whole columns, and let the domain know their names."""
        self._labels = labels
        self._positions: dict[int, int] = {label: at for at, label in enumerate(labels)}
        self._inputs = _padded(inputs, len(labels))
        self._outputs = _padded(outputs, len(labels))
        self._status = status
        self._offsets: dict[str, int] = {}
        self.fold_report = FoldReport()
        # Token of the job whose work the table is; the stored table carries it.
        self.stored_by: str | None = None
        for name in inputs:
            if name not in self._domain.input_space:
                self._domain.add_parameter(name)
        for name in outputs:
            self._domain.add_output(name, exist_ok=True)
        for which, columns in (("input", self._inputs), ("output", self._outputs)):
            for name, parameter in self._space(which).items():
                if parameter.to_disk and name in columns:
                    columns[name] = [
                        self._kept(which, name, cell, label) for cell, label in zip(columns[name], labels, strict=True)
                    ]

    def _status_at(self, position: int, statuses: Sequence[Any]) -> int:
        if position < len(statuses) and not is_missing(statuses[position]):
            return int(JobStatus.of(statuses[position]).value)
        present = any(cells[position] is not None for cells in self._outputs.values())
        return _FINISHED if present else _OPEN

    @classmethod
    def _made_of(
        cls,
        domain: Domain,
        project_dir: Path,
        labels: list[int],
        inputs: _Columns,
        outputs: _Columns,
        status: bytearray,
    ) -> ExperimentData:
        data = cls(domain, project_dir=project_dir)
        data._fill(labels, inputs, outputs, status)
        return data

    @classmethod
    def from_data(
        cls,
        data: Mapping[int, ExperimentSample] | None = None,
        domain: Domain | None = None,
        project_dir: Path | str | None = None,
    ) -> ExperimentData:
        """Make a table of single experiments.

        Parameters
        ----------
        data : Mapping of int to ExperimentSample or None, default None
            The experiments by label.
        domain : Domain or None, default None
            The domain; by default one is made of the data's names.
        project_dir : Path, str or None, default None
            The project folder; the current folder by default.

        Returns
        -------
        ExperimentData
            The table.
        """
        table = cls(domain, project_dir=project_dir)
        for label, sample in (data or {}).items():
            table.store_experimentsample(sample, label)
        return table

    # -- files ---------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, project_dir: Path | str) -> ExperimentData:
        """Read the table of a project folder, with all results that lie beside it.

        Parameters
        ----------
        project_dir : Path or str
            The folder that holds ``experiment_data``.

        Returns
        -------
        ExperimentData
            The table. Its `fold_report` says what became of results that were not yet folded.

        Raises
        ------
        FileNotFoundError
            There is no table.
        DataError
            The files can't be read, or don't belong together.
        """
        return cls.load(project_dir)[0]

    @classmethod
    def load(cls, project_dir: Path | str, folders: Iterable[Path] | None = None) -> tuple[ExperimentData, FoldReport]:
        """Read the table of a project folder and fold result files into it, in memory.

        Parameters
        ----------
        project_dir : Path or str
            The folder that holds ``experiment_data``.
        folders : iterable of Path or None, default None
            Which folders of result files to fold; all by default.

        Returns
        -------
        table : ExperimentData
            The table.
        report : FoldReport
            What folding did.
        """
        project_dir = _absolute(project_dir)
        snapshot = read_snapshot(project_dir)
        table, offsets = _decode_files(project_dir, snapshot.contents)
        names = None if folders is None else {folder.name for folder in folders}
        paths = [p for p in snapshot.results if names is None or p.parent.name in names]
        # What the stored table has folded already stays folded once: the user may have changed it.
        read = [ResultFile.read(path, offsets.get(_mark(path), 0)) for path in paths]
        table.fold_report = fold_into(table, read)
        table._offsets = {**offsets, **{_mark(file.path): file.end for file in read}}
        return table, table.fold_report

    def store(self, project_dir: Path | str | None = None) -> None:
        """Write the table to ``experiment_data``, wholly or not at all.

        Parameters
        ----------
        project_dir : Path, str or None, default None
            The project folder, which becomes the table's; by default it is the table's already.

        Raises
        ------
        DataError
            The disk refused; the table that was there is unchanged.
        TypeError
            A value is of a type that can't be kept in a table.
        """
        if project_dir is not None and _absolute(project_dir) != self._project_dir:
            self.project_dir = project_dir
            self._offsets = {}
        store_table(self._project_dir, self)

    def to_files(self, project_dir: Path | str, consumed: Iterable[Path] = ()) -> dict[str, bytes]:
        """Encode the table as the four files of f3dasm's layout.

        Parameters
        ----------
        project_dir : Path or str
            The project folder that they will lie in.
        consumed : iterable of Path, default ()
            Folders of result files that won't be beside them any more.

        Returns
        -------
        dict of str to bytes
            The files by name.
        """
        notes: dict[str, Any] = {"rows": len(self)}
        files = {}
        for which, columns in (("input", self._inputs), ("output", self._outputs)):
            encoded = {}
            for name, cells in columns.items():
                try:
                    encoded[name] = encode_column(cells)
                except TypeError as error:
                    raise TypeError(f"{which} {name!r}: {error}") from error
            files[f"{which}.csv"] = write_csv(self._labels, {n: e[0] for n, e in encoded.items()})
            notes[which] = {name: note for name, (_, note) in encoded.items()}
        gone = {Path(folder).name for folder in consumed}
        same = _absolute(project_dir) == self._project_dir
        folded = {m: end for m, end in self._offsets.items() if m.split("/")[0] not in gone}
        domain = {**self._domain.to_json(), "columns": notes, "folded": folded if same else {}}
        if self.stored_by is not None:
            domain["stored_by"] = self.stored_by
        files["domain.json"] = json.dumps(domain, indent=4).encode()
        files["jobs.csv"] = write_csv(self._labels, {"0": [s.name for s in self.statuses()]})
        return files

    # -- whole columns -------------------------------------------------------------------------

    def labels(self) -> list[int]:
        """Return the rows' labels."""
        return list(self._labels)

    def statuses(self) -> list[JobStatus]:
        """Return the rows' statuses."""
        return [_STATUSES[value] for value in self._status]

    def input_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function from a position (not a label) to that row's inputs."""
        return self._rows("input")

    def output_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function from a position (not a label) to that row's outputs."""
        return self._rows("output")

    def _rows(self, which: str) -> Callable[[int], dict[str, Any]]:
        columns = self._inputs if which == "input" else self._outputs
        space = self._space(which)
        on_disk = {n: p for n, p in space.items() if p.to_disk and n in columns}
        pairs = list(columns.items())

        def row(position: int) -> dict[str, Any]:
            values = {n: c[position] for n, c in pairs if c[position] is not None}
            for name, parameter in on_disk.items():
                if name in values:
                    values[name] = parameter.refer_to(values[name])
            return values

        return row

    def open_rows(self) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Yield the open experiments.

        Yields
        ------
        label : int
            The row's label.
        inputs : dict
            Its inputs, plain Python values; a missing one is absent.
        outputs : dict
            Its outputs, likewise.
        """
        inputs, outputs = self.input_rows(), self.output_rows()
        position = self._status.find(_OPEN)
        while position >= 0:
            yield self._labels[position], inputs(position), outputs(position)
            position = self._status.find(_OPEN, position + 1)

    def apply_results(self, updates: Mapping[int, tuple[JobStatus, Mapping[str, Any]]]) -> None:
        """Set statuses and outputs of many rows.

        Parameters
        ----------
        updates : Mapping of int to (JobStatus, Mapping)
            The new status and outputs by position (not label).
        """
        for position, (status, outputs) in updates.items():
            self._status[position] = status.value
            for name, value in outputs.items():
                self._set("output", name, position, value)

    # -- one row -------------------------------------------------------------------------------

    def _space(self, which: str) -> dict[str, Parameter]:
        return self._domain.input_space if which == "input" else self._domain.output_space

    def _kept(self, which: str, name: str, value: Any, label: int) -> Any:
        """Return what the table holds for a value: for an object on disk, its path."""
        space = self._space(which)
        parameter = space.get(name)
        if isinstance(value, Reference):
            if parameter is None or not parameter.to_disk:
                space[name] = Parameter(True, None, value.load_function, value.load_kwargs)
            return value.path
        cell = plain_cell(value)
        if cell is None or parameter is None or not parameter.to_disk:
            return cell
        if isinstance(cell, str | Path):
            return str(cell)
        return write_object(self._project_dir, name, str(label), value, parameter.store_function)

    def _set(self, which: str, name: str, position: int, value: Any) -> None:
        columns = self._inputs if which == "input" else self._outputs
        if name not in columns:
            columns[name] = [None] * len(self._labels)
            if name not in self._space(which):
                self._space(which)[name] = Parameter()
        columns[name][position] = self._kept(which, name, value, self._labels[position])

    def _sample(self, position: int) -> ExperimentSample:
        return ExperimentSample(
            self.input_rows()(position),
            self.output_rows()(position),
            _STATUSES[self._status[position]],
            self._project_dir,
            id=self._labels[position],
        )

    def _put(self, position: int, sample: ExperimentSample) -> None:
        self._status[position] = sample.job_status.value
        for which, columns, data in (
            ("input", self._inputs, sample._input_data),
            ("output", self._outputs, sample._output_data),
        ):
            for name, cells in columns.items():
                if name not in data:
                    cells[position] = None
            for name, value in data.items():
                self._set(which, name, position, value)

    def _append(self, label: int) -> int:
        self._positions[label] = len(self._labels)
        self._labels.append(label)
        self._status.append(_OPEN)
        for columns in (self._inputs, self._outputs):
            for cells in columns.values():
                cells.append(None)
        return len(self._labels) - 1

    def _next_label(self) -> int:
        # Labels grow by appending, so the last one is nearly always the largest.
        last = self._labels[-1] if self._labels else -1
        return last + 1 if last + 1 == len(self._labels) else max(self._labels, default=-1) + 1

    def _at(self, label: int) -> int:
        if label not in self._positions:
            raise KeyError(f"the table has no experiment {label}")
        return self._positions[label]

    def get_experiment_sample(self, id: int) -> ExperimentSample:
        """Return a copy of one experiment.

        Parameters
        ----------
        id : int
            Its label.

        Returns
        -------
        ExperimentSample
            The experiment; give it to `store_experimentsample` to change the table.

        Raises
        ------
        KeyError
            There is no such experiment.
        """
        return self._sample(self._at(id))

    def store_experimentsample(self, experiment_sample: ExperimentSample, idx: int) -> None:
        """Put an experiment in the place of another, or add it.

        Parameters
        ----------
        experiment_sample : ExperimentSample
            The experiment.
        idx : int
            Its label; a new one is added at the end.
        """
        position = self._positions[idx] if idx in self._positions else self._append(idx)
        self._put(position, experiment_sample)

    def get_open_job(self) -> tuple[int | None, ExperimentSample, Domain]:
        """Mark the first open experiment as in progress and return it.

        Returns
        -------
        label : int or None
            Its label; None where no experiment is open.
        sample : ExperimentSample
            A copy of it.
        domain : Domain
            The domain.
        """
        position = self._status.find(_OPEN)
        if position < 0:
            return None, ExperimentSample(project_dir=self._project_dir), self._domain
        self._status[position] = JobStatus.IN_PROGRESS.value
        return self._labels[position], self._sample(position), self._domain

    # -- as a container ------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[tuple[int, ExperimentSample]]:
        """Yield (label, experiment); what the loop's body changes in the experiment is kept."""
        for position, label in enumerate(list(self._labels)):
            sample = self._sample(position)
            before = (sample.job_status, dict(sample._input_data), dict(sample._output_data))
            try:
                yield label, sample
            finally:
                if _differs(sample, before):
                    self._put(position, sample)

    def __getitem__(self, key: int | slice | Iterable[int]) -> ExperimentData:
        """Return the rows at these positions, with their labels."""
        positions = range(len(self))
        if isinstance(key, slice):
            return self._taken(positions[key])
        if isinstance(key, int) or is_integer(key):
            return self._taken([positions[key]])
        keys = list(key)
        if keys and (isinstance(keys[0], bool) or is_truth(keys[0])):
            return self._taken([p for p, wanted in zip(positions, keys, strict=True) if wanted])
        return self._taken([positions[int(k)] for k in keys])

    def _taken(self, positions: Sequence[int]) -> ExperimentData:
        return self._made_of(
            self._domain.copy(),
            self._project_dir,
            [self._labels[p] for p in positions],
            {name: [cells[p] for p in positions] for name, cells in self._inputs.items()},
            {name: [cells[p] for p in positions] for name, cells in self._outputs.items()},
            bytearray(self._status[p] for p in positions),
        )

    def copy(self) -> ExperimentData:
        """Return a table that can be changed without changing this one."""
        data = self._taken(range(len(self)))
        data._offsets = dict(self._offsets)
        return data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExperimentData):
            return NotImplemented
        return (
            self._labels == other._labels
            and self._status == other._status
            and _present(self._inputs) == _present(other._inputs)
            and _present(self._outputs) == _present(other._outputs)
            and self._domain == other._domain
            and self._project_dir == other._project_dir
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: ExperimentData) -> ExperimentData:
        data = self.reset_index()
        data._add_rows(other)
        return data

    def __repr__(self) -> str:
        import pandas as pd

        inputs, outputs = self.to_pandas(keep_references=True)
        parts = {"jobs": self.jobs.to_frame(""), "input": inputs, "output": outputs}
        return repr(pd.concat({n: part for n, part in parts.items() if part.shape[1]}, axis=1))

    @property
    def index(self) -> pd.Index[Any]:
        """The rows' labels."""
        import pandas as pd

        return pd.Index(self._labels, dtype="int64")

    @property
    def jobs(self) -> pd.Series[Any]:
        """The rows' statuses, as text."""
        import numpy as np
        import pandas as pd

        names = np.array([status.name for status in self.statuses()], dtype=object)
        return pd.Series(names, index=self.index, dtype=object)

    @property
    def domain(self) -> Domain:
        """The domain."""
        return self._domain

    @domain.setter
    def domain(self, domain: Domain) -> None:
        self._domain = domain

    @property
    def project_dir(self) -> Path:
        """The project folder."""
        return self._project_dir

    @project_dir.setter
    def project_dir(self, project_dir: Path | str) -> None:
        if _absolute(project_dir) != self._project_dir:
            self._offsets = {}
        self._project_dir = _absolute(project_dir)

    def set_project_dir(self, project_dir: Path | str, in_place: bool = False) -> ExperimentData | None:
        """Set the project folder, of a copy unless `in_place`."""
        return self._changed(lambda data: setattr(data, "project_dir", project_dir), in_place)

    # -- selecting and changing rows -----------------------------------------------------------

    def _changed(self, change: Callable[[ExperimentData], object], in_place: bool) -> ExperimentData | None:
        data = self if in_place else self.copy()
        change(data)
        return None if in_place else data

    def select(self, indices: int | slice | Iterable[int]) -> ExperimentData:
        """Return the rows at these positions, with their labels."""
        return self[indices]

    def select_with_status(self, status: str | JobStatus) -> ExperimentData:
        """Return the rows that have a status.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The status.

        Returns
        -------
        ExperimentData
            The rows, with their labels.

        Raises
        ------
        ValueError
            There is no such status.
        """
        wanted = JobStatus.of(status).value
        return self._taken([p for p, value in enumerate(self._status) if value == wanted])

    def mark(
        self, indices: int | Iterable[int], status: str | JobStatus, in_place: bool = False
    ) -> ExperimentData | None:
        """Set the status of some experiments.

        Parameters
        ----------
        indices : int or iterable of int
            Their labels.
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The status.
        in_place : bool, default False
            Whether this table is changed; else a copy is.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place`.

        Raises
        ------
        ValueError
            There is no such status.
        KeyError
            There is no such experiment.
        """
        labels = [indices] if isinstance(indices, int) or is_integer(indices) else list(indices)
        positions = [self._at(int(label)) for label in labels]
        value = JobStatus.of(status).value

        def change(data: ExperimentData) -> None:
            for position in positions:
                data._status[position] = value

        return self._changed(change, in_place)

    def mark_all(self, status: str | JobStatus, in_place: bool = False) -> ExperimentData | None:
        """Set the status of all experiments; see `mark`."""
        return self.mark(self._labels, status, in_place)

    def add_experiments(self, data: ExperimentSample | ExperimentData, in_place: bool = False) -> ExperimentData | None:
        """Add one experiment, or those of another table, at the end, with new labels.

        Parameters
        ----------
        data : ExperimentSample or ExperimentData
            What to add.
        in_place : bool, default False
            Whether this table is changed; else a copy is.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place`.
        """
        if isinstance(data, ExperimentSample):
            return self._changed(lambda table: table._put(table._append(table._next_label()), data), in_place)
        return self._changed(lambda table: table._add_rows(data), in_place)

    def _add_rows(self, other: ExperimentData) -> None:
        old, new = len(self), len(other)
        first = self._next_label()
        added = list(range(first, first + new))
        for mine, theirs in ((self._inputs, other._inputs), (self._outputs, other._outputs)):
            for name in theirs:
                mine.setdefault(name, [None] * old)
            for name, cells in mine.items():
                cells.extend(theirs.get(name, [None] * new))
        self._domain = self._domain + other._domain
        self._status += other._status
        self._positions.update({label: old + at for at, label in enumerate(added)})
        self._labels += added

    def remove_rows_bottom(self, number_of_rows: int, in_place: bool = False) -> ExperimentData | None:
        """Drop the last rows, of a copy unless `in_place`."""
        kept = self._taken(range(max(0, len(self) - number_of_rows)))
        kept._offsets = dict(self._offsets)
        if not in_place:
            return kept
        self.__dict__.update(kept.__dict__)
        return None

    def reset_index(self) -> ExperimentData:
        """Return a copy whose labels count from 0."""
        data = self.copy()
        data._labels = list(range(len(data)))
        data._positions = {label: label for label in data._labels}
        return data

    def sort(self, criterion: Callable[[ExperimentSample], Any], reverse: bool = False) -> ExperimentData:
        """Return the rows in another order, with their labels.

        Parameters
        ----------
        criterion : callable
            ``criterion(experiment_sample)`` is what the rows are sorted by.
        reverse : bool, default False
            Whether the largest comes first.

        Returns
        -------
        ExperimentData
            The sorted rows.
        """
        order = sorted(range(len(self)), key=lambda at: criterion(self._sample(at)), reverse=reverse)
        data = self._taken(order)
        data._offsets = dict(self._offsets)
        return data

    def join(self, experiment_data: ExperimentData) -> ExperimentData:
        """Return a table with the columns of both; rows are matched by position."""
        if not len(self):
            return experiment_data.reset_index()
        data = self.reset_index()
        data._domain = data._domain + experiment_data._domain
        for position in range(min(len(self), len(experiment_data))):
            data._put(position, data._sample(position) + experiment_data._sample(position))
        return data

    def replace_nan(self, value: Any, in_place: bool = False) -> ExperimentData | None:
        """Replace missing values in every column, of a copy unless `in_place`."""
        return self._map_cells(lambda cell: value if cell is None else cell, in_place)

    def round(self, decimals: int, in_place: bool = False) -> ExperimentData | None:
        """Round floats to some decimals, of a copy unless `in_place`."""
        return self._map_cells(lambda cell: round(cell, decimals) if isinstance(cell, float) else cell, in_place)

    def _map_cells(self, change: Callable[[Any], Any], in_place: bool) -> ExperimentData | None:
        def change_all(data: ExperimentData) -> None:
            for columns in (data._inputs, data._outputs):
                for name, cells in columns.items():
                    columns[name] = [change(cell) for cell in cells]

        return self._changed(change_all, in_place)

    # -- answers -------------------------------------------------------------------------------

    def is_all_finished(self) -> bool:
        """Tell whether every experiment is finished."""
        return self._status.count(_FINISHED) == len(self._status)

    def get_n_best_output(self, n_samples: int, output_name: str = "y") -> ExperimentData:
        """Return the experiments with the smallest values of an output.

        Parameters
        ----------
        n_samples : int
            How many.
        output_name : str, default "y"
            The output; experiments without a value are left out.

        Returns
        -------
        ExperimentData
            The best first.

        Raises
        ------
        KeyError
            There is no such output.
        """
        if output_name not in self._outputs:
            raise KeyError(f"the table has no output {output_name!r}")
        cells = self._outputs[output_name]
        present = [p for p, cell in enumerate(cells) if cell is not None]
        return self._taken(sorted(present, key=cells.__getitem__)[:n_samples])

    def to_pandas(self, keep_references: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the inputs and the outputs as two DataFrames.

        Parameters
        ----------
        keep_references : bool, default False
            Whether objects on disk are left there; the DataFrames then hold their paths.

        Returns
        -------
        inputs, outputs : pandas.DataFrame
            Copies; floats are float64, integers int64 (Int64 where some are missing), truth values
            bool (boolean), all else object with None for a missing value.
        """
        return self._frame("input", keep_references), self._frame("output", keep_references)

    def _frame(self, which: str, keep_references: bool) -> pd.DataFrame:
        import pandas as pd

        columns = self._inputs if which == "input" else self._outputs
        space, index = self._space(which), self.index
        built = {}
        for name, cells in columns.items():
            values = cells
            if name in space and space[name].to_disk and not keep_references:
                refer_to = space[name].refer_to
                values = [None if c is None else refer_to(c).load(self._project_dir) for c in cells]
            built[name] = column_of(values, index)
        return pd.DataFrame(built, index=index)

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and the outputs as two arrays of shape (rows, columns)."""
        inputs, outputs = self.to_pandas()
        return inputs.to_numpy(), outputs.to_numpy()


def _absolute(project_dir: Path | str | None) -> Path:
    return Path.cwd() if project_dir is None else Path(project_dir).absolute()


def _mark(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _padded(columns: _Columns, n: int) -> _Columns:
    return {name: cells + [None] * (n - len(cells)) for name, cells in columns.items()}


def _present(columns: _Columns) -> _Columns:
    """Return the columns that hold anything, in a form that can be compared."""
    plain = (type(None), bool, int, float, str)
    return {
        name: [cell if isinstance(cell, plain) else to_jsonable(cell) for cell in cells]
        for name, cells in columns.items()
        if any(cell is not None for cell in cells)
    }


def _differs(sample: ExperimentSample, before: tuple[JobStatus, Any, Any]) -> bool:
    status, inputs, outputs = before
    return (
        sample.job_status is not status
        or not _same(sample._input_data, inputs)
        or not _same(sample._output_data, outputs)
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)


def _n_rows(data: Any) -> int:
    return len(data) if is_frame(data) or isinstance(data, list | tuple) else 0


def _columns_of(data: Any, space: Mapping[str, Parameter], which: str) -> _Columns:
    if data is None:
        return {}
    if isinstance(data, Path | str):
        path = Path(data).with_suffix(".csv")
        columns = read_csv(path.read_bytes(), str(path))[1]
        return {name: decode_column(c, None, space.get(name)) for name, c in columns.items()}
    if is_array(data):
        import pandas as pd

        data = pd.DataFrame(data if data.ndim > 1 else data.reshape(-1, 1))
        data.columns = pd.Index(_names(data.shape[1], list(space), which))
    if is_frame(data):
        _check_names(data.columns)
        return {str(name): cells_of(data[name]) for name in data.columns}
    if isinstance(data, Mapping):
        _check_columns(data)
        return {str(name): plain_cells(values) for name, values in data.items()}
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        _check_names(names)
        return {str(name): plain_cells(row.get(name) for row in data) for name in names}
    raise DataError(
        f"{which} data of type {type(data).__name__} can't be read",
        "Give a list of dicts, a dict of columns, a DataFrame, a NumPy array or a CSV file.",
    )


def _check_columns(columns: Mapping[Any, Any]) -> None:
    _check_names(columns)
    for name, values in columns.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            found = "text" if isinstance(values, str) else repr(values)
            raise DataError(f"column {name!r} is {found}, not a list of values", "Give one value per experiment.")
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name} ({len(values)})" for name, values in columns.items())
        raise DataError(f"the columns have different lengths: {lengths}", "Give None where a value is missing.")


def _check_names(names: Iterable[Any]) -> None:
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise DataError(f"two columns are named {name!r}", "Give each a name of its own.")
        seen.add(name)


def _names(n: int, names: list[str], which: str) -> list[str]:
    if names:
        if len(names) != n:
            raise DataError(f"the array has {n} columns, but the domain {len(names)} {which}s")
        return names
    if which == "output" and n == 1:
        return ["y"]
    return [f"{'x' if which == 'input' else 'y'}{i}" for i in range(n)]


def _statuses_of(jobs: Any) -> list[Any]:
    if jobs is None:
        return []
    if isinstance(jobs, Path | str):
        path = Path(jobs).with_suffix(".csv")
        return _single_column(read_csv(path.read_bytes(), str(path))[1], path)
    return list(jobs)


def _single_column(columns: dict[str, list[str]], path: Path) -> list[str]:
    if len(columns) != 1:
        raise DataError(f"{path} has {len(columns)} columns of statuses, not one")
    return next(iter(columns.values()))


def _decode_files(project_dir: Path, contents: Mapping[str, bytes]) -> tuple[ExperimentData, dict[str, int]]:
    base = data_folder(project_dir)
    try:
        noted = json.loads(contents["domain.json"])
        domain = Domain.from_json(noted)
    except ValueError as error:
        raise DataError(f"{base / 'domain.json'} is no JSON: {error}") from error
    notes = noted.get("columns", {})
    labels, columns = {}, {}
    for name in ("input", "output", "jobs"):
        path = base / f"{name}.csv"
        labels[name], columns[name] = read_csv(contents[path.name], str(path))
    if not labels["input"] == labels["output"] == labels["jobs"]:
        raise DataError(
            f"the files in {base} don't belong together: input.csv has {len(labels['input'])} rows, "
            f"output.csv {len(labels['output'])}, jobs.csv {len(labels['jobs'])}, or other labels",
            "One of them was cut short or changed by hand: bring back a copy of all four.",
        )
    statuses = [JobStatus.of(text).value for text in _single_column(columns["jobs"], base)]
    decoded = {
        which: {
            name: decode_column(texts, notes.get(which, {}).get(name), space.get(name))
            for name, texts in columns[which].items()
        }
        for which, space in (("input", domain.input_space), ("output", domain.output_space))
    }
    table = ExperimentData._made_of(
        domain, project_dir, labels["input"], decoded["input"], decoded["output"],
        bytearray(statuses),
    )  # fmt: skip
    return table, dict(noted.get("folded", {}))
