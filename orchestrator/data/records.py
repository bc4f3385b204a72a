"""How the experiments of a table were evaluated: by which step, for how long, where, and why some have failed.

The result files say that, also those that are folded into the table: they are kept. They are read only for this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.data.many_objects import many_objects
from orchestrator.data.result_folders import all_result_files
from orchestrator.data.results import ResultFile
from orchestrator.data.row_texts import digests_of

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Record", "frame_of_records", "records_of"]


class Record(NamedTuple):
    """How an experiment got its result.

    Attributes
    ----------
    status : str
        `FINISHED` or `ERROR`.
    step, iteration : str
        The step that evaluated it, and its iteration; empty outside loops.
    attempt : int
        Number of the job among those for the same batch, from 1; a resume does not reset it.
    seconds, cpu_seconds : float or None
        Duration, and CPU time of the process that evaluated it, in seconds; None if not known.
    memory : float or None
        Peak memory in MB of that process so far, or of the largest program that it has started; None if not known.
    host : str
        The machine.
    started_at : float
        When it began, in epoch seconds.
    error : mapping or None
        Of a failed experiment: `type`, `message` and `traceback`.
    token, task : str, int
        The job that evaluated it, and the number of the task.
    """

    status: str
    step: str
    iteration: str
    attempt: int
    seconds: float | None
    cpu_seconds: float | None
    memory: float | None
    host: str
    started_at: float
    error: Mapping[str, str] | None
    token: str
    task: int


Key = tuple[int, str]
"""Label and digest of the inputs of an experiment when it was evaluated."""


def records_of(data: ExperimentData) -> list[Record | None]:
    """Return the record of each row of a table, in its order.

    Parameters
    ----------
    data : ExperimentData
        The table. The result files are those of its project folder.

    Returns
    -------
    list of Record or None
        The last evaluation that ended with the status of the row. None for a row without one: it is open, or its
        result or its status was written in another way.
    """
    with many_objects():
        found = _read(data.project_dir)
        return _of_rows(data, found) if found else [None] * len(data)


def _of_rows(data: ExperimentData, found: Mapping[Key, list[Record]]) -> list[Record | None]:
    table = data._contents.table
    keys = list(zip(data.labels(), digests_of(table), strict=True))
    # Rows that got another label, such as after `reset_index`, are found by their inputs.
    others: dict[str, list[Key]] = defaultdict(list)
    for key in sorted(found.keys() - set(keys), reverse=True):
        others[key[1]].append(key)
    records: list[Record | None] = []
    for key, status in zip(keys, data.statuses(), strict=True):
        if key not in found and others.get(key[1]):
            key = others[key[1]].pop()
        records.append(_last(found.get(key, ()), status.name))
    return records


def frame_of_records(data: ExperimentData, records: Sequence[Record | None]) -> pd.DataFrame:
    """Return the records of a table, from `records_of`, as a DataFrame; see `ExperimentData.records`."""
    import pandas as pd

    columns: dict[str, Any] = {name: [r and getattr(r, name) for r in records] for name in Record._fields}
    frame = pd.DataFrame({name: pd.Series(columns[name], data.index, dtype=object) for name in ("step", "iteration")})
    if not any("." in str(iteration) for iteration in columns["iteration"]):
        frame["iteration"] = pd.array([int(text) if text else None for text in columns["iteration"]], dtype="Int64")
    frame["attempt"] = pd.array(columns["attempt"], dtype="Int64")
    for name in ("seconds", "cpu_seconds", "memory"):
        frame[name] = pd.Series(columns[name], data.index, dtype=float)
    frame["host"] = pd.Series(columns["host"], data.index, dtype=object)
    started_at = pd.Series(columns["started_at"], data.index, dtype=float)
    frame["started_at"] = pd.to_datetime(started_at, unit="s", utc=True)
    frame["error"] = pd.Series([error and error["type"] for error in columns["error"]], data.index, dtype=object)
    return frame


def _last(records: Sequence[Record], status: str) -> Record | None:
    if len(records) == 1:
        return records[0] if records[0].status == status else None
    return max((r for r in records if r.status == status), key=lambda r: r.started_at, default=None)


def _read(project_dir: Path) -> Mapping[Key, list[Record]]:
    """Return the records in all result files of a table, by experiment."""
    found: dict[Key, list[Record]] = defaultdict(list)
    for path in all_result_files(project_dir):
        with suppress(FileNotFoundError):
            for key, record in _records_in(ResultFile.read(path)):
                found[key].append(record)
    return found


def _records_in(file: ResultFile) -> Iterator[tuple[Key, Record]]:
    token, task = file.path.parent.name.partition(".")[0], file.path.name.partition(".")[0]
    of = file.evaluation
    if of is None or not task.isdecimal():
        return
    for line in file.lines:
        # What is not known of a process that died is 0.
        record = Record(
            status=line["status"],
            step=of.step,
            iteration=of.iteration,
            attempt=of.attempt,
            seconds=line.get("seconds") or None,
            cpu_seconds=line.get("cpu") or None,
            memory=line.get("memory") or None,
            host=of.host,
            started_at=line.get("started", 0.0),
            error=line.get("error"),
            token=token,
            task=int(task),
        )
        yield (line["row"], line["inputs"]), record
