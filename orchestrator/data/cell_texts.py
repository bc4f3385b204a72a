"""The texts of a column in a CSV file: encode cells as texts, and decode them.

CSV has only text, and does not distinguish an empty text from a missing value. The type of each column is therefore
noted in ``domain.json``. A file that f3dasm wrote has no such note; the type of its columns is inferred from the
domain, else from the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.data.column import Column, Numbers
from orchestrator.data.float_texts import texts_of_floats
from orchestrator.data.numpy_types import is_array
from orchestrator.data.parameters import (
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.data.values import LONGEST_INT, from_jsonable, to_jsonable
from orchestrator.text import is_clean

__all__ = [
    "CONTRADICTIONS",
    "Encoded",
    "contradicting_row",
    "decode_column",
    "decode_noted",
    "encode_column",
    "texts_of_numbers",
]

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
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}

CONTRADICTIONS = (ValueError, KeyError, OverflowError, RecursionError, TypeError)
"""What `decode_noted` raises if a text contradicts the note of its column."""


@dataclass(frozen=True)
class Encoded:
    """A column as the texts of a CSV file.

    Attributes
    ----------
    note : dict of str to str
        The information for `decode_column`: the ``kind`` (float, int, bool, text, array, json, mixed); for text,
        whether an ``empty`` one is a missing value; for arrays, their ``dtype``; for mixed, one letter per row in
        ``codes``.
    texts : callable
        Returns the texts of the rows between two positions; empty for a missing value or an empty text.
    is_number : bool
        Whether no text has to be quoted.
    """

    note: dict[str, str]
    texts: Callable[[int, int | None], list[str]]
    is_number: bool = False


def encode_column(column: Column) -> Encoded:
    """Encode a column as the texts of a CSV file.

    Raises
    ------
    TypeError
        If a value has a type that can't be stored in a table.
    ValueError
        If an integer has too many digits.
    """
    numbers = column.numbers
    if numbers is not None and not column.is_empty():
        kind = _KIND_OF_TYPE[numbers.kind]
        return Encoded({"kind": kind}, lambda begin, end: _texts_of(numbers, begin, end), is_number=True)
    texts, note = _encode_cells(column.cells())
    return Encoded(note, lambda begin, end: texts[begin:end], note["kind"] in _KIND_OF_TYPE.values())


def texts_of_numbers(cells: Sequence[Any]) -> list[str]:
    """Return `repr` of each cell, a number or None; that of a list of them takes less time than theirs."""
    return repr(cells)[1:-1].split(", ") if cells else []


def _texts_of(numbers: Numbers, begin: int, end: int | None) -> list[str]:
    if numbers.kind is float:
        texts = texts_of_floats(numbers.values[begin:end])
        return ["" if text == "nan" else text for text in texts] if "nan" in texts else texts
    cells = numbers.cells(begin, end)
    texts = texts_of_numbers(cells)
    return ["" if text == "None" else text for text in texts] if None in cells else texts


def _encode_cells(cells: Sequence[Any]) -> tuple[list[str], dict[str, str]]:
    types = set(map(type, cells)) - {type(None)}
    if len(types) == 1 and (kind := _KIND_OF_TYPE.get(types.copy().pop())):
        return ["" if cell is None else _repr(cell) for cell in cells], {"kind": kind}
    if len(types) == 1 and (arrays := _encode_arrays(cells)) is not None:
        return arrays
    if types == {str} and all(map(is_clean, set(cells) - {None})):
        if None not in cells:
            return list(cells), {"kind": "text"}
        if "" not in cells:
            return ["" if cell is None else cell for cell in cells], {"kind": "text", "empty": "missing"}
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


def _encode_arrays(cells: Sequence[Any]) -> tuple[list[str], dict[str, str]] | None:
    """Return arrays of numbers of one type as lists of JSON, for other programs; None if that would lose something."""
    first = next(cell for cell in cells if cell is not None)
    if not is_array(first) or first.dtype.kind not in _READABLE or len(first.dtype.str) > _LONGEST_DTYPE:
        return None
    dtype = first.dtype.str
    texts = ["" if cell is None else json.dumps(cell.tolist()) if cell.dtype.str == dtype else None for cell in cells]
    same = (
        text is not None and (cell is None or _is_same(cell, text)) for cell, text in zip(cells, texts, strict=True)
    )
    return (list(map(str, texts)), {"kind": "array", "dtype": dtype}) if all(same) else None


_READABLE = "biuf"
"""Kinds of NumPy's types that JSON has, too."""

_LONGEST_DTYPE = 3
"""Length of a type's name, as "<f8". Floats with a longer one don't fit into those of Python."""


def _is_same(array: Any, text: str) -> bool:
    back = _decode_array(text, array.dtype.str)
    return bool(back.shape == array.shape and back.tobytes() == array.tobytes())


def _decode_array(text: str, dtype: str) -> Any:
    import numpy as np

    kind = np.dtype(dtype)
    if kind.kind not in _READABLE:
        raise ValueError(f"{dtype!r} is not a type of numbers")
    return np.array(json.loads(text), dtype=kind)


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
    except CONTRADICTIONS:
        return _infer(texts, parameter)


def contradicting_row(texts: Sequence[str], note: dict[str, str]) -> int | None:
    """Return the first row whose text contradicts the note of its column; None if there is none."""
    codes = note.get("codes", "")
    for row, text in enumerate(texts):
        try:
            decode_noted([text], note if "codes" not in note else {**note, "codes": codes[row : row + 1]})
        except CONTRADICTIONS:
            return row
    return None


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
    if kind == "array":
        return [None if text == "" else _decode_array(text, note["dtype"]) for text in texts]
    if kind in ("float", "int") and any("_" in text for text in texts):
        raise ValueError("Python reads 1_0 as a number, but a table contains no such text")
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
