"""CSV files in f3dasm's layout: the first column has the labels of the rows, and an empty name."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.data.cell_texts import Encoded, texts_of_numbers
from orchestrator.data.labels import Labels
from orchestrator.errors import DataError

__all__ = ["bad_label", "csv_parts", "labels_of", "read_csv", "read_texts"]

_ROWS = 20_000
"""Number of rows that are encoded at once."""

_LABEL = re.compile(r"[+-]?[0-9]{1,18}")
_QUOTED = re.compile(r'[,"\r\n]|^\s|\s$')


def csv_parts(labels: Labels, columns: Mapping[str, Encoded]) -> Iterator[bytes]:
    """Yield the content of a file, some rows at a time.

    Parameters
    ----------
    labels : Labels
        Labels of the rows.
    columns : Mapping of str to Encoded
        The columns by name.

    Yields
    ------
    bytes
        The next part of the content.
    """
    names = ",".join(["", *map(_quote, columns)]) if columns else '""'
    yield _encode([names])
    for begin in range(0, len(labels), _ROWS):
        end = min(begin + _ROWS, len(labels))
        texts = [texts_of_numbers(list(labels.between(begin, end)))]
        texts += [_texts(column, begin, end) for column in columns.values()]
        yield _encode(map(",".join, zip(*texts, strict=True)))


def _texts(column: Encoded, begin: int, end: int) -> list[str]:
    texts = column.texts(begin, end)
    if column.is_number:
        return texts
    quoted = {text: _quote(text) for text in set(texts)}
    return [quoted[text] for text in texts]


def _encode(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def read_csv(content: bytes, name: str) -> tuple[Labels, dict[str, list[str]]]:
    """Decode a CSV file in f3dasm's layout, as text.

    Parameters
    ----------
    content : bytes
        Content of the file.
    name : str
        Name of the file, for error messages.

    Returns
    -------
    labels : Labels
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


def labels_of(texts: Sequence[str]) -> Labels:
    """Return the labels of the rows; 0, 1, 2, ... if the texts are not unique integers."""
    return Labels(map(int, texts) if bad_label(texts) is None else range(len(texts)))


def bad_label(texts: Sequence[str]) -> str | None:
    """Return the first text that is not an integer, or that occurs twice; None if all are labels."""
    if all(_LABEL.fullmatch(text) for text in texts) and len(set(texts)) == len(texts):
        return None
    return next(text for text in texts if not _LABEL.fullmatch(text) or texts.count(text) > 1)
