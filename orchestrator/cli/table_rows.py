"""The rows of a run's table: inputs, outputs and the record of each experiment, selected and sorted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.cli.run_table import RunTable
from orchestrator.errors import DefinitionError, NotFound
from orchestrator.machine.value import value
from orchestrator.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    _Cells = Callable[[int], dict[str, Any]]

__all__ = ["EXPERIMENT", "Rows", "TableRow", "best_first", "objective_of", "rows_of", "selected", "where"]

EXPERIMENT = "experiment"
"""Name of the column of row labels."""


@value
class TableRow(NamedTuple):
    """An experiment of a run.

    Attributes
    ----------
    experiment : int
        Its row label in the table.
    status : str
        `OPEN`, `IN_PROGRESS`, `FINISHED` or `ERROR`.
    inputs : mapping
        Its inputs by name, without missing ones.
    outputs : mapping
        Its outputs by name, without missing ones.
    step : str or None
        Name of the step that gave it its result; null if it is open, or no step of a run evaluated it.
    iteration : str or None
        The iteration of that step; empty outside loops.
    attempt : int or None
        Number of the job among those for the same batch, from 1; a resume does not reset it.
    seconds : float or None
        How long it was evaluated.
    cpu_seconds : float or None
        CPU time of the process that evaluated it.
    memory : float or None
        Peak memory in MB of that process so far, or of the largest program that it has started.
    host : str or None
        The machine.
    started_at : float or None
        When its evaluation began.
    error : str or None
        Type of the exception of a failed experiment.
    """

    experiment: int
    status: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    step: str | None
    iteration: str | None
    attempt: int | None
    seconds: float | None
    cpu_seconds: float | None
    memory: float | None
    host: str | None
    started_at: float | None
    error: str | None


class Rows(NamedTuple):
    """Rows of a table as a DataFrame.

    Attributes
    ----------
    frame : pandas.DataFrame
        Their labels as index; the status, inputs, outputs and records as columns.
    table : RunTable
        The table.
    key : str
        Key of its run.
    inputs, outputs : list of str
        Columns of the inputs and the outputs.
    status : str
        Column of the statuses.
    """

    frame: pd.DataFrame
    table: RunTable
    key: str
    inputs: list[str]
    outputs: list[str]
    status: str

    def with_frame(self, frame: pd.DataFrame) -> Rows:
        """Return other rows of the same table."""
        return self._replace(frame=frame)

    def as_json(self) -> list[TableRow]:
        """Return the rows as values."""
        data = self.table.data
        positions = {label: at for at, label in enumerate(data.labels())}
        cells = (data.input_rows(), data.output_rows())
        return [self._row(positions[label], label, *cells) for label in self.frame.index]

    def _row(self, at: int, label: int, inputs_at: _Cells, outputs_at: _Cells) -> TableRow:
        from orchestrator.data.values import to_jsonable

        record = self.table.records[at]
        inputs, outputs = (
            {name: to_jsonable(cell) for name, cell in cells_at(at).items()} for cells_at in (inputs_at, outputs_at)
        )
        return TableRow(
            experiment=int(label),
            status=str(self.frame.at[label, self.status]),
            inputs=inputs,
            outputs=outputs,
            step=None if record is None else record.step,
            iteration=None if record is None else record.iteration,
            attempt=None if record is None else record.attempt,
            seconds=None if record is None else record.seconds,
            cpu_seconds=None if record is None else record.cpu_seconds,
            memory=None if record is None else record.memory,
            host=None if record is None else record.host,
            started_at=None if record is None else record.started_at,
            error=None if record is None or record.error is None else record.error["type"],
        )


def rows_of(table: RunTable, key: str, now: Collection[int] = ()) -> Rows:
    """Return all rows of a table; `now` has the labels of those that are evaluated now.

    A column of ours that has the name of an input or output gets a `_` at its end, and so does an output with the name
    of an input.
    """
    import pandas as pd

    from orchestrator.data.records import frame_of_records

    data = table.data
    taken = {EXPERIMENT}

    def renamed(frame: pd.DataFrame) -> pd.DataFrame:
        names = {}
        for name in map(str, frame.columns):
            new = name
            while new in taken:
                new += "_"
            taken.add(new)
            names[name] = new
        return frame.rename(columns=names)

    inputs, outputs = map(renamed, data.to_pandas(keep_references=True))
    jobs = data.jobs
    jobs[jobs.index.isin(list(now)) & (jobs == "OPEN")] = "IN_PROGRESS"
    statuses = renamed(jobs.to_frame("status"))
    records = renamed(frame_of_records(data, table.records))
    frame = pd.concat([statuses, inputs, outputs, records], axis=1).rename_axis(EXPERIMENT)
    return Rows(frame, table, key, list(inputs.columns), list(outputs.columns), statuses.columns[0])


def where(rows: Rows, condition: str) -> Rows:
    """Return the rows for which a condition is true, such as `status == 'ERROR' and x > 1`.

    Raises
    ------
    DefinitionError
        If the condition can't be used.
    """
    import pandas as pd

    try:
        # Nothing but the columns has a name in it.
        mask = rows.frame.eval(condition, engine="python", local_dict={}, global_dict={})
        if not isinstance(mask, pd.Series):
            raise TypeError("it is not true or false for each row")
        mask = mask.astype("boolean").fillna(False)
    except Exception as error:  # pandas raises any exception
        why = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, AttributeError) and "visit_" in why:
            why = "it has an operator that conditions don't have"
        columns = [EXPERIMENT, *map(str, rows.frame.columns)]
        undefined = re.match(r"name '(.+)' is not defined", why)
        raise DefinitionError(
            f"--where {condition!r} can't be used: {why}.",
            f"{did_you_mean(undefined[1], columns) if undefined else ''}The columns are: {', '.join(columns)}\n"
            f"For example: orchestrator table {rows.key} --where \"{rows.status} == 'ERROR'\"",
        ) from error
    return rows.with_frame(rows.frame[mask.to_numpy(dtype=bool)])


def selected(rows: Rows, names: Sequence[str]) -> Rows:
    """Return the rows with some of their columns.

    Raises
    ------
    NotFound
        If there is no such column.
    """
    known = list(map(str, rows.frame.columns))
    missing = [name for name in names if name not in (EXPERIMENT, *known)]
    if missing:
        raise NotFound(
            f"The table has no column {missing[0]!r}.",
            f"{did_you_mean(missing[0], known)}The columns are: {', '.join([EXPERIMENT, *known])}",
        )
    return rows.with_frame(rows.frame[list(dict.fromkeys(name for name in names if name != EXPERIMENT))])


def objective_of(rows: Rows, command: str) -> str:
    """Return the only output that is a number.

    Parameters
    ----------
    rows : Rows
        The rows.
    command : str
        The command that names one, up to the name.

    Raises
    ------
    NotFound
        If there is none, or there are several.
    """
    numbers = [name for name in rows.outputs if _is_number(rows.frame[name])]
    if len(numbers) == 1:
        return numbers[0]
    if not numbers and not (rows.frame[rows.status] == "FINISHED").any():
        raise NotFound(
            f"No experiment of run {rows.key} has finished.", f"Show its status: orchestrator status {rows.key}"
        )
    if not numbers:
        raise NotFound(
            f"The table of run {rows.key} has no output that is a number.",
            f"Show it: orchestrator table {rows.key}",
        )
    raise NotFound(
        f"The table of run {rows.key} has several outputs: {', '.join(numbers)}.",
        f"Name one: {command} {shlex.quote(numbers[0])}",
    )


def best_first(rows: Rows, name: str, *, largest: bool) -> Rows:
    """Return the finished experiments that have a value of an output, sorted by it.

    Raises
    ------
    NotFound
        If there is no such column.
    DefinitionError
        If it does not contain numbers.
    """
    selected(rows, [name])
    if name == EXPERIMENT or not _is_number(rows.frame[name]):
        numbers = ", ".join(other for other in rows.outputs if _is_number(rows.frame[other]))
        raise DefinitionError(
            f"The column {name!r} does not contain numbers.",
            f"Outputs that are numbers: {numbers}" if numbers else f"Show the table: orchestrator table {rows.key}",
        )
    finished = rows.frame[(rows.frame[rows.status] == "FINISHED") & rows.frame[name].notna()]
    return rows.with_frame(finished.sort_values(name, ascending=not largest, kind="stable"))


def _is_number(column: pd.Series[Any]) -> bool:
    import pandas as pd

    kind = pd.api.types
    return bool(kind.is_numeric_dtype(column) and not kind.is_bool_dtype(column) and column.notna().any())
