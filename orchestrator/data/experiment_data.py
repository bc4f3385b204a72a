"""The experiments of a study: made of data, kept in files, selected and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.data.columns import column_of, plain_cell
from orchestrator.data.domain import Domain
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.files import data_folder, locked, read_snapshot, write_table
from orchestrator.data.job_status import JobStatus
from orchestrator.data.layout import StoredTable, decode_files, encode_files
from orchestrator.data.matching import FoldReport, match_results
from orchestrator.data.numpy_types import is_integer, is_truth
from orchestrator.data.parameters import Parameter
from orchestrator.data.references import Reference, write_object
from orchestrator.data.results import ResultFile
from orchestrator.data.sources import Source, columns_of, n_rows_of, statuses_of
from orchestrator.data.table import Table
from orchestrator.data.values import is_missing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["ExperimentData"]


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
        input_data: Source | None = None,
        output_data: Source | None = None,
        jobs: pd.Series[Any] | Sequence[str] | Path | str | None = None,
        project_dir: Path | str | None = None,
    ) -> None:
        if not isinstance(domain, Domain):
            domain = Domain() if domain is None else Domain.from_file(domain)
        self._domain = domain
        self._project_dir = _absolute(project_dir)
        self.fold_report = FoldReport()
        # Token of the job whose work the table is; the stored table carries it.
        self.stored_by: str | None = None
        # How many bytes of each result file are in the table already.
        self._offsets: dict[str, int] = {}
        inputs = columns_of(input_data, self._domain.input_space, "input")
        outputs = columns_of(output_data, self._domain.output_space, "output")
        statuses = statuses_of(jobs)
        lengths = [len(cells) for columns in (inputs, outputs) for cells in columns.values()]
        n = max([*lengths, len(statuses), n_rows_of(input_data)], default=0)
        self._hold(Table(list(range(n)), inputs, outputs, bytearray(n)))
        for position in range(n):
            self._table.status[position] = self._first_status(position, statuses).value

    def _first_status(self, position: int, statuses: Sequence[Any]) -> JobStatus:
        if position < len(statuses) and not is_missing(statuses[position]):
            return JobStatus.of(statuses[position])
        is_present = any(cells[position] is not None for cells in self._table.outputs.values())
        return JobStatus.FINISHED if is_present else JobStatus.OPEN

    def _hold(self, table: Table) -> None:
        """Take a table over, and let the domain know the names of its columns."""
        self._table = table
        for name in table.inputs:
            if name not in self._domain.input_space:
                self._domain.add_parameter(name)
        for name in table.outputs:
            self._domain.add_output(name, exist_ok=True)
        for which in ("input", "output"):
            columns = table.columns(which)
            for name, parameter in self._space(which).items():
                if parameter.to_disk and name in columns:
                    columns[name] = [
                        self._cell(which, name, cell, label)
                        for cell, label in zip(columns[name], table.labels, strict=True)
                    ]

    @classmethod
    def _made_of(cls, domain: Domain, project_dir: Path, table: Table) -> Self:
        data = cls(domain, project_dir=project_dir)
        data._hold(table)
        return data

    def _taken(self, positions: Sequence[int]) -> Self:
        return self._made_of(self._domain.copy(), self._project_dir, self._table.take(positions))

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

    # -- whole columns -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._table)

    @property
    def domain(self) -> Domain:
        """The domain."""
        return self._domain

    @domain.setter
    def domain(self, domain: Domain) -> None:
        self._domain = domain

    @property
    def index(self) -> pd.Index[Any]:
        """The rows' labels."""
        import pandas as pd

        return pd.Index(self._table.labels, dtype="int64")

    @property
    def jobs(self) -> pd.Series[Any]:
        """The rows' statuses, as text."""
        import numpy as np
        import pandas as pd

        names = np.array([status.name for status in self.statuses()], dtype=object)
        return pd.Series(names, index=self.index, dtype=object)

    def labels(self) -> list[int]:
        """Return the rows' labels."""
        return list(self._table.labels)

    def statuses(self) -> list[JobStatus]:
        """Return the rows' statuses."""
        return self._table.statuses()

    def input_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function from a position (not a label) to that row's inputs."""
        return self._rows("input")

    def output_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function from a position (not a label) to that row's outputs."""
        return self._rows("output")

    def _rows(self, which: str) -> Callable[[int], dict[str, Any]]:
        columns, space = self._table.columns(which), self._space(which)
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
        for position in self._table.positions_with(JobStatus.OPEN):
            yield self._table.labels[position], inputs(position), outputs(position)

    def is_all_finished(self) -> bool:
        """Whether every experiment is finished."""
        return self._table.status.count(JobStatus.FINISHED.value) == len(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExperimentData):
            return NotImplemented
        return self._table == other._table and self._domain == other._domain and self._project_dir == other._project_dir

    __hash__ = None  # type: ignore[assignment]

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

        columns, space, index = self._table.columns(which), self._space(which), self.index
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

    def __repr__(self) -> str:
        import pandas as pd

        inputs, outputs = self.to_pandas(keep_references=True)
        parts = {"jobs": self.jobs.to_frame(""), "input": inputs, "output": outputs}
        return repr(pd.concat({n: part for n, part in parts.items() if part.shape[1]}, axis=1))

    # -- one experiment ------------------------------------------------------------------------

    def _sample(self, position: int) -> ExperimentSample:
        return ExperimentSample(
            self.input_rows()(position),
            self.output_rows()(position),
            self._table.status_at(position),
            self._project_dir,
            id=self._table.labels[position],
        )

    def _put(self, position: int, sample: ExperimentSample) -> None:
        self._table.status[position] = sample.job_status.value
        for which, data in (("input", sample._input_data), ("output", sample._output_data)):
            self._table.clear(which, position, keep=data)
            for name, value in data.items():
                self._set(which, name, position, value)

    def _set(self, which: str, name: str, position: int, value: Any) -> None:
        space = self._space(which)
        if name not in self._table.columns(which) and name not in space:
            space[name] = Parameter()
        self._table.set(which, name, position, self._cell(which, name, value, self._table.labels[position]))

    def _space(self, which: str) -> dict[str, Parameter]:
        return self._domain.input_space if which == "input" else self._domain.output_space

    def _cell(self, which: str, name: str, value: Any, label: int) -> Any:
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
        return self._sample(self._table.position(id))

    def store_experimentsample(self, experiment_sample: ExperimentSample, idx: int) -> None:
        """Put an experiment in the place of another, or add it.

        Parameters
        ----------
        experiment_sample : ExperimentSample
            The experiment.
        idx : int
            Its label; a new one is added at the end.
        """
        position = self._table.position(idx) if idx in self._table else self._table.append(idx)
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
        position = next(self._table.positions_with(JobStatus.OPEN), None)
        if position is None:
            return None, ExperimentSample(project_dir=self._project_dir), self._domain
        self._table.status[position] = JobStatus.IN_PROGRESS.value
        return self._table.labels[position], self._sample(position), self._domain

    def __iter__(self) -> Iterator[tuple[int, ExperimentSample]]:
        """Yield (label, experiment); what the loop's body changes in the experiment is kept."""
        for position, label in enumerate(list(self._table.labels)):
            sample = self._sample(position)
            before = (sample.job_status, dict(sample._input_data), dict(sample._output_data))
            try:
                yield label, sample
            finally:
                if _differs(sample, before):
                    self._put(position, sample)

    # -- files ---------------------------------------------------------------------------------

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
        """Set the project folder.

        Parameters
        ----------
        project_dir : Path or str
            The folder; a relative one counts from the current folder.
        in_place : bool, default False
            Whether this table is changed; else a copy is.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place`.
        """
        return self._changed(lambda data: setattr(data, "project_dir", project_dir), in_place)

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
        stored = decode_files(data_folder(project_dir), snapshot.contents)
        table = cls._made_of(stored.domain, project_dir, stored.table)
        names = None if folders is None else {folder.name for folder in folders}
        paths = [p for p in snapshot.results if names is None or p.parent.name in names]
        # What the stored table has folded already stays folded once: the user may have changed it.
        read = [ResultFile.read(path, stored.folded.get(_result_name(path), 0)) for path in paths]
        table.fold_report = table.fold(read)
        table._offsets = {**stored.folded, **{_result_name(file.path): file.end for file in read}}
        return table, table.fold_report

    def fold(self, result_files: Iterable[ResultFile]) -> FoldReport:
        """Write results to the rows with the same inputs, in memory.

        Parameters
        ----------
        result_files : iterable of ResultFile
            The results. To fold the same files again changes nothing.

        Returns
        -------
        FoldReport
            Counts, and the results that no experiment has the inputs of.
        """
        updates, report = match_results(self._table, result_files)
        for position, (status, outputs) in updates.items():
            self._table.status[position] = status.value
            for name, value in outputs.items():
                self._set("output", name, position, value)
        return report

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
        if project_dir is not None:
            self.project_dir = project_dir
        contents = self.to_files(self._project_dir)
        with locked(self._project_dir):
            write_table(self._project_dir, contents)

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
        gone = {Path(folder).name for folder in consumed}
        same = _absolute(project_dir) == self._project_dir
        folded = {m: end for m, end in self._offsets.items() if same and m.split("/")[0] not in gone}
        return encode_files(StoredTable(self._domain, self._table, folded, self.stored_by))

    # -- selecting -----------------------------------------------------------------------------

    def __getitem__(self, key: int | slice | Iterable[int]) -> Self:
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

    def select(self, indices: int | slice | Iterable[int]) -> ExperimentData:
        """Return some of the rows, with their labels.

        Parameters
        ----------
        indices : int, slice, or iterable of int or bool
            Positions from 0, not labels; or a truth value for each row.

        Returns
        -------
        ExperimentData
            The rows, in the order of `indices`.
        """
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
        return self._taken(list(self._table.positions_with(JobStatus.of(status))))

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
        if output_name not in self._table.outputs:
            raise KeyError(f"the table has no output {output_name!r}")
        cells = self._table.outputs[output_name]
        present = [p for p, cell in enumerate(cells) if cell is not None]
        return self._taken(sorted(present, key=cells.__getitem__)[:n_samples])

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

    def copy(self) -> ExperimentData:
        """Return a table that can be changed without changing this one."""
        data = self._taken(range(len(self)))
        data._offsets = dict(self._offsets)
        return data

    def reset_index(self) -> ExperimentData:
        """Return a copy whose labels count from 0."""
        data = self.copy()
        data._table.renumber()
        return data

    # -- changing ------------------------------------------------------------------------------

    def _changed(self, change: Callable[[ExperimentData], object], in_place: bool) -> ExperimentData | None:
        data = self if in_place else self.copy()
        change(data)
        return None if in_place else data

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
        positions = [self._table.position(int(label)) for label in labels]
        value = JobStatus.of(status).value

        def change(data: ExperimentData) -> None:
            for position in positions:
                data._table.status[position] = value

        return self._changed(change, in_place)

    def mark_all(self, status: str | JobStatus, in_place: bool = False) -> ExperimentData | None:
        """Set the status of all experiments.

        Parameters
        ----------
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
        """
        return self.mark(self._table.labels, status, in_place)

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
            sample = data
            return self._changed(lambda data: data.store_experimentsample(sample, data._table.next_label()), in_place)
        return self._changed(lambda mine: mine._add_rows(data), in_place)

    def _add_rows(self, other: ExperimentData) -> None:
        self._table.extend(other._table)
        self._domain = self._domain + other._domain

    def __add__(self, other: ExperimentData) -> ExperimentData:
        data = self.reset_index()
        data._add_rows(other)
        return data

    def join(self, experiment_data: ExperimentData) -> ExperimentData:
        """Return a table with the columns of both; rows are matched by position.

        Parameters
        ----------
        experiment_data : ExperimentData
            The other table; its values win where both have a column of the same name.

        Returns
        -------
        ExperimentData
            As many rows as this table has, with labels from 0; the other table's rows if this one is empty.
        """
        if not len(self):
            return experiment_data.reset_index()
        data = self.reset_index()
        data._domain = data._domain + experiment_data._domain
        for position in range(min(len(self), len(experiment_data))):
            data._put(position, data._sample(position) + experiment_data._sample(position))
        return data

    def remove_rows_bottom(self, number_of_rows: int, in_place: bool = False) -> ExperimentData | None:
        """Drop the last rows.

        Parameters
        ----------
        number_of_rows : int
            How many.
        in_place : bool, default False
            Whether this table is changed; else a copy is.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place`.
        """
        kept = self._taken(range(max(0, len(self) - number_of_rows)))
        kept._offsets = dict(self._offsets)
        if not in_place:
            return kept
        self.__dict__.update(kept.__dict__)
        return None

    def replace_nan(self, value: Any, in_place: bool = False) -> ExperimentData | None:
        """Replace missing values in every column.

        Parameters
        ----------
        value : Any
            What to put in their place.
        in_place : bool, default False
            Whether this table is changed; else a copy is.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place`.
        """
        return self._changed(lambda data: data._table.map_cells(lambda cell: value if cell is None else cell), in_place)

    def round(self, decimals: int, in_place: bool = False) -> ExperimentData | None:
        """Round the floats in every column.

        Parameters
        ----------
        decimals : int
            Digits to keep after the point.
        in_place : bool, default False
            Whether this table is changed; else a copy is.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place`.
        """

        def rounded(cell: Any) -> Any:
            return round(cell, decimals) if isinstance(cell, float) else cell

        return self._changed(lambda data: data._table.map_cells(rounded), in_place)


def _absolute(project_dir: Path | str | None) -> Path:
    return Path.cwd() if project_dir is None else Path(project_dir).absolute()


def _result_name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _differs(sample: ExperimentSample, before: tuple[JobStatus, Any, Any]) -> bool:
    status, inputs, outputs = before
    return (
        sample.job_status is not status
        or not _same(sample._input_data, inputs)
        or not _same(sample._output_data, outputs)
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)
