"""The receipt: the file in which a task says how it ended. `orchestrator.worker.receipt_writer` begins and ends it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import LARGEST, LARGEST_INT, Damaged, checked_fields, cleaned, parse_object, refuse
from orchestrator.errors import Busy, DataError
from orchestrator.sha256 import sha256_of
from orchestrator.trust import read_private
from orchestrator.workspace import JobFolder

__all__ = ["Receipt", "has_ended", "last_receipt", "read_receipt", "receipts_of", "write_receipt"]

SUCCEEDED, FAILED = "succeeded", "failed"


@dataclass(eq=False, repr=False)  # more methods would cost each task time
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
    n_experiments, n_finished, n_failed, n_earlier : int
        Number of experiments of the task, of those that finished and failed, and of those among them that an earlier
        attempt had evaluated.
    failures : list of mapping
        Groups of failed experiments: `type`, `message`, `traceback`, `rows`, `n`.
    kind : str or None
        Kind of failure.
    error : mapping or None
        `type`, `message` and `traceback` of the exception of a step.
    n_quarantined : int
        Number of results that were quarantined before the step: they belong to no row.
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
    n_earlier: int = 0
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
    """Write a receipt: the task has ended, whatever state the scheduler reports.

    Raises
    ------
    DataError
        If something else is in the place of the file or of its folder.
    OSError
        If the file can't be written now.
    """
    values = {**vars(receipt), "failures": _bounded(receipt.failures), "exception": None}
    try:
        write_atomically(path, json.dumps({**values, CHECKSUM: _checksum(values)}).encode(), PRIVATE)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"the receipt {path} can't be written: something else is in its place") from error


CHECKSUM = "sha256"
"""Name of the field with the checksum of the others."""


def _checksum(values: Mapping[str, Any]) -> str:
    return sha256_of(json.dumps(values, sort_keys=True).encode())


def _bounded(failures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return groups of failures that a reader accepts: those that would make the file too large become one group.

    Each experiment of a task may have failed with another text. All texts are in the result lines, too.
    """
    kept: list[dict[str, Any]] = []
    size = 0
    for number, failure in enumerate(failures):
        size += len(json.dumps(failure))
        if size > LARGEST // 4:
            rest = failures[number:]
            what = {"type": "other", "message": f"{len(rest)} more causes, in the results", "traceback": ""}
            from orchestrator.failure_groups import FailureGroup  # Few tasks have so many failures.

            group = FailureGroup(what)
            for other in rest:
                group.add(other["n"], other["rows"])
            return [*kept, group.to_json()]
        kept.append(failure)
    return kept


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises
    ------
    DataError
        If the file is not a receipt: then it counts as missing.
    Busy
        If the file can't be read now; then nothing is known about the task.
    """
    try:
        written = parse_object(read_private(path))
        checksum = written.pop(CHECKSUM, None)
        values = checked_fields(Receipt, cleaned(written), REQUIRED)
        _check(values)
        if checksum != _checksum(written):
            refuse("its checksum is not that of its content")
        return Receipt(**values)
    except OSError as error:
        raise Busy(f"The receipt {path} can't be read now: {error.strerror}.", "Retry the command later.") from error
    except Damaged as error:
        raise DataError(f"the receipt {path} can't be used: {error}") from error


REQUIRED = ("state", "started_at", "ended_at")

MOST = 10**9
"""Number of experiments that no table has."""


def _check(values: Mapping[str, Any]) -> None:
    """Raise `Damaged` if a value has the right type, but no task writes it."""
    if values["state"] not in (SUCCEEDED, FAILED):
        raise Damaged(f"its state is {values['state'][:40]!r}")
    for name, value in values.items():
        if name.startswith("n_") and value > MOST:
            raise Damaged(f"its {name} is {value}")
    error = values.get("error")
    if error is not None and not {"type", "message"} <= error.keys():
        raise Damaged("its error has no type or no message")
    for failure in values.get("failures") or ():
        _check_failure(failure)


def _check_failure(failure: Mapping[str, Any]) -> None:
    n, rows = failure.get("n"), failure.get("rows")
    are_labels = isinstance(rows, list) and all(type(row) is int and abs(row) < LARGEST_INT for row in rows)
    if not (type(n) is int and 0 < n <= MOST and are_labels):
        raise Damaged("one of its failures does not say which experiments failed")
    texts = [value for name, value in failure.items() if name not in ("n", "rows")]
    if not {"type", "message"} <= failure.keys() or not all(isinstance(text, str) for text in texts):
        raise Damaged("one of its failures has no type or no message")


def receipts_of(folder: JobFolder) -> dict[int, tuple[Path, ...]]:
    """Return the paths of a job's receipts by task; of a restarted task, the last receipt first.

    Raises
    ------
    Busy
        If the folder can't be listed now; then nothing is known about the tasks.
    """
    found: dict[int, list[tuple[int, Path]]] = {}
    try:
        paths = list(folder.receipts.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Busy(
            f"The receipts in {folder.receipts} can't be listed now: {error.strerror}.", "Retry the command later."
        ) from error
    for path in paths:
        parts = path.name.split(".")
        if len(parts) == 3 and parts[0].isdecimal() and parts[1].isdecimal():
            found.setdefault(int(parts[0]), []).append((int(parts[1]), path))
    return {task: tuple(path for _, path in sorted(of_task, reverse=True)) for task, of_task in found.items()}


def last_receipt(paths: Sequence[Path]) -> Receipt:
    """Read the last receipt of a task that can be used.

    Parameters
    ----------
    paths : sequence of Path
        From `receipts_of`.

    Raises
    ------
    DataError
        If none can be used.
    Busy
        If one can't be read now.
    """
    for number, path in enumerate(paths):
        try:
            return read_receipt(path)
        except DataError:
            if number == len(paths) - 1:
                raise
    raise DataError("the task has no receipt")


def has_ended(folder: JobFolder, task: int) -> bool:
    """Whether a task has a receipt that can be used.

    Raises
    ------
    Busy
        If that is not known now.
    """
    try:
        last_receipt(receipts_of(folder).get(task, ()))
    except DataError:
        return False
    return True
