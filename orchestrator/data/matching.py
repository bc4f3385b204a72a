"""Matching: which row of a table each result belongs to.

Between evaluation and collection, a block may sort the table, drop rows or create them again. A label alone therefore
does not identify the experiment of a result; its inputs do, by their digest (`inputs_digest` in
`orchestrator.data.results`). `match_results` has the rule. A result that belongs to no row is quarantined:
`orchestrator.data.fold` moves it to a file of its own.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Any, NamedTuple, TypeAlias

from orchestrator.data.job_status import JobStatus
from orchestrator.data.results import ResultFile, inputs_digest
from orchestrator.data.row_texts import digests_of
from orchestrator.data.table import Table
from orchestrator.data.values import to_jsonable

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
        Results that belong to no row (`match_results`). The key ``file`` holds the path of the result file. Of a
        damaged line, the key ``damaged`` holds its begin.
    """

    n_folded: int = 0
    n_errors: int = 0
    n_torn: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)


class Matches(NamedTuple):
    """Results with the rows that they belong to.

    Attributes
    ----------
    positions : list of int
        Positions in the table of the rows to update; each occurs once.
    statuses : list of JobStatus
        The new status of each.
    outputs : list of dict
        The new outputs of each, as JSON.
    report : FoldReport
        Counts, and the results that are quarantined.
    """

    positions: list[int]
    statuses: list[JobStatus]
    outputs: list[dict[str, Any]]
    report: FoldReport


def match_results(table: Table, result_files: Iterable[ResultFile]) -> Matches:
    """Find the row of each result.

    It is the row with its label, if that has its inputs, too. Otherwise it is a finished row with its inputs and
    exactly its outputs, which has it from an earlier fold; else the first row with its inputs that is not finished. No
    row is found for two results. A finished row keeps the result that it has: another one is neither used nor
    quarantined. A result without a row is quarantined.

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
    matches = Matches([], [], [], report)
    if not results:
        return matches
    rows, status_by_name = _RowIndex(table, len(results)), dict(JobStatus.__members__)
    status_of = table.status  # not looked up for each row
    # Rows with the same label and inputs first: rows with equal inputs must not exchange their results.
    positions = rows.with_labels(results)
    for (_, digest, status, outputs, (file, at)), found in zip(results, positions, strict=True):
        position = rows.with_inputs(digest, outputs) if found is None else found
        if position is None:
            report.quarantined.append({**file.lines[at], "file": str(file.path)})
        elif status_of[position] != _FINISHED:
            matches.positions.append(position)
            matches.statuses.append(status_by_name[status])
            matches.outputs.append(outputs)
    report.n_folded = len(matches.positions)
    report.n_errors = matches.statuses.count(JobStatus.ERROR)
    return matches


_Result: TypeAlias = "tuple[int, str, str, dict[str, Any], tuple[ResultFile, int]]"
"""Label, digest of the inputs, status and outputs of a result, and where its line is."""


def _final_results(result_files: Iterable[ResultFile], report: FoldReport) -> list[_Result]:
    """Return one result per experiment: its first success, else its latest error."""
    final: dict[tuple[int, str], _Result] = {}
    for file in result_files:
        report.n_torn += file.n_torn
        path, lines = str(file.path), file.lines
        report.quarantined += [
            {"file": path, "damaged": line.decode("utf-8", "backslashreplace")} for line in file.damaged
        ]
        places = zip(repeat(file), count())
        for result in zip(lines.rows, lines.digests, lines.statuses, lines.outputs, places, strict=False):
            earlier = final.setdefault(result[:2], result)
            if earlier is not result and _replaces(result, earlier):
                final[result[:2]] = result
    return list(final.values())


def _replaces(result: _Result, earlier: _Result) -> bool:
    """Whether a result of the same experiment counts instead of an earlier one."""
    if earlier[2] == "FINISHED":
        return False
    started, earlier_started = (float(file.lines[at].get("started") or 0) for file, at in (result[4], earlier[4]))
    return started >= earlier_started or result[2] == "FINISHED"


class _RowIndex:
    """Rows of a table by label and by inputs; each row is matched at most once."""

    def __init__(self, table: Table, n_results: int) -> None:
        self._table = table
        # As lists, because each row is looked at.
        self._inputs = {name: column.cells() for name, column in table.inputs.items()}
        self._digests: dict[int, str] = {}
        if n_results >= len(table) // _ALL_AT_ONCE:
            self._digests = dict(enumerate(digests_of(table)))
        self._matched: set[int] = set()
        self._open: dict[str, deque[int]] | None = None
        self._known: dict[tuple[str, str], deque[int]] = defaultdict(deque)

    def is_finished(self, position: int) -> bool:
        return self._table.status[position] == _FINISHED

    def with_labels(self, results: Sequence[_Result]) -> list[int | None]:
        """Return for each result the position of the row with its label, if that has its inputs, too."""
        positions = self._table.labels.find([label for label, *_ in results])
        for at, (position, result) in enumerate(zip(positions, results, strict=True)):
            if position is not None and (self._digests.get(position) or self._digest(position)) != result[1]:
                positions[at] = None
        self._matched.update(position for position in positions if position is not None)
        return positions

    def with_inputs(self, digest: str, outputs: Mapping[str, Any]) -> int | None:
        """Return the position of a row with the inputs of a result that is not matched yet."""
        rows = self._index()
        outputs = {name: _path_or_value(value) for name, value in outputs.items()}
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
