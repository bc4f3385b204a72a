"""Count the experiments of a receipt, and group the failed ones by cause (`orchestrator.failure_groups`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.data.job_status import JobStatus
from orchestrator.failure_groups import FailureGroup, cause_of, group_of
from orchestrator.handoff.counts import Counts
from orchestrator.sha256 import sha256_of

__all__ = ["ReceiptCounts"]

_ERROR = JobStatus.ERROR.name


class ReceiptCounts:
    """Numbers of experiments that finished and failed, with all causes.

    Attributes
    ----------
    n_finished, n_failed : int
        Numbers of experiments.
    """

    def __init__(self) -> None:
        self.n_finished = self.n_failed = 0
        self._groups: dict[tuple[str, str], FailureGroup] = {}

    @property
    def n(self) -> int:
        """Number of all experiments."""
        return self.n_finished + self.n_failed

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The groups of failed experiments, as a receipt contains them."""
        return [group.to_json() for group in self._groups.values()]

    @property
    def short(self) -> Counts:
        """The numbers with one cause: what decides whether the batch stops."""
        causes = {cause_of(group.first) for group in self._groups.values()}
        # Several causes in one task are as good as an unknown one: the batch continues.
        cause = causes.pop() if len(causes) == 1 else ""
        return Counts(self.n_finished, self.n_failed, sha256_of(cause.encode())[:12] if cause else "")

    def add(self, line: Mapping[str, Any]) -> None:
        """Count the line of a result file."""
        if line["status"] != _ERROR:
            self.n_finished += 1
            return
        self.n_failed += 1
        group_of(self._groups, line["error"] or {}).add(1, [line["row"]])

    def add_counts(self, n_finished: int, failures: list[dict[str, Any]]) -> None:
        """Count what another process has counted.

        Parameters
        ----------
        n_finished : int
            Number of experiments that finished.
        failures : list of dict
            Its groups of failed experiments.
        """
        self.n_finished += n_finished
        for group in failures:
            error = dict(group)
            n, rows = error.pop("n"), error.pop("rows")
            self.n_failed += n
            group_of(self._groups, error).add(n, rows)
