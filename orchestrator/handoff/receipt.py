"""The receipt: the file in which a task says how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.errors import Busy, DataError
from orchestrator.workspace import JobFolder

__all__ = ["Receipt", "read_receipt", "receipts_of", "write_receipt"]

SUCCEEDED = "succeeded"


@dataclass(eq=False, repr=False)  # generating more methods would cost time in each of hundreds of tasks
class Receipt:
    """How a task ended.

    Attributes
    ----------
    state : str
        `"succeeded"` or `"failed"`. A task with failed experiments has succeeded: a failed experiment is data.
    started_at, ended_at : float
        Epoch seconds.
    host, pid : str, int
        Machine and number of its process.
    n_experiments, n_finished, n_failed, n_kept : int
        Number of experiments of the task, of those that finished and failed, and of those among them that an earlier
        attempt had evaluated.
    failures : list of mapping
        Groups of failed experiments: `type`, `message`, `traceback`, `rows`, `n`.
    kind : str or None
        Kind of failure.
    error : mapping or None
        `type`, `message` and `traceback` of the exception of a step.
    n_quarantined : int
        Number of results that belong to no row of the table and were quarantined before the step.
    until : bool or None
        What the `until` of the loop returned.
    max_rss_mb, cpu_seconds : float
        Peak memory of the process so far, and CPU time of the task.
    exception : BaseException or None
        The exception of a step, only in the process that raised it; not written to the file.
    """

    state: str
    started_at: float
    ended_at: float
    host: str = ""
    pid: int = 0
    n_experiments: int = 0
    n_finished: int = 0
    n_failed: int = 0
    n_kept: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    kind: str | None = None
    error: Mapping[str, str] | None = None
    n_quarantined: int = 0
    until: bool | None = None
    max_rss_mb: float = 0.0
    cpu_seconds: float = 0.0
    exception: BaseException | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the task did its work."""
        return self.state == SUCCEEDED


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write a receipt: the task has ended, whatever state the scheduler reports."""
    exception, receipt.exception = receipt.exception, None
    try:
        write_atomically(path, json.dumps(vars(receipt)).encode(), PRIVATE)
    finally:
        receipt.exception = exception


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises
    ------
    DataError
        If the file is not a receipt.
    Busy
        If the file can't be read now; then nothing is known about the task.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Busy(f"The receipt {path} can't be read now: {error.strerror}.", "Retry the command later.") from error
    try:
        return Receipt(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise DataError(f"the receipt {path} can't be read: {error}") from error


def receipts_of(folder: JobFolder) -> dict[int, Path]:
    """Return the paths of a job's receipts by task; of a restarted task, the last receipt.

    Raises
    ------
    Busy
        If the folder can't be listed now; then nothing is known about the tasks.
    """
    found: dict[int, tuple[int, Path]] = {}
    try:
        paths = list(folder.receipts.iterdir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Busy(
            f"The receipts in {folder.receipts} can't be listed now: {error.strerror}.", "Retry the command later."
        ) from error
    for path in paths:
        parts = path.name.split(".")
        if len(parts) == 3 and parts[0].isdecimal() and parts[1].isdecimal():
            task, restart = int(parts[0]), int(parts[1])
            if task not in found or found[task][0] < restart:
                found[task] = (restart, path)
    return {task: path for task, (_, path) in found.items()}
