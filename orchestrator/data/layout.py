"""f3dasm's layout: encode a table as the content of four files, and decode it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from orchestrator.data.cell_texts import Encoded, decode_column, encode_column
from orchestrator.data.column import Column, Columns, may_have_changed
from orchestrator.data.csv_files import csv_parts, labels_of, read_texts
from orchestrator.data.domain import Domain
from orchestrator.data.edited import check_domain, check_edited
from orchestrator.data.job_status import JobStatus
from orchestrator.data.labels import Labels
from orchestrator.data.noted_csv import is_worth_it, read_noted, read_statuses
from orchestrator.data.parameters import Parameter
from orchestrator.data.table import StoredFile, Table
from orchestrator.data.unquoted_csv import read_unquoted, read_unquoted_statuses
from orchestrator.errors import DataError
from orchestrator.sha256 import sha256_of, sha256_of_file

__all__ = ["Files", "StoredTable", "decode_files", "encode_files", "single_column"]


@dataclass(frozen=True)
class StoredTable:
    """The content of the four files.

    Attributes
    ----------
    domain : Domain
        The domain.
    table : Table
        The experiments.
    folded : dict of str to int
        Number of bytes of each result file that are folded into the table.
    stored_by : str or None, default None
        Token of the job that produced the table. `ExperimentData` does not take it over when it is loaded.
    """

    domain: Domain
    table: Table
    folded: dict[str, int]
    stored_by: str | None = None


class Files(NamedTuple):
    """A table as files.

    Attributes
    ----------
    contents : dict of str to bytes or None
        Content of the four files by name; None for a file on disk that has it already.
    stored : dict of str to StoredFile
        What `Table.stored` is after they are written.
    """

    contents: dict[str, bytes | None]
    stored: dict[str, StoredFile]


def encode_files(stored: StoredTable) -> Files:
    """Encode a table in f3dasm's layout, but for what the files on disk have already by `Table.stored`.

    Parameters
    ----------
    stored : StoredTable
        The table.

    Returns
    -------
    Files
        The content of the files.

    Raises
    ------
    TypeError
        If a value has a type that can't be stored in a table.
    ValueError
        If an integer has too many digits.
    """
    table = stored.table
    files: dict[str, bytes | None] = {}
    now: dict[str, StoredFile] = {}
    for which in ("input", "output", "jobs"):
        name = f"{which}.csv"
        if name in table.stored and not (which != "jobs" and may_have_changed(table.columns(which))):
            files[name], now[name] = None, table.stored[name]
            continue
        encoded = {"0": _encoded_statuses(table)} if which == "jobs" else _encoded(which, table.columns(which))
        content = b"".join(csv_parts(table.labels, encoded))
        notes = {column: encoding.note for column, encoding in encoded.items()}
        files[name], now[name] = content, StoredFile(sha256_of(content), notes)
    columns = {which: now[f"{which}.csv"].notes for which in ("input", "output")}
    domain = {**stored.domain.to_json(), "columns": columns, "folded": stored.folded}
    if stored.stored_by is not None:
        domain["stored_by"] = stored.stored_by
    domain["sha256"] = {name: file.digest for name, file in now.items()}
    files["domain.json"] = json.dumps(domain, indent=4).encode()
    return Files(files, now)


def _encoded(which: str, columns: Columns) -> dict[str, Encoded]:
    encoded = {}
    for name, column in columns.items():
        try:
            encoded[name] = encode_column(column)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{which} {name!r}: {error}") from error
    return encoded


def _encoded_statuses(table: Table) -> Encoded:
    names = [status.name for status in JobStatus]
    return Encoded({}, lambda begin, end: [names[value] for value in table.status[begin:end]], is_number=True)


def decode_files(base: Path, files: Mapping[str, BinaryIO], *, as_edited: bool = False) -> StoredTable:
    """Decode a table that `encode_files` or f3dasm wrote.

    A file that has changed since `encode_files` is taken if each of its cells has the type that its column had.

    Parameters
    ----------
    base : Path
        The folder of the files, for error messages.
    files : Mapping of str to BinaryIO
        The four files by name, open.
    as_edited : bool, default False
        Whether a file may have changed in other ways, too: then the types of such columns are inferred.

    Returns
    -------
    StoredTable
        The table.

    Raises
    ------
    DataError
        If the files can't be decoded, don't belong together, or one was damaged.
    """
    domain, notes = _decode_domain(base / "domain.json", files["domain.json"].read(), as_edited)
    inputs = _decode_values(base, "input", files, domain.input_space, notes, as_edited)
    outputs = _decode_values(base, "output", files, domain.output_space, notes, as_edited)
    statuses = _decode_statuses(base, files, notes, as_edited)
    labels, n_rows = inputs[0], [len(part[0]) for part in (inputs, outputs, statuses)]
    if not labels == outputs[0] == statuses[0]:
        raise DataError(
            f"the files in {base} don't belong together: input.csv has {n_rows[0]} rows, "
            f"output.csv {n_rows[1]}, jobs.csv {n_rows[2]}, or their labels differ",
            "One of them was truncated or changed by hand: restore all four from a copy.",
        )
    table = Table(labels, inputs[1], outputs[1], statuses[1])
    names: dict[str, Columns] = {"input": inputs[1], "output": outputs[1]}
    for name, digest in notes.sha256.items():
        which = name.removesuffix(".csv")
        noted = notes.columns.get(which, {})
        if notes.changed.get(name) is False and noted.keys() == names.get(which, {}).keys():
            table.stored[name] = StoredFile(digest, noted)
    return StoredTable(domain, table, notes.folded, notes.stored_by)


def _decode_values(
    base: Path,
    which: str,
    files: Mapping[str, BinaryIO],
    space: Mapping[str, Parameter],
    notes: _Notes,
    as_edited: bool,
) -> tuple[Labels, Columns]:
    path, columns = base / f"{which}.csv", notes.columns.get(which)
    file = files[path.name]
    is_changed = notes.has_changed(path.name, file)
    if is_changed is False and columns is not None:
        read = _read_noted(file, columns)
        if read is not None:
            return read
    content = _content(file)
    labels, texts = read_texts(content, str(path))
    if is_changed and not as_edited:
        check_edited(path, content, labels, texts, columns)
    return labels_of(labels), _decode_columns(path, texts, columns or {}, space)


def _read_noted(file: BinaryIO, notes: Mapping[str, dict[str, str]]) -> tuple[Labels, Columns] | None:
    """Read a file that has not changed, in the fastest way; None if it contradicts the notes, or Python is faster."""
    read = None
    if not is_worth_it(_size(file), is_quoted=False):
        read = read_unquoted(_content(file), notes)
        file.seek(0)
    if read is None and is_worth_it(_size(file), is_quoted=True):
        read = read_noted(file, notes)
    return read


def _decode_statuses(
    base: Path, files: Mapping[str, BinaryIO], notes: _Notes, as_edited: bool
) -> tuple[Labels, bytearray]:
    path = base / "jobs.csv"
    file = files[path.name]
    is_changed = notes.has_changed(path.name, file)
    if is_changed is False:
        with_pandas = is_worth_it(_size(file), is_quoted=False)
        read = read_statuses(file) if with_pandas else read_unquoted_statuses(_content(file))
        if read is not None:
            return read
    content = _content(file)
    labels, texts = read_texts(content, str(path))
    if is_changed and not as_edited:
        check_edited(path, content, labels, texts, None)
    return labels_of(labels), bytearray(JobStatus.of(text).value for text in single_column(texts, base))


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


@dataclass(frozen=True)
class _Notes:
    """What `encode_files` notes in ``domain.json`` beside the domain; all is empty in a file of f3dasm."""

    columns: dict[str, dict[str, dict[str, str]]]
    sha256: dict[str, str]
    folded: dict[str, int]
    stored_by: str | None
    changed: dict[str, bool | None] = field(default_factory=dict)
    """Whether a file has changed since it was stored; None if another program wrote it."""

    def has_changed(self, name: str, file: BinaryIO) -> bool | None:
        """Whether a file has changed since it was stored; None if another program wrote it."""
        digest = self.sha256.get(name)
        self.changed[name] = None if digest is None else sha256_of_file(file) != digest
        file.seek(0)
        return self.changed[name]


def _decode_domain(path: Path, content: bytes, as_edited: bool) -> tuple[Domain, _Notes]:
    try:
        noted = json.loads(content)
        domain = Domain.from_json(noted)
        if "columns" not in noted:
            # f3dasm has written it, which adds each output that is stored to the domain.
            domain.found_outputs = set(domain.output_space)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from error
    try:
        if not as_edited:
            check_domain(path, noted, domain)
        columns = {
            which: {name: {key: _text(value) for key, value in note.items()} for name, note in of_file.items()}
            for which, of_file in noted.get("columns", {}).items()
        }
        digests = {name: _text(value) for name, value in noted.get("sha256", {}).items()}
        folded = {name: int(value) for name, value in noted.get("folded", {}).items()}
        stored_by = noted.get("stored_by")
        return domain, _Notes(columns, digests, folded, None if stored_by is None else _text(stored_by))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} has a damaged note about the other files: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _decode_columns(
    path: Path, columns: Mapping[str, list[str]], notes: Mapping[str, dict[str, str]], space: Mapping[str, Parameter]
) -> Columns:
    decoded = {}
    for name, texts in columns.items():
        try:
            decoded[name] = Column(decode_column(texts, notes.get(name), space.get(name)))
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise DataError(
                f"the column {name!r} of {path} can't be read as its domain says: {type(error).__name__}: {error}"
            ) from error
    return decoded


def single_column(columns: Mapping[str, list[str]], path: Path) -> list[str]:
    """Return the column of a file of statuses, which has only one.

    Parameters
    ----------
    columns : Mapping of str to list of str
        The columns by name.
    path : Path
        The file, for error messages.

    Returns
    -------
    list of str
        Names of the statuses.

    Raises
    ------
    DataError
        If the file has no column, or several.
    """
    if len(columns) != 1:
        raise DataError(f"{path} must have one column of statuses, not {len(columns)}")
    return next(iter(columns.values()))
