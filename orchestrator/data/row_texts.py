"""Rows as JSON, and the digests of their inputs, made column by column: equal to those of single rows, and faster."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from orchestrator.data.cell_texts import texts_of_numbers
from orchestrator.data.column import Column, Numbers, may_have_changed
from orchestrator.data.float_texts import texts_of_floats
from orchestrator.data.job_status import JobStatus
from orchestrator.data.parameters import Parameter
from orchestrator.data.results import canonical_text
from orchestrator.data.table import StoredFile, Table
from orchestrator.data.values import is_missing, to_jsonable
from orchestrator.sha256 import sha256_of

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["RowTexts", "digests_of", "keys_with", "open_rows_of"]

_Texts: TypeAlias = "list[str | None]"
"""The text of each cell of a column; None for a missing one."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class RowTexts(NamedTuple):
    """Rows, and their values as JSON objects without spaces.

    Attributes
    ----------
    labels : sequence of int
        Their labels.
    digests : sequence of str
        `inputs_digest` of each row.
    inputs, outputs : sequence of str
        Each row's inputs and outputs by name, without missing ones; null for an input that may be None.
    """

    labels: Sequence[int]
    digests: Sequence[str]
    inputs: Sequence[str]
    outputs: Sequence[str]


def open_rows_of(data: ExperimentData) -> RowTexts:
    """Return the open experiments of a table.

    Raises
    ------
    TypeError
        If a value has a type that can't be stored in a table.
    """
    table, domain = _rows_with(data, JobStatus.OPEN), data.domain
    n = len(table)
    texts = {name: _texts(column, domain.input_space.get(name)) for name, column in table.inputs.items()}
    outputs = {name: _texts(column, domain.output_space.get(name)) for name, column in table.outputs.items()}
    digests = digests_of(table, texts)
    for name, parameter in domain.input_space.items():
        if parameter.allows_none and name in texts:
            texts[name] = ["null" if text is None else text for text in texts[name]]
    return RowTexts(list(table.labels), digests, _joined(texts, n), _joined(outputs, n))


def keys_with(data: ExperimentData, status: JobStatus) -> set[tuple[int, str]]:
    """Return label and digest of the experiments with a status."""
    table = _rows_with(data, status)
    return set(zip(table.labels, digests_of(table), strict=True))


def _rows_with(data: ExperimentData, status: JobStatus) -> Table:
    table = data._contents.table
    if table.status.count(status.value) == len(table):
        return table
    return table.take(list(table.positions_with(status)))


def digests_of(table: Table, texts: Mapping[str, _Texts] | None = None) -> list[str]:
    """Return `inputs_digest` of each row; the texts of the cells in some columns can be given."""
    global _last
    stored = table.stored.get("input.csv")
    if stored is not None and _last is not None and _last[0] == stored and not may_have_changed(table.inputs):
        return _last[1].split()
    columns = {name: _digest_texts(table.inputs[name], (texts or {}).get(name)) for name in sorted(table.inputs)}
    digests = [sha256_of(text.encode("ascii"))[:16] for text in _joined(columns, len(table))]
    if stored is not None and not may_have_changed(table.inputs):
        _last = stored, " ".join(digests)
    return digests


_last: tuple[StoredFile, str] | None = None
"""The file of inputs whose digests were made last, and these: a step freezes a table and then folds results into it."""


def _joined(columns: Mapping[str, _Texts], n: int) -> list[str]:
    """Return the JSON object of each row, without the missing cells."""
    if not columns:
        return ["{}"] * n
    keys = [_encode(name) + ":" for name in columns]
    if not any(None in texts for texts in columns.values()):
        row = "{" + ",".join(key.replace("%", "%%") + "%s" for key in keys) + "}"
        return [row % texts for texts in zip(*columns.values(), strict=True)]
    items = [[text and key + text for text in texts] for key, texts in zip(keys, columns.values(), strict=True)]
    return ["{" + ",".join(filter(None, row)) + "}" for row in zip(*items, strict=True)]


def _texts(column: Column, parameter: Parameter | None) -> _Texts:
    """Return the JSON of each cell."""
    if parameter is not None and parameter.to_disk:
        return _texts_of_cells(column, lambda path: _encode(to_jsonable(parameter.refer_to(path))))
    if column.numbers is not None:
        return _texts_of_numbers(column.numbers)
    return _texts_of_cells(column, lambda cell: _encode(to_jsonable(cell)))


def _digest_texts(column: Column, texts: _Texts | None) -> _Texts:
    """Return the JSON of each cell in a digest; the texts of the same numbers can be given."""
    numbers = column.numbers
    if numbers is None:
        return _texts_of_cells(column, _digest_text)
    texts = _texts_of_numbers(numbers) if texts is None else texts
    if numbers.kind is float:  # a whole number is the same as the integer
        import numpy as np

        values = numbers.values
        whole = (np.isfinite(values) & (values == np.floor(values))).nonzero()[0].tolist()
        texts = list(texts) if whole else texts
        for position in whole:
            texts[position] = _digest_text(values.item(position))
    return texts


def _digest_text(cell: Any) -> str | None:
    return None if is_missing(cell) else canonical_text(cell)


def _texts_of_cells(column: Column, text_of: Callable[[Any], str | None]) -> _Texts:
    known: dict[str, str | None] = {}  # many cells have the same text
    texts: _Texts = []
    for cell in column.cells():
        if type(cell) is not str:
            texts.append(None if cell is None else text_of(cell))
            continue
        if cell not in known:
            known[cell] = text_of(cell)
        texts.append(known[cell])
    return texts


def _texts_of_numbers(numbers: Numbers) -> _Texts:
    import numpy as np

    values = numbers.values
    texts: _Texts
    if numbers.kind is float:
        texts = [*texts_of_floats(values)]
    elif numbers.kind is bool:
        texts = ["true" if cell else "false" for cell in values.tolist()]
    else:
        texts = [*texts_of_numbers(values.tolist())]
    odd = ~np.isfinite(values) if numbers.kind is float else numbers.is_missing()
    missing = numbers.is_missing()
    for position in odd.nonzero()[0].tolist():
        texts[position] = None if missing[position] else _encode(values.item(position))
    return texts
