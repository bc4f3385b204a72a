"""Inputs and outputs in a CSV file that the user has made: with a spreadsheet, with pandas, or by hand.

What such a file means is not always clear. It is read if there is one meaning, and refused otherwise.
"""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.damage import read_whole
from orchestrator.data.cell_texts import decode_column
from orchestrator.data.parameters import ConstantParameter, ContinuousParameter, DiscreteParameter, Parameter
from orchestrator.errors import DataError

__all__ = ["read_spreadsheet"]

INDEX_NAMES = ("", "Unnamed: 0")
"""Names of the column of labels: pandas writes the first; the second if it has read the first as a column."""

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_spreadsheet(path: Path, space: Mapping[str, Parameter], which: str) -> dict[str, list[Any]]:
    """Read the columns of a CSV file, with or without a column of labels.

    Parameters
    ----------
    path : Path
        The file, in UTF-8, with or without a byte order mark.
    space : Mapping of str to Parameter
        The parameters in the domain, by name.
    which : {"input", "output"}
        Which of the two the columns are.

    Returns
    -------
    dict of str to list
        The cells by column. The labels are left out.

    Raises
    ------
    DataError
        If the file has other separators, no or equal names, names that differ from those of the domain, rows of
        different lengths, or text where the domain has a number.
    """
    text = _text(path)
    header, *rows = _rows(path, text)
    _check_separator(path, text, header, space)
    first = _first_column(path, header, space, which)
    names = header[first:]
    _check_names(path, names, space, which)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(f"{path} has {len(row)} fields in row {number}, not {len(header)}.", "Complete this row.")
        if row and not any(cell.strip() for cell in row):
            raise DataError(f"row {number} of {path} is empty.", "Delete it.")
    columns = {}
    for at, name in enumerate(names, start=first):
        cells = decode_column([row[at] for row in rows], None, space.get(name))
        _check_numbers(path, name, cells, space.get(name))
        columns[name] = cells
    return columns


def _text(path: Path) -> str:
    content = read_whole(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is text in UTF-16.", "Save it as CSV in UTF-8.")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}", "Save it as CSV in UTF-8.") from error


def _rows(path: Path, text: str, separator: str = ",") -> list[list[str]]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    except csv.Error as error:
        raise DataError(f"{path} can't be read as CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise DataError(f"{path} is empty.", "It needs a first row with the names of its columns.")
    return rows


def _check_separator(path: Path, text: str, header: Sequence[str], space: Mapping[str, Parameter]) -> None:
    line = text.splitlines()[0]
    for separator, called in SEPARATORS.items():
        if len(header) <= line.count(separator) and not all(name in space for name in header):
            raise DataError(
                f"the columns of {path} are separated by {called}, not by commas: {line!r:.60}",
                f"Read it with pandas: pd.read_csv({str(path)!r}, sep={separator!r}); with decimal commas, decimal=','",
            )


def _first_column(path: Path, header: Sequence[str], space: Mapping[str, Parameter], which: str) -> int:
    """Return the number of the first column that is not the one of labels."""
    name = header[0]
    if name in space:
        return 0
    if name in INDEX_NAMES:
        return 1
    if not space:
        return 0
    raise DataError(
        f"the first column of {path} has the name {name!r}, which is not an {which} of the domain.",
        f"If it has the labels of the rows, delete this name; else use one of: {', '.join(space)}",
    )


def _check_names(path: Path, names: Sequence[str], space: Mapping[str, Parameter], which: str) -> None:
    for name in names:
        if not name.strip():
            raise DataError(f"column {names.index(name) + 1} of {path} has no name.", "Delete it, or give it a name.")
        if names.count(name) > 1:
            raise DataError(f"two columns of {path} have the name {name!r}.", "Use a unique name for each column.")
    unknown = [name for name in names if space and name not in space]
    optional = (ConstantParameter,)
    missing = [n for n, p in space.items() if n not in names and not isinstance(p, optional) and not p.allows_none]
    if unknown and missing and which == "input":
        raise DataError(
            f"{path} has no column {missing[0]!r}, which is an input of the domain, but one with the name "
            f"{unknown[0]!r}, which is not.",
            "Use the names of the domain.",
        )


def _check_numbers(path: Path, name: str, cells: Sequence[Any], parameter: Parameter | None) -> None:
    if not isinstance(parameter, ContinuousParameter | DiscreteParameter):
        return
    for number, cell in enumerate(cells, start=1):
        is_whole = isinstance(parameter, DiscreteParameter)
        if isinstance(cell, str) or (is_whole and isinstance(cell, float)):
            what = "an integer" if is_whole else "a number"
            raise DataError(
                f"the column {name!r} of {path} has {str(cell)!r:.40} in row {number}, which is not {what}.",
                "Use a decimal point, and no units.",
            )
