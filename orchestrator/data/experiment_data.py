"""The experiments of a study as their user meets them: made of data, kept in files, selected and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.domain import Domain
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.files import data_folder, locked, read_snapshot, write_table
from orchestrator.data.job_status import JobStatus
from orchestrator.data.kinds import is_integer
from orchestrator.data.layout import StoredTable, decode_files, encode_files
from orchestrator.data.matching import FoldReport, fold_into
from orchestrator.data.results import ResultFile
from orchestrator.data.sources import Source, columns_of, n_rows_of, statuses_of
from orchestrator.data.table import Table
from orchestrator.data.values import is_missing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ExperimentData"]


class ExperimentData(Table):
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
        super().__init__(domain, _absolute(project_dir))
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
        self._fill(list(range(n)), inputs, outputs, bytearray(n))
        for position in range(n):
            self._status[position] = self._status_at(position, statuses)

    def _status_at(self, position: int, statuses: Sequence[Any]) -> int:
        if position < len(statuses) and not is_missing(statuses[position]):
            return int(JobStatus.of(statuses[position]).value)
        present = any(cells[position] is not None for cells in self._outputs.values())
        return int((JobStatus.FINISHED if present else JobStatus.OPEN).value)

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
        table = cls._made_of(
            stored.domain, project_dir, stored.labels, stored.inputs, stored.outputs,
            bytearray(status.value for status in stored.statuses),
        )  # fmt: skip
        names = None if folders is None else {folder.name for folder in folders}
        paths = [p for p in snapshot.results if names is None or p.parent.name in names]
        # What the stored table has folded already stays folded once: the user may have changed it.
        read = [ResultFile.read(path, stored.folded.get(_mark(path), 0)) for path in paths]
        table.fold_report = fold_into(table, read)
        table._offsets = {**stored.folded, **{_mark(file.path): file.end for file in read}}
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
        return encode_files(
            StoredTable(
                self._domain, self._labels, self._inputs, self._outputs, self.statuses(), folded, self.stored_by
            )
        )

    # -- selecting -----------------------------------------------------------------------------

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
        wanted = JobStatus.of(status).value
        return self._taken([p for p, value in enumerate(self._status) if value == wanted])

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
        data._labels = list(range(len(data)))
        data._positions = {label: label for label in data._labels}
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
        positions = [self._at(int(label)) for label in labels]
        value = JobStatus.of(status).value

        def change(data: ExperimentData) -> None:
            for position in positions:
                data._status[position] = value

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
        return self._changed(lambda table: table._map_cells(lambda cell: value if cell is None else cell), in_place)

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

        return self._changed(lambda table: table._map_cells(rounded), in_place)


def _absolute(project_dir: Path | str | None) -> Path:
    return Path.cwd() if project_dir is None else Path(project_dir).absolute()


def _mark(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
