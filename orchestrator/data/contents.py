"""`Contents`: the cells of a table, the domain that describes them, and the folder of the objects on disk.

An object is on disk if its column is `to_disk`, or if a cell refers to a file: a worker writes a large array so
(`is_too_large` in `orchestrator.data.values`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.column import Column
from orchestrator.data.columns import plain_cell, plain_cells
from orchestrator.data.domain import Domain
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus
from orchestrator.data.named_rows import Rows, rows_with, samples
from orchestrator.data.parameters import Parameter
from orchestrator.data.references import Reference, write_object
from orchestrator.data.table import Table
from orchestrator.data.values import check_name, from_jsonable

if TYPE_CHECKING:
    from orchestrator.data.matching import FoldReport
    from orchestrator.data.merging import OthersChanges
    from orchestrator.data.results import ResultFile

__all__ = ["Contents"]


@dataclass
class Contents:
    """A table in a domain: values become cells when they are written, and cells become values when they are read.

    Attributes
    ----------
    domain : Domain
        The names and the parameters of the columns.
    table : Table
        The cells. For an object on disk, a cell is the path of its file.
    project_dir : Path
        The folder that these paths are relative to.
    """

    domain: Domain
    table: Table
    project_dir: Path

    def space(self, which: str) -> dict[str, Parameter]:
        """Return the parameters of the inputs or the outputs, by name."""
        return self.domain.input_space if which == "input" else self.domain.output_space

    def with_table(self, table: Table) -> Contents:
        """Return another table in a copy of the domain."""
        contents = Contents(self.domain.copy(), table, self.project_dir)
        contents.adopt(table)
        return contents

    # -- whole tables --------------------------------------------------------------------------

    def adopt(self, table: Table) -> None:
        """Use a table, and add the names of its columns to the domain."""
        self.table = table
        for name in table.inputs:
            if name not in self.domain.input_space:
                self.domain.add_parameter(name)
        for name in table.outputs:
            self.domain.add_found_output(name)
        for which in ("input", "output"):
            for name in [name for name, parameter in self.space(which).items() if parameter.to_disk]:
                self._write_objects(which, name)

    def add_declared_columns(self) -> None:
        """Give each output of the domain a column, so that it is there before any experiment has a value."""
        for name in self.domain.output_space:
            if name not in self.table.outputs:
                self.table.outputs[name] = Column.missing(len(self.table))

    def extend(self, other: Contents) -> None:
        """Add the rows of another table at the end, with new labels."""
        self.table.extend(other.table)
        self.domain = self.domain + other.domain

    def join(self, other: Contents) -> None:
        """Write the values of another table to the rows at the same positions."""
        self.domain = self.domain + other.domain
        for position in range(min(len(self.table), len(other.table))):
            self.set_sample(position, self.sample(position) + other.sample(position))

    def paths_on_disk(self) -> list[str]:
        """Return the paths of the objects on disk."""
        return [
            cell
            for which in ("input", "output")
            for name, parameter in self.space(which).items()
            if parameter.to_disk
            for cell in self.table.columns(which).get(name, ())
            if cell is not None
        ]

    # -- reading -------------------------------------------------------------------------------

    def rows(self, which: str) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the inputs or the outputs of the row at a position."""
        return Rows(self.table.columns(which), self.space(which)).at

    def sample(self, position: int) -> ExperimentSample:
        """Return a copy of the experiment at a position."""
        return ExperimentSample(
            self.rows("input")(position),
            self.rows("output")(position),
            self.table.status_at(position),
            self.project_dir,
            id=self.table.labels[position],
        )

    def samples(self) -> Iterator[tuple[int, ExperimentSample]]:
        """Yield the label and the experiment of each row. What is changed in an experiment is written to its row."""
        return self._samples(lambda at, sample: self._set_row(at, sample.job_status, sample._changed_data()))

    def copies(self) -> Iterator[tuple[int, ExperimentSample]]:
        """Yield the label and the experiment of each row. What is changed in an experiment is not written."""
        return self._samples(lambda at, sample: None)

    def _samples(self, store: Callable[[int, ExperimentSample], None]) -> Iterator[tuple[int, ExperimentSample]]:
        return samples(self.table, (self.domain.input_space, self.domain.output_space), self.project_dir, store)

    def open_rows(self) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Yield the label, the inputs and the outputs of each open experiment."""
        return rows_with(self.table, (self.domain.input_space, self.domain.output_space), JobStatus.OPEN)

    # -- writing -------------------------------------------------------------------------------

    def set_sample(self, position: int, sample: ExperimentSample) -> None:
        """Replace the experiment at a position."""
        self._set_row(position, sample.job_status, {"input": sample._input_data, "output": sample._output_data})

    def _set_row(self, position: int, status: JobStatus, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Write a status, and the inputs, the outputs, or both; what has no name in them is missing then."""
        self.table.set_status([position], status)
        for which, data in values.items():
            self.table.clear(which, position, keep=data)
            for name, value in data.items():
                self._set_value(which, name, position, value)

    def _set_value(self, which: str, name: str, position: int, value: Any) -> None:
        self._add_name(which, name)
        self.table.set(which, name, position, self._cell(which, name, value, self.table.labels[position]))

    def _set_values(self, which: str, name: str, positions: Sequence[int], values: Sequence[Any]) -> None:
        """Write values to a column, at these positions."""
        parameter = self.space(which).get(name)
        is_on_disk = parameter is not None and parameter.to_disk
        if is_on_disk or any(type(value) is Reference for value in values):
            for position, value in zip(positions, values, strict=True):
                self._set_value(which, name, position, value)
        else:
            self._add_name(which, name)
            self.table.set_cells(which, name, positions, plain_cells(values))

    def _add_name(self, which: str, name: str) -> None:
        space = self.space(which)
        if name not in self.table.columns(which) and name not in space:
            check_name(name, which)
            space[name] = Parameter()
            if which == "output":
                self.domain.found_outputs.add(name)

    def _cell(self, which: str, name: str, value: Any, label: int) -> Any:
        """Return the cell of a value: an object on disk is written to its file, and the cell is its path."""
        space = self.space(which)
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
        return write_object(self.project_dir, name, str(label), value, parameter.store_function)

    def _write_objects(self, which: str, name: str) -> None:
        """Write the objects that a column has to their own files: from now on, its objects are on disk."""
        columns = self.table.columns(which)
        if name in columns:
            cells = zip(columns[name], self.table.labels, strict=True)
            columns[name] = Column([self._cell(which, name, cell, label) for cell, label in cells])

    # -- the changes of others -----------------------------------------------------------------

    def fold(self, result_files: Iterable[ResultFile]) -> FoldReport:
        """Write results to the rows with the same inputs."""
        from orchestrator.data.matching import match_results

        positions, statuses, results, report = match_results(self.table, result_files)
        self.table.set_statuses(positions, statuses)
        for name in dict.fromkeys(chain.from_iterable(results)):
            at = [position for position, outputs in zip(positions, results, strict=True) if name in outputs]
            values = [outputs[name] for outputs in results if name in outputs]
            if not {list, dict}.isdisjoint(map(type, values)):
                values = [from_jsonable(value) for value in values]
            self._set_values("output", name, at, values)
        return report

    def add_changes(self, changes: OthersChanges) -> None:
        """Write what others have changed."""
        for position, (status, values) in changes.updates.items():
            self._set_cells(position, status, values)
        for label, status, values in changes.added:
            new = self.table.append(self.table.labels.next_label() if label is None else label)
            self._set_cells(new, status, values)

    def _set_cells(self, position: int, status: JobStatus, values: Mapping[str, Mapping[str, Any]]) -> None:
        self.table.set_status([position], status)
        for which, cells in values.items():
            self.table.clear(which, position, keep=cells)
            for name, cell in cells.items():
                self._add_name(which, name)
                self.table.set(which, name, position, cell)
