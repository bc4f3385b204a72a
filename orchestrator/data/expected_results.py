"""What folding must find: the results that the receipts of tasks count.

A node of a network file system may not see for some time what another one has written. So fewer results than expected
are not there yet, and after a time an error; they are never taken for all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.data.many_objects import many_objects
from orchestrator.data.results import ResultReader
from orchestrator.errors import DataError
from orchestrator.table_folder import ARCHIVE, DATA_FOLDER, RESULTS

__all__ = ["Expected", "await_results"]

WAIT = 90.0
"""Seconds after which results are missing. Network file systems keep for at most 60 s that a file does not exist."""

POLL = 0.5


class Expected(NamedTuple):
    """The results of the jobs of one parallel step.

    Attributes
    ----------
    tokens : sequence of str
        Tokens of the jobs.
    n_experiments : int
        Number of experiments that the receipts of their tasks count.
    """

    tokens: Sequence[str]
    n_experiments: int


def await_results(project_dir: Path | str, expected: Iterable[Expected], reader: ResultReader) -> None:
    """Wait until the result files have what is expected.

    Parameters
    ----------
    project_dir : Path or str
        The project folder.
    expected : iterable of Expected
        What must be there, or have been folded before.
    reader : ResultReader
        It reads the files.

    Raises
    ------
    DataError
        If results are missing after 90 s.
    """
    base = Path(project_dir) / DATA_FOLDER
    end = time.monotonic() + WAIT
    for one in expected:
        while (n := _n_found(base, one, reader)) < one.n_experiments:
            if time.monotonic() > end:
                raise DataError(
                    f"results are missing in {base / RESULTS}: the receipts of the tasks count {one.n_experiments} "
                    f"experiments, but {n} can be read there (of the jobs {', '.join(one.tokens)}).",
                    "If another machine has written them, retry later: orchestrator resume\n"
                    "If they were deleted, evaluate the experiments again: orchestrator resume --from-step STEP",
                )
            time.sleep(POLL)


def _n_found(base: Path, expected: Expected, reader: ResultReader) -> int:
    new = [folder for token in expected.tokens for folder in _folders(base / RESULTS, token)]
    folded = [folder for token in expected.tokens for folder in _folders(base / ARCHIVE, token)]
    if folded and not new:
        return expected.n_experiments  # it was checked when they were folded
    results: set[tuple[int, str]] = set()
    n_unreadable = 0
    with many_objects():
        for path in (path for folder in (*new, *folded) for path in folder.glob("*.jsonl")):
            file = reader.read(path)
            results.update(zip(file.lines.rows, file.lines.digests, strict=True))
            n_unreadable += file.n_torn + len(file.damaged)
    # What is damaged is there; it is reported when it is folded.
    return len(results) + n_unreadable


def _folders(base: Path, token: str) -> Iterator[Path]:
    for path in (base / token, *base.glob(f"{token}.*")):
        if path.is_dir():
            yield path
