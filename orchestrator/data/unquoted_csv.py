"""Read a CSV file that is as it was stored, and has no quotation marks, without the import of pandas.

That import takes longer than to read 100,000 rows in this way. The numbers are those that Python reads in the texts,
bit for bit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.data.cell_texts import CONTRADICTIONS, decode_noted
from orchestrator.data.column import Column, Columns
from orchestrator.data.job_status import JobStatus
from orchestrator.data.labels import Labels
from orchestrator.data.many_objects import many_objects

__all__ = ["read_unquoted", "read_unquoted_statuses"]

MANY = 20_000
"""Number of numbers from which the import of orjson saves time."""

_LABEL = {"kind": "int"}
_KINDS = {"float": float, "int": int}


def read_unquoted(content: bytes, notes: Mapping[str, dict[str, str]]) -> tuple[Labels, Columns] | None:
    """Read a file of inputs or outputs.

    Parameters
    ----------
    content : bytes
        Content of the file.
    notes : Mapping of str to dict
        The note of each of its columns, in their order.

    Returns
    -------
    tuple of Labels and Columns, or None
        The content; None if it contradicts the notes, or has quotation marks.
    """
    try:
        with many_objects():
            texts = _columns(content, list(notes))
            if texts is None:
                return None
            labels, *columns = map(_decoded, texts, [_LABEL, *notes.values()])
            cells = {name: Column(column) for name, column in zip(notes, columns, strict=True)}
            return None if (found := _labels(labels)) is None else (found, cells)
    except CONTRADICTIONS:
        return None


def read_unquoted_statuses(content: bytes) -> tuple[Labels, bytearray] | None:
    """Read a file of statuses; None if it contains something else, or has quotation marks."""
    values = {name: status.value for name, status in JobStatus.__members__.items()}
    try:
        with many_objects():
            texts = _columns(content, None)
            if texts is None or len(texts) != 2:
                return None
            labels, status = _labels(_decoded(texts[0], _LABEL)), bytearray(map(values.__getitem__, texts[1]))
            return None if labels is None else (labels, status)
    except CONTRADICTIONS:
        return None


def _columns(content: bytes, names: Sequence[str] | None) -> list[list[str]] | None:
    """Return the texts of each column, from that of the labels; None if they can't be told apart so simply."""
    if b'"' in content or b"\r" in content:
        return None
    header, newline, rows = content.decode("utf-8", "surrogatepass").partition("\n")
    header_names = header.split(",")
    n, cells = len(header_names), rows.replace("\n", ",").split(",")
    if not newline or cells.pop() or len(cells) % n or n * rows.count("\n") != len(cells):
        return None
    return [cells[at::n] for at in range(n)] if names is None or header_names[1:] == names else None


def _decoded(texts: list[str], note: dict[str, str]) -> list[Any]:
    """Return what `decode_noted` does, which takes several times as long for many numbers."""
    if note["kind"] in _KINDS and ("orjson" in sys.modules or len(texts) >= MANY):
        from orjson import loads

        present = [text or "null" for text in texts] if "" in texts else texts
        try:
            values: list[Any] = loads(f"[{','.join(present)}]")
        except ValueError:  # an infinite number
            return decode_noted(texts, note)
        # A larger integer than those of 64 bits would be a float.
        if len(values) == len(texts) and set(map(type, values)) <= {_KINDS[note["kind"]], type(None)}:
            return values
    return decode_noted(texts, note)


def _labels(labels: list[Any]) -> Labels | None:
    """Return the labels of the rows; None if one is missing or occurs twice."""
    found = Labels(labels)
    is_unique = found.consecutive is not None or len(set(labels)) == len(labels)
    return found if is_unique and (not labels or set(map(type, labels)) == {int}) else None
