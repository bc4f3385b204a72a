"""Read a CSV file that is as it was stored, with pandas' parser: the notes on its columns say what its texts are.

The numbers are those that Python reads in the texts, bit for bit. Most smaller files are read by
`orchestrator.data.unquoted_csv`, without pandas. A file that differs from what was stored is read by
`orchestrator.data.csv_files`, text by text.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from orchestrator.data.cell_texts import CONTRADICTIONS, decode_noted
from orchestrator.data.column import Column, Columns
from orchestrator.data.columns import column_of
from orchestrator.data.job_status import JobStatus
from orchestrator.data.labels import Labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["is_worth_it", "read_noted", "read_statuses"]

LARGE = 500_000
"""Size in bytes from which pandas is imported to read a file that has quotation marks."""

VERY_LARGE = 10 * LARGE
"""Size in bytes from which pandas is imported to read any file."""

_DTYPES = {"float": "float64", "int": "Int64", "bool": "boolean"}


def is_worth_it(size: int, *, is_quoted: bool) -> bool:
    """Whether pandas reads a file of this size, with or without quotation marks, faster, if its import counts."""
    return "pandas" in sys.modules or size >= (LARGE if is_quoted else VERY_LARGE)


def read_noted(file: BinaryIO, notes: Mapping[str, dict[str, str]]) -> tuple[Labels, Columns] | None:
    """Read a file of inputs or outputs.

    Parameters
    ----------
    file : BinaryIO
        The file.
    notes : Mapping of str to dict
        The note of each of its columns, in their order.

    Returns
    -------
    tuple of Labels and Columns, or None
        The content; None if it contradicts the notes.
    """
    kinds = [note.get("kind", "") for note in notes.values()]
    try:
        if _names(file) != list(notes):
            return None
        frame = _read(file, [_DTYPES.get(kind, "object") for kind in kinds])
        labels = _labels(frame)
        columns = {name: _column(frame[number], note) for number, (name, note) in enumerate(notes.items(), start=1)}
    except CONTRADICTIONS:
        return None
    return None if labels is None else (labels, columns)


def read_statuses(file: BinaryIO) -> tuple[Labels, bytearray] | None:
    """Read a file of statuses; None if it contains something else."""
    try:
        frame = _read(file, ["category"])
        labels = _labels(frame)
        categories = frame[1].cat
        values = bytes(JobStatus[name].value for name in categories.categories)
        status = bytearray(categories.codes.to_numpy().astype("uint8").tobytes().translate(values.ljust(256, b"\xff")))
    except CONTRADICTIONS:
        return None
    return None if labels is None or 0xFF in status else (labels, status)


def _read(file: BinaryIO, dtypes: list[str]) -> pd.DataFrame:
    """Read a file whose columns have these types; they are numbered from 1."""
    import pandas as pd

    numbers = range(len(dtypes) + 1)
    options: dict[str, Any] = {
        "header": 0,
        "names": list(numbers),
        "index_col": False,
        "dtype": dict(zip(numbers, ["int64", *dtypes], strict=True)),
        "keep_default_na": False,
        "na_values": {number: [""] for number, dtype in enumerate(dtypes, start=1) if dtype in _DTYPES.values()},
    }
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        options["float_precision"] = "round_trip"  # the only mode of later versions
    frame: pd.DataFrame = pd.read_csv(file, **options)
    return frame


def _names(file: BinaryIO) -> list[str]:
    """Return the names of the columns, without that of the labels."""
    begin = file.tell()
    header = next(csv.reader(line.decode() for line in file))
    file.seek(begin)
    return header[1:]


def _labels(frame: pd.DataFrame) -> Labels | None:
    labels = frame[0]
    n = len(labels)
    if (
        n
        and int(labels.iloc[-1]) - int(labels.iloc[0]) == n - 1
        and labels.is_monotonic_increasing
        and labels.is_unique
    ):
        return Labels(range(int(labels.iloc[0]), int(labels.iloc[0]) + n))
    return Labels(labels.tolist()) if labels.is_unique else None


def _column(series: pd.Series[Any], note: dict[str, str]) -> Column:
    if note["kind"] in _DTYPES:
        return column_of(series)
    texts = series.tolist()
    if not set(map(type, texts)) <= {str}:
        raise TypeError("a row has too few fields")
    return Column(decode_noted(texts, note))
