"""The receipt: what became of a task, written once, aside, then renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.errors import Busy, DataError
from orchestrator.workspace import JobFolder

__all__ = ["Receipt", "read_receipt", "receipts_of", "write_receipt"]

SUCCEEDED = "succeeded"


@dataclass(eq=False, repr=False)  # the rest takes long to make, in each of hundreds of tasks
class Receipt:
    """What became of a task.

    Attributes
    ----------
    state : str
        `"succeeded"` or `"failed"`. A task whose experiments raised has succeeded: that is data.
    started_at, ended_at : float
        Epoch seconds.
    host : str
    pid : int
    n_experiments, n_finished, n_failed, n_kept : int
        Experiments of the task; those that finished and failed, with the `n_kept` ones among them that an earlier
        attempt had evaluated.
    failures : list of mapping
        Failed experiments in groups: `type`, `message`, `traceback`, `rows`, `n`.
    kind : str or None
        Of the failure.
    error : mapping or None
        `type`, `message` and `traceback` of what a step raised.
    n_quarantined : int
        Results that were set aside, since they fit no experiment, when the table was folded for the step.
    until : bool or None
        What the loop's question answered.
    max_rss_mb, cpu_seconds : float
        Of the process, so far; of the task.
    exception : BaseException or None
        What was raised, in the process where it was; not written.
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
    """Write a receipt; after this the task is done, whatever the scheduler says."""
    exception, receipt.exception = receipt.exception, None
    try:
        write_atomically(path, json.dumps(vars(receipt)).encode())
    finally:
        receipt.exception = exception


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises
    ------
    DataError
        If it holds something else.
    Busy
        If it can't be read now: nothing follows from that.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Busy(f"The receipt {path} can't be read now: {error.strerror}.", "Try again.") from error
    try:
        return Receipt(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise DataError(f"the receipt {path} can't be read: {error}") from error


def receipts_of(folder: JobFolder) -> dict[int, Path]:
    """List a job's receipts: by task, the one of the last restart.

    Raises
    ------
    Busy
        If they can't be listed now: nothing follows from that.
    """
    found: dict[int, tuple[int, Path]] = {}
    try:
        paths = list(folder.receipts.iterdir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Busy(f"The receipts in {folder.receipts} can't be listed now: {error.strerror}.", "Try again.") from error
    for path in paths:
        parts = path.name.split(".")
        if len(parts) == 3 and parts[0].isdecimal() and parts[1].isdecimal():
            task, restart = int(parts[0]), int(parts[1])
            if task not in found or found[task][0] < restart:
                found[task] = (restart, path)
    return {task: path for task, (_, path) in found.items()}
