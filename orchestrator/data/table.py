"""The table: experiments in rows, with their inputs, outputs and statuses in columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.data.columns import Columns, column_of, plain_cell
from orchestrator.data.domain import Domain
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus
from orchestrator.data.kinds import is_integer, is_truth
from orchestrator.data.parameters import Parameter
from orchestrator.data.references import Reference, write_object
from orchestrator.data.values import to_jsonable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Table"]

_STATUSES = list(JobStatus)
_OPEN, _FINISHED = JobStatus.OPEN.value, JobStatus.FINISHED.value


class Table:
    """Experiments in rows; a position says where a row is, its label stays with it.

    Parameters
    ----------
    domain : Domain
        The domain; it learns the names of whatever comes into the table.
    project_dir : Path
        The project folder, where objects on disk lie.
    """

    def __init__(self, domain: Domain, project_dir: Path) -> None:
        self._domain = domain
        self._project_dir = project_dir
        self._fill([], {}, {}, bytearray())

    def _fill(self, labels: list[int], inputs: Columns, outputs: Columns, status: bytearray) -> None:
        """Take over whole columns, and let the domain know their names."""
        self._labels = labels
        self._positions: dict[int, int] = {label: at for at, label in enumerate(labels)}
        self._inputs = _padded(inputs, len(labels))
        self._outputs = _padded(outputs, len(labels))
        self._status = status
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

    @classmethod
    def _made_of(
        cls,
        domain: Domain,
        project_dir: Path,
        labels: list[int],
        inputs: Columns,
        outputs: Columns,
        status: bytearray,
    ) -> Self:
        data = cls(domain, project_dir=project_dir)
        data._fill(labels, inputs, outputs, status)
        return data

    def _taken(self, positions: Sequence[int]) -> Self:
        return self._made_of(
            self._domain.copy(),
            self._project_dir,
            [self._labels[p] for p in positions],
            {name: [cells[p] for p in positions] for name, cells in self._inputs.items()},
            {name: [cells[p] for p in positions] for name, cells in self._outputs.items()},
            bytearray(self._status[p] for p in positions),
        )

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

    # -- whole columns -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._labels)

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

        return pd.Index(self._labels, dtype="int64")

    @property
    def jobs(self) -> pd.Series[Any]:
        """The rows' statuses, as text."""
        import numpy as np
        import pandas as pd

        names = np.array([status.name for status in self.statuses()], dtype=object)
        return pd.Series(names, index=self.index, dtype=object)

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
        columns, space = self._columns(which), self._space(which)
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

    def _add_rows(self, other: Table) -> None:
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

    def _map_cells(self, change: Callable[[Any], Any]) -> None:
        for columns in (self._inputs, self._outputs):
            for name, cells in columns.items():
                columns[name] = [change(cell) for cell in cells]

    # -- one row -------------------------------------------------------------------------------

    def _columns(self, which: str) -> Columns:
        return self._inputs if which == "input" else self._outputs

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
        columns = self._columns(which)
        if name not in columns:
            columns[name] = [None] * len(self._labels)
            if name not in self._space(which):
                self._space(which)[name] = Parameter()
        columns[name][position] = self._kept(which, name, value, self._labels[position])

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

    # -- one experiment ------------------------------------------------------------------------

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

    # -- as a whole ----------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
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

    def is_all_finished(self) -> bool:
        """Whether every experiment is finished."""
        return self._status.count(_FINISHED) == len(self._status)

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

        columns, space, index = self._columns(which), self._space(which), self.index
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


def _padded(columns: Columns, n: int) -> Columns:
    return {name: cells + [None] * (n - len(cells)) for name, cells in columns.items()}


def _present(columns: Columns) -> Columns:
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
