"""f3dasm's layout: encode a table as the content of four files, and decode it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.data.columns import decode_column, encode_column, read_csv, write_csv
from orchestrator.data.domain import Domain
from orchestrator.data.job_status import JobStatus
from orchestrator.data.table import Table
from orchestrator.errors import DataError

__all__ = ["StoredTable", "decode_files", "encode_files", "single_column"]


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


def encode_files(stored: StoredTable) -> dict[str, bytes]:
    """Encode a table in f3dasm's layout.

    Parameters
    ----------
    stored : StoredTable
        The table.

    Returns
    -------
    dict of str to bytes
        Content of the four files by name.

    Raises
    ------
    TypeError
        If a value has a type that can't be stored in a table.
    ValueError
        If an integer has too many digits.
    """
    table = stored.table
    notes: dict[str, Any] = {"rows": len(table)}
    files = {}
    for which, columns in (("input", table.inputs), ("output", table.outputs)):
        encoded = {}
        for name, cells in columns.items():
            try:
                encoded[name] = encode_column(cells)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{which} {name!r}: {error}") from error
        files[f"{which}.csv"] = write_csv(table.labels, {n: e[0] for n, e in encoded.items()})
        notes[which] = {name: note for name, (_, note) in encoded.items()}
    domain = {**stored.domain.to_json(), "columns": notes, "folded": stored.folded}
    if stored.stored_by is not None:
        domain["stored_by"] = stored.stored_by
    files["domain.json"] = json.dumps(domain, indent=4).encode()
    files["jobs.csv"] = write_csv(table.labels, {"0": [status.name for status in table.statuses()]})
    return files


def decode_files(base: Path, contents: Mapping[str, bytes]) -> StoredTable:
    """Decode a table that `encode_files` or f3dasm wrote.

    Parameters
    ----------
    base : Path
        The folder of the files, for error messages.
    contents : Mapping of str to bytes
        Content of the four files by name.

    Returns
    -------
    StoredTable
        The table.

    Raises
    ------
    DataError
        If the files can't be decoded, or don't belong together.
    """
    try:
        noted = json.loads(contents["domain.json"])
        domain = Domain.from_json(noted)
    except ValueError as error:
        raise DataError(f"{base / 'domain.json'} is not valid JSON: {error}") from error
    notes = noted.get("columns", {})
    labels, columns = {}, {}
    for name in ("input", "output", "jobs"):
        path = base / f"{name}.csv"
        labels[name], columns[name] = read_csv(contents[path.name], str(path))
    if not labels["input"] == labels["output"] == labels["jobs"]:
        raise DataError(
            f"the files in {base} don't belong together: input.csv has {len(labels['input'])} rows, "
            f"output.csv {len(labels['output'])}, jobs.csv {len(labels['jobs'])}, or their labels differ",
            "One of them was truncated or changed by hand: restore all four from a copy.",
        )
    status = bytearray(JobStatus.of(text).value for text in single_column(columns["jobs"], base))
    inputs, outputs = (
        {
            name: decode_column(texts, notes.get(which, {}).get(name), space.get(name))
            for name, texts in columns[which].items()
        }
        for which, space in (("input", domain.input_space), ("output", domain.output_space))
    )
    folded = dict(noted.get("folded", {}))
    return StoredTable(domain, Table(labels["input"], inputs, outputs, status), folded, noted.get("stored_by"))


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
