"""`ExperimentData`: the experiments of a study, as a table in memory and as files on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.data.column import Column
from orchestrator.data.columns import plain_cell
from orchestrator.data.domain import Domain
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus
from orchestrator.data.labels import Labels
from orchestrator.data.numpy_types import is_integer
from orchestrator.data.of_f3dasm import is_of_f3dasm, our_domain, our_sample, our_table
from orchestrator.data.parameters import Parameter
from orchestrator.data.parts import move_parameter, only_parameter
from orchestrator.data.positions import positions_of
from orchestrator.data.references import Reference, copy_objects, write_object
from orchestrator.data.rows import Rows, rows_with, samples
from orchestrator.data.table import Table
from orchestrator.data.values import check_name, is_missing
from orchestrator.data.waiting import MAX_TRIES, found
from orchestrator.loading import is_loading_again

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from orchestrator.data.layout import Files
    from orchestrator.data.matching import FoldReport
    from orchestrator.data.merging import Merged, Origin
    from orchestrator.data.results import ResultFile
    from orchestrator.data.sources import Source

__all__ = ["ExperimentData"]


class ExperimentData:
    """Experiments: one row each, with inputs, outputs and a status.

    Each row has a label, an integer that does not change when the table is sorted or rows are selected. A missing
    value is an absent name in an `ExperimentSample`, and NaN or None in a DataFrame.

    Parameters
    ----------
    domain : Domain, mapping, Path, str or None, default None
        The domain, a configuration of it as in `Domain.from_yaml`, or the path of its JSON file. By default it is
        created from the names in the data.
    input_data, output_data : list of dict, dict of list, DataFrame, ndarray, Path, str or None, default None
        The inputs and the outputs. A dict has one list per column. An array has the shape (rows, columns); its columns
        have the names in the domain, else ``x0``, ``x1``, ... and ``y`` or ``y0``, ``y1``, ... A path names a CSV file
        in f3dasm's layout.
    jobs : pandas.Series, sequence of str, Path, str or None, default None
        The statuses, or the path of their CSV file. By default an experiment with outputs is FINISHED, and one without
        is OPEN.
    project_dir : Path, str or None, default None
        The project folder. By default the current folder.

    Raises
    ------
    DataError
        If the data have another type, duplicate names, or columns of different lengths.

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
        domain: Domain | Mapping[str, Any] | Path | str | None = None,
        input_data: Source | None = None,
        output_data: Source | None = None,
        jobs: pd.Series[Any] | Sequence[str] | Path | str | None = None,
        project_dir: Path | str | None = None,
    ) -> None:
        # Imported here, as in the methods below: most tasks import this class with their study, and use no table.
        from orchestrator.data.matching import FoldReport
        from orchestrator.data.sources import columns_of, n_rows_of, statuses_of

        self._domain = _domain_of(domain)
        self._project_dir = _absolute(project_dir)
        self.fold_report = FoldReport()
        # Token of the job that produced the table; it is stored with the table.
        self.stored_by: str | None = None
        # Number of bytes of each result file that are folded into the table.
        self._offsets: dict[str, int] = {}
        # The stored table that this one was made from.
        self._origin: Origin | None = None
        inputs = columns_of(input_data, self._domain.input_space, "input")
        outputs = columns_of(output_data, self._domain.output_space, "output")
        statuses = statuses_of(jobs)
        lengths = [len(column) for columns in (inputs, outputs) for column in columns.values()]
        n = max([*lengths, len(statuses), n_rows_of(input_data)], default=0)
        self._set_table(Table(Labels(range(n)), inputs, outputs, bytearray(n)))
        self._table.status[:] = self._first_statuses(statuses)
        self._add_declared_columns()

    def _first_statuses(self, statuses: Sequence[Any]) -> bytearray:
        """Return the given statuses; for other rows, FINISHED if the row has an output, else OPEN."""
        values, n = bytearray(len(self)), len(self)
        if not all(not is_missing(status) for status in statuses) or len(statuses) < n:
            for column in self._table.outputs.values():
                at = -1
                present = column.present()
                while (at := present.find(1, at + 1)) >= 0:
                    values[at] = JobStatus.FINISHED.value
        for position, status in enumerate(statuses):
            if not is_missing(status):
                values[position] = JobStatus.of(status).value
        return values

    def _set_table(self, table: Table) -> None:
        """Use a table, and add the names of its columns to the domain."""
        self._table = table
        for name in table.inputs:
            if name not in self._domain.input_space:
                self._domain.add_parameter(name)
        for name in table.outputs:
            self._domain.add_found_output(name)
        for which in ("input", "output"):
            columns = table.columns(which)
            for name, parameter in self._space(which).items():
                if parameter.to_disk and name in columns:
                    cells = zip(columns[name], table.labels, strict=True)
                    columns[name] = Column([self._cell(which, name, cell, label) for cell, label in cells])

    def _add_declared_columns(self) -> None:
        """Give each output of the domain a column, so that it is there before any experiment has a value."""
        for name in self._domain.output_space:
            if name not in self._table.outputs:
                self._table.outputs[name] = Column.missing(len(self._table))

    @classmethod
    def _from_table(cls, domain: Domain, project_dir: Path, table: Table) -> Self:
        data = cls(domain, project_dir=project_dir)
        data._set_table(table)
        return data

    def _take(self, positions: Sequence[int]) -> Self:
        return self._with(self._table.take(positions))

    def _with(self, table: Table) -> Self:
        """Return another table in the same domain and folder."""
        data = self._from_table(self._domain.copy(), self._project_dir, table)
        data._origin = self._origin
        return data

    @classmethod
    def from_data(
        cls,
        data: Mapping[int, ExperimentSample] | None = None,
        domain: Domain | None = None,
        project_dir: Path | str | None = None,
    ) -> ExperimentData:
        """Create a table from single experiments.

        Parameters
        ----------
        data : Mapping of int to ExperimentSample or None, default None
            The experiments by label.
        domain : Domain or None, default None
            The domain. By default it is created from the names in the data.
        project_dir : Path, str or None, default None
            The project folder. By default the current folder.

        Returns
        -------
        ExperimentData
            The table.

        Examples
        --------
        >>> data = ExperimentData.from_data({7: ExperimentSample({"x": 1.0})})
        >>> data.index.tolist()
        [7]
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
        """The labels of the rows."""
        import numpy as np
        import pandas as pd

        consecutive = self._table.labels.consecutive
        labels = list(self._table.labels) if consecutive is None else consecutive
        return pd.Index(np.fromiter(labels, np.int64, len(labels)))

    @property
    def jobs(self) -> pd.Series[Any]:
        """The statuses of the rows as text, such as ``"OPEN"``; the index holds the labels."""
        import numpy as np
        import pandas as pd

        names = np.array([status.name for status in JobStatus], dtype=object)
        return pd.Series(names[np.frombuffer(self._table.status, np.uint8)], index=self.index, dtype=object)

    @property
    def records(self) -> pd.DataFrame:
        """How each experiment got its result, with the labels as index; read from files each time.

        The columns are: `step`, `iteration` (Int64; in nested loops text such as `3.1`) and `attempt`; `seconds` and
        `cpu_seconds`; `memory`, the peak memory in MB of the process that evaluated it so far, or of the largest
        program that it has started; `host`; `started_at` in UTC; `error`, the type of the exception of a failed
        experiment. They are missing for an experiment that is open, or that no step of a run evaluated.
        """
        from orchestrator.data.records import frame_of_records

        return frame_of_records(self)

    def labels(self) -> list[int]:
        """Return the labels of the rows."""
        return list(self._table.labels)

    def statuses(self) -> list[JobStatus]:
        """Return the statuses of the rows."""
        return self._table.statuses()

    def input_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the inputs of the row at a position (not a label)."""
        return Rows(self._table.inputs, self._domain.input_space).at

    def output_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the outputs of the row at a position (not a label)."""
        return Rows(self._table.outputs, self._domain.output_space).at

    def open_rows(self) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Yield the open experiments.

        Yields
        ------
        label : int
            The row's label.
        inputs : dict
            Its inputs by name, as Python values, without missing ones; with None for an input that may be None.
        outputs : dict
            Its outputs by name, as Python values, without missing ones.
        """
        spaces = (self._domain.input_space, self._domain.output_space)
        yield from rows_with(self._table, spaces, JobStatus.OPEN)

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
            Whether the DataFrames contain the paths of objects on disk, and not the objects.

        Returns
        -------
        inputs, outputs : pandas.DataFrame
            Copies, with the labels as index. Columns of floats are float64, of integers int64, of truth values bool;
            with missing values, integers are Int64 and truth values are boolean. Other columns are object, with None
            for a missing value. An object on disk is loaded when it is looked at.

        Examples
        --------
        >>> data = ExperimentData(input_data={"x": [1.0, 2.0]}, output_data={"y": [3, None]})
        >>> inputs, outputs = data.to_pandas()
        >>> str(outputs["y"].dtype)
        'Int64'
        """
        return self._frame("input", keep_references), self._frame("output", keep_references)

    def _frame(self, which: str, keep_references: bool) -> pd.DataFrame:
        self._add_declared_columns()
        columns, space = self._table.columns(which), self._space(which)
        objects = {} if keep_references else {name: p for name, p in space.items() if p.to_disk}
        from orchestrator.data.frames import frame_of

        return frame_of(columns, self.index, objects, self._project_dir)

    def to_numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and the outputs as two arrays of shape (rows, columns).

        Returns
        -------
        inputs, outputs : numpy.ndarray
            Of the type that all columns have in common; object if there is none.
        """
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

    def _set_sample(self, position: int, sample: ExperimentSample) -> None:
        self._set_row(position, sample.job_status, {"input": sample._input_data, "output": sample._output_data})

    def _set_row(self, position: int, status: JobStatus, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Write a status, and the inputs, the outputs, or both; what has no name in them is missing then."""
        self._table.set_status([position], status)
        for which, data in values.items():
            self._table.clear(which, position, keep=data)
            for name, value in data.items():
                self._set_value(which, name, position, value)

    def _set_value(self, which: str, name: str, position: int, value: Any) -> None:
        space = self._space(which)
        if name not in self._table.columns(which) and name not in space:
            check_name(name, which)
            space[name] = Parameter()
            if which == "output":
                self._domain.found_outputs.add(name)
        self._table.set(which, name, position, self._cell(which, name, value, self._table.labels[position]))

    def _space(self, which: str) -> dict[str, Parameter]:
        return self._domain.input_space if which == "input" else self._domain.output_space

    def _cell(self, which: str, name: str, value: Any, label: int) -> Any:
        """Return the cell of a value: an object on disk is written to its file, and the cell is its path."""
        space = self._space(which)
        parameter = space.get(name)
        if isinstance(value, Reference):
            if parameter is None or not parameter.to_disk:
                space[name] = Parameter(True, None, value.load_function, value.load_kwargs)
                self._write_objects(which, name)
            return value.path
        cell = plain_cell(value)
        if cell is None or parameter is None or not parameter.to_disk:
            return cell
        if isinstance(cell, str | Path):
            return str(cell)
        return write_object(self._project_dir, name, str(label), value, parameter.store_function)

    def _write_objects(self, which: str, name: str) -> None:
        """Write the objects that a column has to their own files: from now on, its objects are on disk."""
        column = self._table.columns(which).get(name, ())
        for position, cell in enumerate(column):
            if cell is not None:
                self._table.set(which, name, position, self._cell(which, name, cell, self._table.labels[position]))

    def get_experiment_sample(self, id: int) -> ExperimentSample:
        """Return a copy of one experiment.

        Parameters
        ----------
        id : int
            Its label.

        Returns
        -------
        ExperimentSample
            The experiment. `store_experimentsample` writes it back to the table.

        Raises
        ------
        KeyError
            If no experiment has this label.

        Examples
        --------
        >>> data = ExperimentData(input_data=[{"x": 1.0}])
        >>> sample = data.get_experiment_sample(0)
        >>> sample.store("y", 2.0)
        >>> data.store_experimentsample(sample, 0)
        >>> data.get_experiment_sample(0).output_data
        {'y': 2.0}
        """
        return self._sample(self._table.position(id))

    def store_experimentsample(
        self, experiment_sample: ExperimentSample, idx: int, domain: Domain | None = None
    ) -> None:
        """Replace an experiment, or add one.

        Parameters
        ----------
        experiment_sample : ExperimentSample
            The experiment.
        idx : int
            Its label. An experiment with a new label is added at the end.
        domain : Domain or None, default None
            A new domain of the table. By default the domain is not replaced.
        """
        if domain is not None:
            self._domain = our_domain(domain)
        experiment_sample = our_sample(experiment_sample, idx, self._project_dir)
        position = self._table.position(idx) if idx in self._table else self._table.append(idx)
        self._set_sample(position, experiment_sample)

    def get_open_job(self) -> tuple[int | None, ExperimentSample, Domain]:
        """Mark the first open experiment as IN_PROGRESS and return it.

        Returns
        -------
        label : int or None
            Its label; None if no experiment is open.
        sample : ExperimentSample
            A copy of the experiment; an empty one if no experiment is open.
        domain : Domain
            The domain.
        """
        position = next(iter(self._table.positions_with(JobStatus.OPEN)), None)
        if position is None:
            return None, ExperimentSample(project_dir=self._project_dir), self._domain
        self._table.set_status([position], JobStatus.IN_PROGRESS)
        return self._table.labels[position], self._sample(position), self._domain

    def __iter__(self) -> Iterator[tuple[int, ExperimentSample]]:
        """Yield (label, experiment). The table takes over what the loop's body changes in the experiment."""
        return self._samples(lambda at, sample: self._set_row(at, sample.job_status, sample._changed_data()))

    def _samples(self, store: Callable[[int, ExperimentSample], None]) -> Iterator[tuple[int, ExperimentSample]]:
        spaces = (self._domain.input_space, self._domain.output_space)
        return samples(self._table, spaces, self._project_dir, store)

    # -- files ---------------------------------------------------------------------------------

    @property
    def project_dir(self) -> Path:
        """The project folder."""
        return self._project_dir

    @project_dir.setter
    def project_dir(self, project_dir: Path | str) -> None:
        # The same folder may have several names: by a link, or by "..".
        if _absolute(project_dir).resolve() != self._project_dir.resolve():
            self._offsets, self._origin, self._table.stored = {}, None, {}
        self._project_dir = _absolute(project_dir)

    def set_project_dir(self, project_dir: Path | str, in_place: bool = False) -> ExperimentData | None:
        """Set the project folder.

        Parameters
        ----------
        project_dir : Path or str
            The folder. A relative path is relative to the current folder.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.
        """
        return self._apply(lambda data: setattr(data, "project_dir", project_dir), in_place)

    @classmethod
    def from_file(
        cls,
        project_dir: Path | str,
        wait_for_creation: bool = False,
        max_tries: int = MAX_TRIES,
        *,
        as_edited: bool = False,
    ) -> ExperimentData:
        """Read the table of a project folder, including results that are not yet folded into it.

        Parameters
        ----------
        project_dir : Path or str
            The folder that contains ``experiment_data``. Under Hydra, a relative path may also be relative to the
            folder in which the program was started.
        wait_for_creation : bool, default False
            Whether to wait until the table is there.
        max_tries : int, default 10
            Number of attempts with `wait_for_creation=True`; they are 5 seconds apart.
        as_edited : bool, default False
            Whether to take a file that has changed since it was stored, also if its values no longer have the types
            of their columns.

        Returns
        -------
        ExperimentData
            The table. Its `fold_report` counts the results that were not yet folded.

        Raises
        ------
        FileNotFoundError
            If the folder has no table, or has none after the last attempt.
        DataError
            If the files can't be read, don't belong together, or one was damaged after it was stored.

        Examples
        --------
        >>> ExperimentData(input_data=[{"x": 1.0}]).store("project")
        >>> len(ExperimentData.from_file("project"))
        1
        """

        def read(folder: Path) -> ExperimentData:
            return cls.load(folder, as_edited=as_edited)[0]

        table = found(read, project_dir, wait=wait_for_creation, max_tries=max_tries)
        table.stored_by = None  # if the user stores the table, it is no longer as the job left it
        return table

    @classmethod
    def load(
        cls, project_dir: Path | str, folders: Iterable[Path] | None = None, *, as_edited: bool = False
    ) -> tuple[ExperimentData, FoldReport]:
        """Read the table of a project folder and fold result files into it, in memory.

        Parameters
        ----------
        project_dir : Path or str
            The folder that contains ``experiment_data``.
        folders : iterable of Path or None, default None
            The folders of result files to fold. By default all.
        as_edited : bool, default False
            As in `from_file`.

        Returns
        -------
        table : ExperimentData
            The table.
        report : FoldReport
            Counts of the folded results, and the results that belong to no row.

        Raises
        ------
        FileNotFoundError
            If the folder has no table.
        DataError
            If the files can't be read, or don't belong together.
        """
        from orchestrator.data.files import data_folder, read_snapshot
        from orchestrator.data.layout import decode_files
        from orchestrator.data.merging import Origin
        from orchestrator.data.results import ResultFile

        project_dir = _absolute(project_dir)
        snapshot = read_snapshot(project_dir)
        stored = decode_files(data_folder(project_dir), snapshot.contents, as_edited=as_edited)
        table = cls._from_table(stored.domain, project_dir, stored.table)
        table.stored_by = stored.stored_by
        names = None if folders is None else {folder.name for folder in folders}
        paths = [p for p in snapshot.results if names is None or p.parent.name in names]
        # Lines that the stored table contains are not folded again: the user may have changed their rows since.
        read = [ResultFile.read(path, stored.folded.get(_result_name(path), 0)) for path in paths]
        table.fold_report = table.fold(read)
        table._offsets = {**stored.folded, **{_result_name(file.path): file.end for file in read}}
        table._origin = Origin(snapshot.state, table._table.copy())
        return table, table.fold_report

    def fold(self, result_files: Iterable[ResultFile]) -> FoldReport:
        """Write results to the rows with the same inputs, in memory.

        Parameters
        ----------
        result_files : iterable of ResultFile
            The results. Folding the same files again changes nothing.

        Returns
        -------
        FoldReport
            Counts of the folded results, and the results that belong to no row.
        """
        from orchestrator.data.matching import match_results

        updates, report = match_results(self._table, result_files)
        for position, (status, outputs) in updates.items():
            self._table.set_status((position,), status)
            for name, value in outputs.items():
                self._set_value("output", name, position, value)
        return report

    def _take_over(self, merged: Merged) -> None:
        """Write what others have changed."""
        for position, (status, values) in merged.updates.items():
            self._set_cells(position, status, values)
        for label, status, values in merged.added:
            new = self._table.append(self._table.labels.next_label() if label is None else label)
            self._set_cells(new, status, values)

    def _set_cells(self, position: int, status: JobStatus, values: Mapping[str, Mapping[str, Any]]) -> None:
        self._table.set_status([position], status)
        for which, cells in values.items():
            self._table.clear(which, position, keep=cells)
            for name, cell in cells.items():
                if name not in self._space(which):
                    self._set_value(which, name, position, None)
                self._table.set(which, name, position, cell)

    def store(self, project_dir: Path | str | None = None, copy_references: bool = False) -> None:
        """Write the table to ``experiment_data``, completely or not at all.

        If other processes have stored the table since this one was read, their changes are kept: results that came in,
        rows that were added, and columns. In a row that both have changed, a result replaces what is not one. A table
        that was not read from this folder replaces what is there.

        In code outside of functions that a worker runs because it imports the study, this writes nothing: the process
        that started the run has stored the table.

        Parameters
        ----------
        project_dir : Path, str or None, default None
            The project folder, which becomes that of the table. By default the table's project folder.
        copy_references : bool, default False
            Whether objects on disk are copied from the table's earlier project folder.

        Raises
        ------
        DataError
            If the files can't be written, or there is a new result of a row that was removed here or has other inputs
            here. The table on disk is then unchanged.
        Busy
            If another process stores the table for more than a minute.
        TypeError
            If a value has a type that can't be stored in a table.
        """
        origin = self._project_dir
        if project_dir is not None:
            self.project_dir = project_dir
        if is_loading_again():
            print(f"The table in {self._project_dir} is not stored again while the study is imported.", file=sys.stderr)
            return
        if copy_references:
            copy_objects(self._paths_on_disk(), origin, self._project_dir)
        from orchestrator.data.storing import store

        store(self, may_merge=True)

    def to_files(self, consumed: Iterable[Path] = ()) -> Files:
        """Encode the table as the four files of f3dasm's layout.

        Parameters
        ----------
        consumed : iterable of Path, default ()
            Folders of result files that are moved to ``.archive`` together with the new files.

        Returns
        -------
        Files
            The content of the files that differ from those on disk.

        Raises
        ------
        TypeError
            If a value has a type that can't be stored in a table.
        """
        from orchestrator.data.layout import StoredTable, encode_files

        gone = {Path(folder).name for folder in consumed}
        folded = {name: end for name, end in self._offsets.items() if name.split("/")[0] not in gone}
        return encode_files(StoredTable(self._domain, self._table, folded, self.stored_by))

    # -- selecting -----------------------------------------------------------------------------

    def __getitem__(self, key: int | slice | Iterable[int]) -> Self:
        """Return the rows at these positions, with their labels."""
        return self._take(positions_of(key, len(self)))

    def select(self, indices: int | slice | Iterable[int]) -> ExperimentData:
        """Return a selection of the rows, with their labels.

        Parameters
        ----------
        indices : int, slice, or iterable of int or bool
            Positions from 0, not labels; or one truth value per row.

        Returns
        -------
        ExperimentData
            The rows, in the order of `indices`.

        Examples
        --------
        >>> data = ExperimentData(input_data={"x": [1.0, 2.0, 3.0]})
        >>> data.select([2, 0]).index.tolist()
        [2, 0]
        """
        return self[indices]

    def select_with_status(self, status: str | JobStatus) -> ExperimentData:
        """Return the rows that have a status.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The status, in upper or lower case.

        Returns
        -------
        ExperimentData
            The rows, with their labels.

        Raises
        ------
        ValueError
            If there is no such status.
        """
        return self._take(list(self._table.positions_with(JobStatus.of(status))))

    def get_n_best_output(self, n_samples: int, output_name: str = "y") -> ExperimentData:
        """Return the experiments with the smallest values of an output.

        Parameters
        ----------
        n_samples : int
            Number of experiments.
        output_name : str, default "y"
            Name of the output. Experiments without a value are skipped.

        Returns
        -------
        ExperimentData
            At most `n_samples` rows with their labels, the smallest value first.

        Raises
        ------
        KeyError
            If there is no such output.

        Examples
        --------
        >>> data = ExperimentData(input_data={"x": [1, 2, 3]}, output_data={"y": [5.0, 4.0, 9.0]})
        >>> data.get_n_best_output(2).index.tolist()
        [1, 0]
        """
        self._add_declared_columns()
        if output_name not in self._table.outputs:
            raise KeyError(f"the table has no output {output_name!r}")
        cells = self._table.outputs[output_name].cells()
        present = [p for p, cell in enumerate(cells) if cell is not None]
        return self._take(sorted(present, key=cells.__getitem__)[:n_samples])

    def sort(self, criterion: Callable[[ExperimentSample], Any], reverse: bool = False) -> ExperimentData:
        """Return the rows in another order, with their labels.

        Parameters
        ----------
        criterion : callable
            ``criterion(experiment_sample)`` returns the value to sort a row by.
        reverse : bool, default False
            Whether the row with the largest value comes first.

        Returns
        -------
        ExperimentData
            The sorted rows.
        """
        keys = [criterion(sample) for _, sample in self._samples(lambda position, sample: None)]
        order = sorted(range(len(self)), key=keys.__getitem__, reverse=reverse)
        data = self._take(order)
        data._offsets = dict(self._offsets)
        return data

    def copy(self) -> ExperimentData:
        """Return a copy. Changes to the copy do not change this table."""
        data = self._with(self._table.copy())
        data._offsets = dict(self._offsets)
        return data

    def reset_index(self) -> ExperimentData:
        """Return a copy with the labels 0, 1, 2, ..."""
        data = self.copy()
        data._table.renumber()
        return data

    # -- changing ------------------------------------------------------------------------------

    def _apply(self, change: Callable[[ExperimentData], object], in_place: bool) -> ExperimentData | None:
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
            The new status.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.

        Raises
        ------
        ValueError
            If there is no such status.
        KeyError
            If no experiment has this label.
        """
        labels = [int(indices)] if isinstance(indices, int) or is_integer(indices) else indices
        positions = self._table.labels.positions(labels)
        value = JobStatus.of(status)
        return self._apply(lambda data: data._table.set_status(positions, value), in_place)

    def mark_all(self, status: str | JobStatus, in_place: bool = False) -> ExperimentData | None:
        """Set the status of all experiments.

        Parameters
        ----------
        status : {"open", "in_progress", "finished", "error"} or JobStatus
            The new status.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.

        Raises
        ------
        ValueError
            If there is no such status.
        """
        return self.mark(self._table.labels, status, in_place)

    def add_experiments(self, data: ExperimentSample | ExperimentData, in_place: bool = False) -> ExperimentData | None:
        """Add one experiment, or the experiments of another table, at the end, with new labels.

        Parameters
        ----------
        data : ExperimentSample or ExperimentData
            The experiment, or the table.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.
        """
        if isinstance(data, ExperimentSample) or is_of_f3dasm(data, "ExperimentSample"):
            sample: Any = data
            return self._apply(
                lambda data: data.store_experimentsample(sample, data._table.labels.next_label()), in_place
            )
        return self._apply(lambda mine: mine._add_rows(data), in_place)

    def _add_rows(self, other: ExperimentData) -> None:
        other = our_table(other)
        self._table.extend(other._table)
        self._domain = self._domain + other._domain

    def __add__(self, other: ExperimentData) -> ExperimentData:
        data = self.reset_index()
        data._add_rows(other)
        return data

    def join(self, experiment_data: ExperimentData) -> ExperimentData:
        """Return a table with the columns of this table and another one; rows are matched by position.

        Parameters
        ----------
        experiment_data : ExperimentData
            The other table. In a column that both have, its values replace those of this table.

        Returns
        -------
        ExperimentData
            As many rows as this table has, with labels from 0. If this table is empty, all rows of the other one.
        """
        experiment_data = our_table(experiment_data)
        if not len(self):
            return experiment_data.reset_index()
        data = self.reset_index()
        data._domain = data._domain + experiment_data._domain
        for position in range(min(len(self), len(experiment_data))):
            data._set_sample(position, data._sample(position) + experiment_data._sample(position))
        return data

    def remove_rows_bottom(self, number_of_rows: int, in_place: bool = False) -> ExperimentData | None:
        """Remove the last rows.

        Parameters
        ----------
        number_of_rows : int
            Number of rows.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.
        """
        rest = self._take(range(max(0, len(self) - number_of_rows)))
        rest._offsets = dict(self._offsets)
        if not in_place:
            return rest
        self.__dict__.update(rest.__dict__)
        return None

    def replace_nan(self, value: Any, in_place: bool = False) -> ExperimentData | None:
        """Replace missing values in every column, but not where None is one of the input's values.

        Parameters
        ----------
        value : Any
            The replacement.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.
        """

        def replace(data: ExperimentData) -> None:
            for which in ("input", "output"):
                space = data._space(which)
                data._table.map_cells(
                    which,
                    lambda cell: value if cell is None else cell,
                    but={name for name, parameter in space.items() if parameter.allows_none},
                )

        return self._apply(replace, in_place)

    def round(self, decimals: int, in_place: bool = False) -> ExperimentData | None:
        """Round the floats in every column.

        Parameters
        ----------
        decimals : int
            Number of decimal places.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.
        """

        def rounded(cell: Any) -> Any:
            return round(cell, decimals) if isinstance(cell, float) else cell

        def round_all(data: ExperimentData) -> None:
            for which in ("input", "output"):
                data._table.map_cells(which, rounded)

        return self._apply(round_all, in_place)

    # -- f3dasm's further names ----------------------------------------------------------------

    @property
    def data(self) -> MutableMapping[int, ExperimentSample]:
        """The experiments by label. `store` and `mark` of an experiment change the table."""
        from orchestrator.data.live_samples import LiveSamples

        return LiveSamples(self)

    @data.setter
    def data(self, samples: Mapping[int, ExperimentSample]) -> None:
        self._set_table(self.from_data(samples, self._domain, self._project_dir)._table)

    @classmethod
    def from_yaml(cls, config: Mapping[str, Any]) -> ExperimentData:
        """Create a table from a configuration of Hydra.

        Parameters
        ----------
        config : DictConfig or mapping
            With the key `from_file`: the folder of a stored table. Otherwise the arguments of `ExperimentData`.

        Returns
        -------
        ExperimentData
            The table.
        """
        if "from_file" in config:
            return cls.from_file(config["from_file"])
        return cls(**config)

    def select_parameter(self, name: str) -> ExperimentData:
        """Return a table with one input or output only.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        ExperimentData
            All rows, with their labels and statuses.

        Raises
        ------
        KeyError
            If there is neither an input nor an output of this name.
        """
        domain, table = only_parameter(self, name)
        return self._from_table(domain, self._project_dir, table)

    def move_to_output(self, name: str, in_place: bool = False) -> ExperimentData | None:
        """Turn an input into an output.

        Parameters
        ----------
        name : str
            Name of the input.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.

        Raises
        ------
        KeyError
            If there is no such input.
        """
        return self._apply(lambda data: move_parameter(data, name, "output"), in_place)

    def move_to_input(self, name: str, in_place: bool = False) -> ExperimentData | None:
        """Turn an output into an input.

        Parameters
        ----------
        name : str
            Name of the output.
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.

        Raises
        ------
        KeyError
            If there is no such output.
        """
        return self._apply(lambda data: move_parameter(data, name, "input"), in_place)

    def update_from_experimentssample_json(self, in_place: bool = False) -> ExperimentData | None:
        """Collect the files that f3dasm's tasks write to ``experiment_sample/``, as `CollectArrayResults` does.

        Parameters
        ----------
        in_place : bool, default False
            Whether this table is changed, instead of a copy.

        Returns
        -------
        ExperimentData or None
            The changed copy; None with `in_place=True`.
        """
        from orchestrator.data.sample_files import collect_and_warn

        return self._apply(collect_and_warn, in_place)

    def to_multiindex(self) -> pd.DataFrame:
        """Return one DataFrame, whose columns have two levels: `jobs`, `input` or `output`, and the name."""
        from orchestrator.data.representations import to_multiindex

        return to_multiindex(self)

    def to_xarray(self, keep_references: bool = False) -> Any:
        """Return a Dataset of xarray, which must be installed.

        Parameters
        ----------
        keep_references : bool, default False
            Whether objects on disk are not loaded. The arrays then contain their paths.

        Returns
        -------
        xarray.Dataset
            The arrays `input` and `output`; their dimensions are `iterations` and `input_dim` or `output_dim`.

        Raises
        ------
        DataError
            If xarray is not installed.
        """
        from orchestrator.data.representations import to_xarray

        return to_xarray(self, keep_references)

    def _repr_html_(self) -> str:
        return str(self.to_multiindex()._repr_html_())  # type: ignore[operator]

    def _copy(self, in_place: bool = False, deep: bool = True) -> ExperimentData:
        """Return a copy, for f3dasm's own data generators."""
        return self if in_place else self.copy()

    def _paths_on_disk(self) -> list[str]:
        """Return the paths of the objects on disk."""
        return [
            cell
            for which in ("input", "output")
            for name, parameter in self._space(which).items()
            if parameter.to_disk
            for cell in self._table.columns(which).get(name, ())
            if cell is not None
        ]


def _domain_of(domain: Any) -> Domain:
    if domain is None:
        return Domain()
    if isinstance(domain, Mapping):
        return Domain.from_yaml(domain)
    return Domain.from_file(domain) if isinstance(domain, str | Path) else our_domain(domain)


def _absolute(project_dir: Path | str | None) -> Path:
    return Path.cwd() if project_dir is None else Path(project_dir).absolute()


def _result_name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
