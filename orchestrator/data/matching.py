"""Matching: which row of a table each result belongs to.

Between evaluation and collection, a block may sort the table, drop rows or create them again. A label alone therefore
does not identify the experiment of a result; its inputs do.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.data.job_status import JobStatus
from orchestrator.data.results import ResultFile, inputs_digest
from orchestrator.data.row_texts import digests_of
from orchestrator.data.table import Table
from orchestrator.data.values import from_jsonable, to_jsonable

__all__ = ["FoldReport", "Matches", "match_results"]

_FINISHED = JobStatus.FINISHED.value
_ALL_AT_ONCE = 8
"""If there is a result for one in so many rows, the digests of all rows are made at once, which is faster for each."""


@dataclass
class FoldReport:
    """Counts of the results that were folded, and the results that were not.

    Attributes
    ----------
    n_folded : int
        Number of experiments whose result is now in the table.
    n_errors : int
        Number of these experiments that ended with an error.
    n_torn : int
        Number of incomplete lines. They are skipped: a killed task was writing them.
    quarantined : list of dict
        Results of which no open experiment has the inputs. The key ``file`` holds the path of the result file.
        Of a damaged line, the key ``damaged`` holds its begin.
    """

    n_folded: int = 0
    n_errors: int = 0
    n_torn: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)


class Matches(NamedTuple):
    """Results with the rows that they belong to.

    Attributes
    ----------
    updates : dict of int to (JobStatus, dict)
        New status and outputs of a row, by its position in the table.
    report : FoldReport
        Counts, and the results that are quarantined.
    """

    updates: dict[int, tuple[JobStatus, dict[str, Any]]]
    report: FoldReport


def match_results(table: Table, result_files: Iterable[ResultFile]) -> Matches:
    """Find the row of each result. A finished row keeps the result that it has.

    Parameters
    ----------
    table : Table
        The table; it is not changed.
    result_files : iterable of ResultFile
        The results.

    Returns
    -------
    Matches
        The rows to update, and a report. Matching the same files again after the update changes no row.
    """
    report = FoldReport()
    results = _final_results(result_files, report)
    updates: dict[int, tuple[JobStatus, dict[str, Any]]] = {}
    if not results:
        return Matches(updates, report)
    rows, status_by_name = _RowIndex(table, len(results)), dict(JobStatus.__members__)
    status_of = table.status  # not looked up for each row
    # Rows with the same label and inputs first: rows with equal inputs must not exchange their results.
    positions = rows.with_labels(results)
    for result, found in zip(results, positions, strict=True):
        position = rows.with_inputs(result) if found is None else found
        if position is None:
            report.quarantined.append(result)
        elif status_of[position] != _FINISHED:
            outputs = result["outputs"]
            for name, value in outputs.items():
                if type(value) is list or type(value) is dict:
                    outputs = {**outputs, name: from_jsonable(value)}
            updates[position] = (status_by_name[result["status"]], outputs)
    report.n_folded = len(updates)
    report.n_errors = sum(status is JobStatus.ERROR for status, _ in updates.values())
    return Matches(updates, report)


def _final_results(result_files: Iterable[ResultFile], report: FoldReport) -> list[dict[str, Any]]:
    """Return one line per experiment: its first success, else its latest error."""
    final: dict[tuple[int, str], dict[str, Any]] = {}
    for file in result_files:
        report.n_torn += file.n_torn
        path = str(file.path)
        report.quarantined += [
            {"file": path, "damaged": line.decode("utf-8", "backslashreplace")} for line in file.damaged
        ]
        for line in file.lines:
            key = (line["row"], line["inputs"])
            earlier = final.get(key)
            if earlier is None or _replaces(line, earlier):
                line["file"] = path
                final[key] = line
    return list(final.values())


def _replaces(line: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    if earlier["status"] == "FINISHED":
        return False
    is_later = float(line.get("started") or 0) >= float(earlier.get("started") or 0)
    return is_later or line["status"] == "FINISHED"


class _RowIndex:
    """Rows of a table by label and by inputs; each row is matched at most once."""

    def __init__(self, table: Table, n_results: int) -> None:
        self._table = table
        # As lists, because each row is looked at.
        self._inputs = {name: column.cells() for name, column in table.inputs.items()}
        self._digests: dict[int, str] = {}
        if n_results >= len(table) // _ALL_AT_ONCE:
            self._digests = dict(enumerate(digests_of(table.inputs, len(table))))
        self._matched: set[int] = set()
        self._open: dict[str, deque[int]] | None = None
        self._known: dict[tuple[str, str], deque[int]] = defaultdict(deque)

    def is_finished(self, position: int) -> bool:
        return self._table.status[position] == _FINISHED

    def with_labels(self, results: Iterable[Mapping[str, Any]]) -> list[int | None]:
        """Return for each result the position of the row with its label, if that has its inputs, too."""
        find, digests = self._table.labels.find, self._digests
        positions: list[int | None] = []
        for result in results:
            position = find(result["row"])
            if position is not None and (digests.get(position) or self._digest(position)) != result["inputs"]:
                position = None
            positions.append(position)
        self._matched.update(position for position in positions if position is not None)
        return positions

    def with_inputs(self, result: Mapping[str, Any]) -> int | None:
        """Return the position of a row with the result's inputs that is not matched yet."""
        rows = self._index()
        digest = result["inputs"]
        outputs = {name: _path_or_value(value) for name, value in result["outputs"].items()}
        # A row with exactly this result has it from an earlier fold of the same line.
        for candidates in (self._known.get((digest, inputs_digest(outputs))), rows.get(digest)):
            while candidates:
                position = candidates.popleft()
                if position not in self._matched:
                    self._matched.add(position)
                    return position
        return None

    def _index(self) -> dict[str, deque[int]]:
        """Return the rows that are not finished by their inputs. Those that are finished are found by their outputs."""
        if self._open is None:
            self._open = defaultdict(deque)
            for position in range(len(self._table)):
                digest = self._digest(position)
                if self.is_finished(position):
                    self._known[digest, self._outputs_digest(position)].append(position)
                else:
                    self._open[digest].append(position)
        return self._open

    def _digest(self, position: int) -> str:
        if position not in self._digests:
            self._digests[position] = inputs_digest({name: cells[position] for name, cells in self._inputs.items()})
        return self._digests[position]

    def _outputs_digest(self, position: int) -> str:
        return inputs_digest({n: to_jsonable(cell) for n, cell in self._table.row("output", position).items()})


def _path_or_value(value: Any) -> Any:
    """Return what a cell holds for an output: for an object on disk, its path."""
    is_reference = isinstance(value, dict) and value.keys() == {"$reference"}
    return value["$reference"]["reference"] if is_reference else value
