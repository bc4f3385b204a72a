"""`ExperimentData`: the experiments of a study, as a table in memory and as files on disk.

Its methods have f3dasm's names and the documentation for users. What they do is decided in one module for each noun:
`contents` (the cells), `positions` (which rows are selected), `changed_columns`, `frames` and `representations` (other
packages), `sources` (what a table is created from), `reading`, `storing`, `matching` (results), `records`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.data.domain import Domain
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus
from orchestrator.data.of_f3dasm import is_of_f3dasm, our_domain, our_sample, our_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from orchestrator.data.contents import Contents
    from orchestrator.data.layout import Files
    from orchestrator.data.matching import FoldReport
    from orchestrator.data.merging import Origin
    from orchestrator.data.reading import Stored
    from orchestrator.data.results import ResultFile
    from orchestrator.data.sources import Source
    from orchestrator.data.table import Table

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
        from orchestrator.data.contents import Contents
        from orchestrator.data.matching import FoldReport
        from orchestrator.data.sources import statuses_of, table_of

        domain = _domain_of(domain)
        table = table_of(domain, input_data, output_data, statuses_of(jobs))
        self._contents = Contents(domain, table, _absolute(project_dir))
        self._contents.adopt(table)
        self._contents.add_declared_columns()
        self.fold_report = FoldReport()
        # Token of the job that produced the table; it is stored with the table.
        self.stored_by: str | None = None
        # Number of bytes of each result file that are folded into the table.
        self._offsets: dict[str, int] = {}
        # The stored table that this one was made from.
        self._origin: Origin | None = None
        # The same for folders in which it was before.
        self._earlier_origins: dict[Path, Origin] = {}

    @classmethod
    def _of(cls, contents: Contents, like: ExperimentData | None = None) -> Self:
        """Return a table of these contents; made from the same stored table as `like`, with the same results."""
        data = cls(project_dir=contents.project_dir)
        data._contents = contents
        if like is not None:
            data._offsets, data._origin = dict(like._offsets), like._origin
            data._earlier_origins = dict(like._earlier_origins)
        return data

    @classmethod
    def _of_stored(cls, stored: Stored) -> Self:
        data = cls._of(stored.contents)
        data.stored_by, data._offsets, data._origin = stored.stored_by, stored.offsets, stored.origin
        data.fold_report = stored.report
        return data

    def _take(self, positions: Sequence[int]) -> Self:
        data = self._of(self._contents.with_table(self._table.take(positions)))
        data._origin, data._earlier_origins = self._origin, dict(self._earlier_origins)
        return data

    @property
    def _table(self) -> Table:
        return self._contents.table

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
        return self._contents.domain

    @domain.setter
    def domain(self, domain: Domain) -> None:
        self._contents.domain = domain

    @property
    def index(self) -> pd.Index[Any]:
        """The labels of the rows."""
        from orchestrator.data.frames import index_of

        return index_of(self._table)

    @property
    def jobs(self) -> pd.Series[Any]:
        """The statuses of the rows as text, such as ``"OPEN"``; the index holds the labels."""
        from orchestrator.data.frames import statuses_of

        return statuses_of(self._table)

    @property
    def records(self) -> pd.DataFrame:
        """How each experiment got its result, with the labels as index; read from files each time.

        The columns are: `step`, `iteration` (Int64; in nested loops text such as `3.1`) and `attempt`; `seconds` and
        `cpu_seconds`; `memory`, the peak memory in MB of the process that evaluated it so far, or of the largest
        program that it has started; `host`; `started_at` in UTC; `error`, the type of the exception of a failed
        experiment. They are missing for an experiment that is open, or that no step of a run evaluated.
        """
        from orchestrator.data.records import frame_of_records, records_of

        return frame_of_records(self, records_of(self))

    def labels(self) -> list[int]:
        """Return the labels of the rows."""
        return list(self._table.labels)

    def statuses(self) -> list[JobStatus]:
        """Return the statuses of the rows."""
        return self._table.statuses()

    def input_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the inputs of the row at a position (not a label)."""
        return self._contents.rows("input")

    def output_rows(self) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the outputs of the row at a position (not a label)."""
        return self._contents.rows("output")

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
        return self._contents.open_rows()

    def is_all_finished(self) -> bool:
        """Whether every experiment is finished."""
        return self._table.status.count(JobStatus.FINISHED.value) == len(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExperimentData):
            return NotImplemented
        return self._contents == other._contents

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
        from orchestrator.data.frames import frame_of

        self._contents.add_declared_columns()
        return (
            frame_of(self._contents, "input", keep_references),
            frame_of(self._contents, "output", keep_references),
        )

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
        from orchestrator.data.representations import to_text

        return to_text(self)

    # -- one experiment ------------------------------------------------------------------------

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
        return self._contents.sample(self._table.position(id))

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
            self.domain = our_domain(domain)
        experiment_sample = our_sample(experiment_sample, idx, self.project_dir)
        position = self._table.position(idx) if idx in self._table else self._table.append(idx)
        self._contents.set_sample(position, experiment_sample)

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
            return None, ExperimentSample(project_dir=self.project_dir), self.domain
        self._table.set_status([position], JobStatus.IN_PROGRESS)
        return self._table.labels[position], self._contents.sample(position), self.domain

    def __iter__(self) -> Iterator[tuple[int, ExperimentSample]]:
        """Yield (label, experiment). The table takes over what the loop's body changes in the experiment."""
        return self._contents.samples()

    # -- files ---------------------------------------------------------------------------------

    @property
    def project_dir(self) -> Path:
        """The project folder."""
        return self._contents.project_dir

    @project_dir.setter
    def project_dir(self, project_dir: Path | str) -> None:
        # The same folder may have several names: by a link, or by "..".
        before, after = self.project_dir.resolve(), _absolute(project_dir).resolve()
        if after != before:
            if self._origin is not None:
                self._earlier_origins[before] = self._origin
            self._offsets, self._origin, self._table.stored = {}, self._earlier_origins.get(after), {}
        self._contents.project_dir = _absolute(project_dir)

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
        max_tries: int = 10,
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
        from orchestrator.data.wait_for_table import found

        def read(folder: Path) -> ExperimentData:
            return cls.load(folder, as_edited=as_edited)[0]

        data = found(read, project_dir, wait=wait_for_creation, max_tries=max_tries)
        data.stored_by = None  # if the user stores the table, it is no longer as the job left it
        return data

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
            Counts of the folded results, and the results that belong to no experiment.

        Raises
        ------
        FileNotFoundError
            If the folder has no table.
        DataError
            If the files can't be read, or don't belong together.
        """
        from orchestrator.data.reading import read_stored

        read = read_stored(_absolute(project_dir), folders, as_edited=as_edited)
        return cls._of_stored(read), read.report

    def fold(self, result_files: Iterable[ResultFile]) -> FoldReport:
        """Write results to the rows with the same inputs, in memory.

        Parameters
        ----------
        result_files : iterable of ResultFile
            The results. Folding the same files again changes nothing.

        Returns
        -------
        FoldReport
            Counts of the folded results, and the results that belong to no experiment.
        """
        return self._contents.fold(result_files)

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
        from orchestrator.data.storing import store_in

        store_in(self, self.project_dir if project_dir is None else project_dir, copy_references=copy_references)

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
        return encode_files(StoredTable(self.domain, self._table, folded, self.stored_by))

    # -- selecting -----------------------------------------------------------------------------

    def __getitem__(self, key: int | slice | Iterable[int]) -> Self:
        """Return the rows at these positions, with their labels."""
        from orchestrator.data.positions import positions_of

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
        self._contents.add_declared_columns()
        if output_name not in self._table.outputs:
            raise KeyError(f"the table has no output {output_name!r}")
        from orchestrator.data.positions import positions_of_smallest

        return self._take(positions_of_smallest(self._table.outputs[output_name].cells(), n_samples))

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
        keys = [criterion(sample) for _, sample in self._contents.copies()]
        data = self._take(sorted(range(len(self)), key=keys.__getitem__, reverse=reverse))
        data._offsets = dict(self._offsets)
        return data

    def __copy__(self) -> Self:
        """Return a table with the same rows. Its domain and its folder can be replaced."""
        data = type(self).__new__(type(self))
        data.__dict__.update({**self.__dict__, "_contents": copy(self._contents)})
        return data

    def copy(self) -> ExperimentData:
        """Return a copy. Changes to the copy do not change this table."""
        return self._of(self._contents.with_table(self._table.copy()), self)

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
        from orchestrator.data.numpy_types import is_integer

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
        return self._apply(lambda mine: mine._contents.extend(our_table(data)._contents), in_place)

    def __add__(self, other: ExperimentData) -> ExperimentData:
        data = self.reset_index()
        data._contents.extend(our_table(other)._contents)
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
        data._contents.join(experiment_data._contents)
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
        from orchestrator.data.changed_columns import replace_missing

        return self._apply(lambda data: replace_missing(data._contents, value), in_place)

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
        from orchestrator.data.changed_columns import round_floats

        return self._apply(lambda data: round_floats(data._contents, decimals), in_place)

    # -- f3dasm's further names ----------------------------------------------------------------

    @property
    def data(self) -> MutableMapping[int, ExperimentSample]:
        """The experiments by label. `store` and `mark` of an experiment change the table."""
        from orchestrator.data.live_samples import LiveSamples

        return LiveSamples(self)

    @data.setter
    def data(self, samples: Mapping[int, ExperimentSample]) -> None:
        self._contents.adopt(self.from_data(samples, self.domain, self.project_dir)._table)

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
        from orchestrator.data.changed_columns import only_parameter

        return self._of(only_parameter(self._contents, name))

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
        from orchestrator.data.changed_columns import move_parameter

        return self._apply(lambda data: move_parameter(data._contents, name, "output"), in_place)

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
        from orchestrator.data.changed_columns import move_parameter

        return self._apply(lambda data: move_parameter(data._contents, name, "input"), in_place)

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

    # Blocks of f3dasm and of third parties use these names.
    _domain = domain
    _project_dir = project_dir

    def _copy(self, in_place: bool = False, deep: bool = True) -> ExperimentData:
        """Return a copy, for f3dasm's own data generators."""
        return self if in_place else self.copy()


def _domain_of(domain: Any) -> Domain:
    if domain is None:
        return Domain()
    if isinstance(domain, Mapping):
        return Domain.from_yaml(domain)
    return Domain.from_file(domain) if isinstance(domain, str | Path) else our_domain(domain)


def _absolute(project_dir: Path | str | None) -> Path:
    return Path.cwd() if project_dir is None else Path(project_dir).absolute()
