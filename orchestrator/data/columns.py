"""Columns of the table: conversion between cells, pandas and the text of a CSV file.

CSV has only text, and does not distinguish an empty text from a missing value. The type of each column is therefore
noted in ``domain.json``. A file that f3dasm wrote has no such note; the type of its columns is inferred from the
domain, else from the text.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator.data.numpy_types import is_scalar
from orchestrator.data.parameters import (
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.data.values import LONGEST_INT, from_jsonable, is_missing, plain_base, to_jsonable
from orchestrator.errors import DataError
from orchestrator.text import is_clean

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Columns",
    "cells_of",
    "bad_label",
    "column_of",
    "contradicting_row",
    "decode_column",
    "encode_column",
    "labels_of",
    "plain_cell",
    "plain_cells",
    "read_csv",
    "read_texts",
    "write_csv",
]

# The cells of each column by its name; None is a missing value.
Columns: TypeAlias = dict[str, list[Any]]

_KIND_OF_TYPE = {float: "float", int: "int", bool: "bool"}
# The texts that pandas, with which f3dasm reads, takes for a missing value.
_MISSING_TEXTS = frozenset(
    [
        "",
        "nan",
        "NaN",
        "-nan",
        "-NaN",
        "NA",
        "N/A",
        "n/a",
        "NULL",
        "null",
        "None",
        "<NA>",
        "#N/A",
        "#NA",
        "#N/A N/A",
        "1.#IND",
        "1.#QNAN",
        "-1.#IND",
        "-1.#QNAN",
    ]
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_LABEL = re.compile(r"[+-]?[0-9]{1,18}")
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
_QUOTED = re.compile(r'[,"\r\n]|^\s|\s$')


def cells_of(series: pd.Series[Any]) -> list[Any]:
    """Return the values of a column as Python values, None for a missing value.

    Parameters
    ----------
    series : pandas.Series
        The column, of any dtype.

    Returns
    -------
    list
        One value per row.
    """
    return plain_cells(series.tolist())


def plain_cells(values: Iterable[Any]) -> list[Any]:
    """Replace NumPy scalars by equal Python values, and missing values by None.

    Parameters
    ----------
    values : iterable
        Any values.

    Returns
    -------
    list
        The cells.
    """
    cells = list(values)
    types = set(map(type, cells))
    if types <= {int, bool, str, type(None)}:
        return cells
    if types == {float}:
        return [None if cell != cell else cell for cell in cells]
    return [plain_cell(cell) for cell in cells]


def plain_cell(value: Any) -> Any:
    """Return the cell of a value: see `plain_cells`."""
    kind = type(value)
    if kind is float:
        return value if value == value else None
    if kind is int or kind is str or kind is bool:
        return value
    if is_missing(value):
        return None
    if is_scalar(value) and value.dtype.kind in "fiubSU":
        plain = value.item()
        return value if is_scalar(plain) else plain
    return plain_base(value)


def column_of(cells: Sequence[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Create a column from cells.

    Parameters
    ----------
    cells : sequence
        One Python value per row; None for a missing value.
    index : pandas.Index
        Labels of the rows.

    Returns
    -------
    pandas.Series
        The dtype is float64, int64 or bool; Int64 or boolean if values are missing; else object, with None for a
        missing value. Integers among floats become floats if each is exactly equal to its float.
    """
    import numpy as np
    import pandas as pd

    types = set(map(type, cells))
    has_missing = type(None) in types
    types.discard(type(None))
    if types <= {float} or (types == {int, float} and all(_fits_float(cell) for cell in cells)):
        return pd.Series(np.array(cells, dtype=np.float64), index=index)
    if types == {int} and all(cell is None or -(2**63) <= cell < 2**63 for cell in cells):
        return pd.Series(cells, index=index, dtype="Int64" if has_missing else "int64")
    if types == {bool}:
        return pd.Series(cells, index=index, dtype="boolean" if has_missing else "bool")
    objects = np.empty(len(cells), dtype=object)
    for position, cell in enumerate(cells):  # NumPy would unpack lists of equal length
        objects[position] = cell
    return pd.Series(objects, index=index, dtype=object)


def _fits_float(cell: Any) -> bool:
    return cell is None or (-(2**1023) < cell < 2**1023 and float(cell) == cell)


def encode_column(cells: Sequence[Any]) -> tuple[list[str], dict[str, str]]:
    """Encode a column as the texts of a CSV file.

    Parameters
    ----------
    cells : sequence
        One Python value per row; None for a missing value.

    Returns
    -------
    texts : list of str
        One per row; empty for a missing value or an empty text.
    note : dict
        The information for `decode_column`: the ``kind`` (float, int, bool, text, json, mixed); for text, whether an
        ``empty`` one is a missing value; for mixed, one letter per row in ``codes``.

    Raises
    ------
    TypeError
        If a value has a type that can't be stored in a table.
    ValueError
        If an integer has too many digits.
    """
    types = set(map(type, cells)) - {type(None)}
    if len(types) == 1 and (kind := _KIND_OF_TYPE.get(types.copy().pop())):
        return ["" if cell is None else _repr(cell) for cell in cells], {"kind": kind}
    pairs = [_encode_cell(cell) for cell in cells]
    texts = [text for text, _ in pairs]
    codes = "".join(code for _, code in pairs)
    if set(codes) == {"s"}:
        return texts, {"kind": "text"}
    if set(codes) == {"s", "-"} and ("", "s") not in pairs:
        return texts, {"kind": "text", "empty": "missing"}
    if set(codes) <= {"j", "-"}:
        return texts, {"kind": "json"}
    return texts, {"kind": "mixed", "codes": codes}


def _encode_cell(cell: Any) -> tuple[str, str]:
    if cell is None:
        return "", "-"
    code = {str: "s", bool: "b", int: "i", float: "f"}.get(type(cell), "j")
    if code == "s" and is_clean(cell):
        return cell, code
    # Text that is not Unicode becomes JSON, in ASCII, so that every program can read the file.
    return (_repr(cell), code) if code in "bif" else (json.dumps(to_jsonable(cell)), "j")


def _repr(cell: Any) -> str:
    try:
        return repr(cell)
    except ValueError:
        to_jsonable(cell)  # raises an error that says why this integer can't be stored
        raise


def decode_column(texts: Sequence[str], note: dict[str, str] | None, parameter: Parameter | None) -> list[Any]:
    """Decode the texts of a CSV file.

    Parameters
    ----------
    texts : sequence of str
        One per row.
    note : dict or None
        The note of `encode_column`. The type is inferred if there is no note, or if the texts contradict it, because
        another program wrote the file again.
    parameter : Parameter or None
        Parameter of the column in the domain.

    Returns
    -------
    list
        One value per row; None for a missing value.
    """
    try:
        return decode_noted(texts, note or {})
    except _CONTRADICTIONS:
        return _infer(texts, parameter)


def contradicting_row(texts: Sequence[str], note: dict[str, str]) -> int | None:
    """Return the first row whose text contradicts the note of its column; None if there is none."""
    codes = note.get("codes", "")
    for row, text in enumerate(texts):
        try:
            decode_noted([text], note if "codes" not in note else {**note, "codes": codes[row : row + 1]})
        except _CONTRADICTIONS:
            return row
    return None


_CONTRADICTIONS = (ValueError, KeyError, OverflowError, RecursionError, TypeError)


def decode_noted(texts: Sequence[str], note: dict[str, str]) -> list[Any]:
    """Decode texts by the note of their column; raise an exception if one of them contradicts it."""
    kind = note["kind"]
    if kind == "text":
        missing = note.get("empty") == "missing"
        return [None if missing and text == "" else text for text in texts]
    if kind == "mixed":
        codes = note["codes"]
        if len(codes) != len(texts):
            raise ValueError("the number of rows changed after the note was written")
        return [None if code == "-" else _DECODE[code](text) for text, code in zip(texts, codes, strict=True)]
    decode = _DECODE[{"float": "f", "int": "i", "bool": "b", "json": "j"}[kind]]
    return [None if text == "" else decode(text) for text in texts]


def _decode_bool(text: str) -> bool:
    return _TRUTH[text]


_DECODE: dict[str, Any] = {
    "s": str,
    "b": _decode_bool,
    "i": int,
    "f": float,
    "j": lambda text: from_jsonable(json.loads(text)),
}


def _infer(texts: Sequence[str], parameter: Parameter | None) -> list[Any]:
    known = _known_values(parameter)
    if known is not None and all(text in known or text in _MISSING_TEXTS for text in texts):
        return [known.get(text) for text in texts]
    present = [text for text in texts if text not in _MISSING_TEXTS]
    decode = _inferred_decoder(present, parameter)
    return [None if text in _MISSING_TEXTS else decode(text) for text in texts]


def _known_values(parameter: Parameter | None) -> dict[str, Any] | None:
    if isinstance(parameter, CategoricalParameter):
        values = parameter.categories
    elif isinstance(parameter, ConstantParameter):
        values = [parameter.value]
    else:
        return None
    return {str(value): value for value in values if value is not None}


def _inferred_decoder(present: Sequence[str], parameter: Parameter | None) -> Any:
    if parameter is not None and parameter.to_disk:
        return str
    if isinstance(parameter, ContinuousParameter) and _all_floats(present):
        return float
    if present and all(text in _TRUTH for text in present):
        return _decode_bool
    if all(_INTEGER.fullmatch(text) for text in present):
        return int if all(len(text) <= LONGEST_INT for text in present) else str
    if _all_floats(present):
        integers = isinstance(parameter, DiscreteParameter)
        # f3dasm writes integers as floats when some are missing.
        if integers and all(float(text).is_integer() for text in present):
            return lambda text: int(float(text))
        return float
    return str


def _all_floats(texts: Sequence[str]) -> bool:
    try:
        for text in texts:
            float(text)
    except ValueError:
        return False
    return not any("_" in text for text in texts)


def write_csv(labels: Sequence[int], columns: dict[str, list[str]]) -> bytes:
    """Encode a CSV file in f3dasm's layout: the first column has the labels, and an empty name.

    Parameters
    ----------
    labels : sequence of int
        Labels of the rows.
    columns : dict of str to list of str
        The texts by column.

    Returns
    -------
    bytes
        Content of the file.
    """
    names = ",".join(["", *map(_quote, columns)]) if columns else '""'
    rows = zip(map(str, labels), *([_quote(t) for t in column] for column in columns.values()), strict=True)
    lines = [names, *(",".join(row) for row in rows)]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def read_csv(content: bytes, name: str) -> tuple[list[int], dict[str, list[str]]]:
    """Decode a CSV file in f3dasm's layout, as text.

    Parameters
    ----------
    content : bytes
        Content of the file.
    name : str
        Name of the file, for error messages.

    Returns
    -------
    labels : list of int
        The first column; 0, 1, 2, ... if that does not contain unique integers.
    columns : dict of str to list of str
        The other columns by name.

    Raises
    ------
    DataError
        If the file is empty, is not CSV, or has a row with too few or too many fields.
    """
    texts, columns = read_texts(content, name)
    return labels_of(texts), columns


def read_texts(content: bytes, name: str) -> tuple[list[str], dict[str, list[str]]]:
    """Decode a CSV file as `read_csv` does, with the labels as text."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        text = io.StringIO(content.decode("utf-8", "surrogatepass"), newline="")
        rows = [row for row in csv.reader(text) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} can't be read as CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise DataError(f"{name} is empty: it was truncated")
    header = rows.pop(0)
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{name} has {len(row)} fields in row {number}, not {len(header)}: it was truncated")
    fields = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    return fields[0], dict(zip(header[1:], fields[1:], strict=True))


def labels_of(texts: Sequence[str]) -> list[int]:
    """Return the labels of the rows; 0, 1, 2, ... if the texts are not unique integers."""
    if bad_label(texts) is None:
        return [int(text) for text in texts]
    return list(range(len(texts)))


def bad_label(texts: Sequence[str]) -> str | None:
    """Return the first text that is not an integer, or that occurs twice; None if all are labels."""
    if all(_LABEL.fullmatch(text) for text in texts) and len(set(texts)) == len(texts):
        return None
    return next(text for text in texts if not _LABEL.fullmatch(text) or texts.count(text) > 1)
