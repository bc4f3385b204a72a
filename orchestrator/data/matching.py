"""Matching: each result goes to the experiment that it is about, or to nobody.

A block may sort the table, drop rows or make them again between evaluation and collection; a
label alone therefore doesn't say whose result it is. The inputs do.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.job_status import JobStatus
from orchestrator.data.results import ResultFile, inputs_digest
from orchestrator.data.values import from_jsonable, is_missing, to_jsonable

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["FoldReport", "fold_into"]


@dataclass
class FoldReport:
    """What folding did.

    Attributes
    ----------
    n_folded : int
        Experiments whose result is now in the table.
    n_errors : int
        Those among them that ended with an error.
    n_torn : int
        Torn lines, left out: what a killed task was just writing.
    quarantined : list of dict
        Results that no experiment in the table has the inputs for, with the result file's path
        under ``file``.
    """

    n_folded: int = 0
    n_errors: int = 0
    n_torn: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)


def fold_into(table: ExperimentData, result_files: Iterable[Path | ResultFile]) -> FoldReport:
    """Fold result files into a table, in memory.

    Parameters
    ----------
    table : ExperimentData
        The table; it is changed.
    result_files : iterable of Path or ResultFile
        The results.

    Returns
    -------
    FoldReport
        What was done. Folding the same files again does nothing more.
    """
    report = FoldReport()
    results = _final_results(result_files, report)
    if not results:
        return report
    places = _Places(table)
    updates: dict[int, tuple[JobStatus, dict[str, Any]]] = {}
    strays = []
    for result in results:
        position = places.of_label(result)
        if position is None:
            strays.append(result)
        else:
            _take(places, updates, position, result)
    for result in strays:
        position = places.of_inputs(result)
        if position is None:
            report.quarantined.append(result)
        else:
            _take(places, updates, position, result)
    table.apply_results(updates)
    report.n_folded = len(updates)
    report.n_errors = sum(status is JobStatus.ERROR for status, _ in updates.values())
    return report


def _final_results(result_files: Iterable[Path | ResultFile], report: FoldReport) -> list[dict[str, Any]]:
    """Reduce the lines to one per experiment: its first success, else its latest error."""
    final: dict[tuple[int, str], dict[str, Any]] = {}
    for source in result_files:
        read = source if isinstance(source, ResultFile) else ResultFile.read(source)
        report.n_torn += read.n_torn
        path = str(read.path)
        for line in read.lines:
            key = (line["row"], line["inputs"])
            old = final.get(key)
            if old is None or _replaces(line, old):
                line["file"] = path
                final[key] = line
    return list(final.values())


def _replaces(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    if old["status"] == "FINISHED":
        return False
    later = float(new.get("started") or 0) >= float(old.get("started") or 0)
    return later or new["status"] == "FINISHED"


def _take(
    places: _Places,
    updates: dict[int, tuple[JobStatus, dict[str, Any]]],
    position: int,
    result: Mapping[str, Any],
) -> None:
    if not places.finished(position):
        outputs = {name: from_jsonable(value) for name, value in result["outputs"].items()}
        updates[position] = (JobStatus.of(result["status"]), outputs)


class _Places:
    """Which row of the table a result belongs to."""

    def __init__(self, table: ExperimentData) -> None:
        self._statuses = table.statuses()
        self._positions = {label: position for position, label in enumerate(table.labels())}
        self._inputs = table.input_rows()
        self._outputs = table.output_rows()
        self._digests: dict[int, str] = {}
        self._taken: set[int] = set()
        self._by_digest: dict[str, deque[int]] | None = None

    def finished(self, position: int) -> bool:
        return self._statuses[position] is JobStatus.FINISHED

    def of_label(self, result: Mapping[str, Any]) -> int | None:
        position = self._positions.get(result["row"])
        if position is None or self._digest(position) != result["inputs"]:
            return None
        self._taken.add(position)
        return position

    def of_inputs(self, result: Mapping[str, Any]) -> int | None:
        same = [p for p in self._candidates(result["inputs"]) if p not in self._taken]
        # A row that has this very result got it from an earlier folding of this line.
        known = [p for p in same if self.finished(p) and self._has_outputs(p, result["outputs"])]
        free = known or [p for p in same if not self.finished(p)]
        if not free:
            return None
        self._taken.add(free[0])
        return free[0]

    def _candidates(self, digest: str) -> Sequence[int]:
        if self._by_digest is None:
            self._by_digest = defaultdict(deque)
            for position in range(len(self._statuses)):
                self._by_digest[self._digest(position)].append(position)
        return self._by_digest.get(digest, ())

    def _digest(self, position: int) -> str:
        if position not in self._digests:
            self._digests[position] = inputs_digest(self._inputs(position))
        return self._digests[position]

    def _has_outputs(self, position: int, outputs: Mapping[str, Any]) -> bool:
        stored = {name: to_jsonable(value) for name, value in self._outputs(position).items()}
        return stored == {n: value for n, value in outputs.items() if not is_missing(value)}
