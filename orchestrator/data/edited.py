"""Whether a file of a table that changed after it was stored was edited, or is damaged."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.data.cell_texts import contradicting_row
from orchestrator.data.csv_files import bad_label
from orchestrator.data.domain import Domain
from orchestrator.data.job_status import JobStatus
from orchestrator.errors import DataError

__all__ = ["check_domain", "check_edited"]

NOTES = frozenset({"columns", "folded", "sha256"})
"""What is noted in ``domain.json`` beside the domain each time that a table is stored."""

OF_DOMAIN = frozenset({"input_space", "output_space", "found_outputs", "notes"})


def check_domain(path: Path, noted: Mapping[str, Any], domain: Domain) -> None:
    """Raise `DataError` if a ``domain.json`` of ours has lost a name, or has another one. Other values are an edit.

    Parameters
    ----------
    path : Path
        The file.
    noted : Mapping
        Its content.
    domain : Domain
        The domain that was read from it.
    """
    notes = NOTES & noted.keys()
    if not notes:  # another program has written it
        return
    unknown = noted.keys() - NOTES - OF_DOMAIN - {"stored_by"}
    if unknown or notes != NOTES:
        raise _damaged(path, f"it has {min(unknown)!r}" if unknown else f"it has no {min(NOTES - notes)!r}")
    if _without_numbers(domain.to_json()) != _without_numbers(noted):
        raise _damaged(path, "a parameter has other fields")
    for which, space in (("input", domain.input_space), ("output", domain.output_space)):
        names = noted["columns"][which].keys() - space.keys()
        if names:
            raise _damaged(path, f"it has no {which} {min(names)!r}")


def _without_numbers(noted: Mapping[str, Any]) -> str:
    """Return the part of a ``domain.json`` that is the domain, with 0 for each number: a bound may be edited."""
    content = {"found_outputs": [], "notes": {}} | {name: noted[name] for name in noted if name in OF_DOMAIN}
    content["found_outputs"] = sorted(content["found_outputs"])
    text = json.dumps(content)
    return json.dumps(json.loads(text, parse_int=_zero, parse_float=_zero, parse_constant=_zero), sort_keys=True)


def _zero(number: str) -> int:
    return 0


def check_edited(
    path: Path,
    content: bytes,
    labels: list[str],
    columns: Mapping[str, list[str]],
    notes: Mapping[str, dict[str, str]] | None,
) -> None:
    """Raise `DataError` if a file that changed after it was stored can't be a careful edit.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes
        Its content.
    labels : list of str
        The texts of its first column.
    columns : mapping of str to list of str
        The texts of its columns.
    notes : mapping of str to dict, or None
        The notes of its columns; None for the file of statuses.
    """
    if not content.endswith(b"\n"):
        raise _damaged(path, "its last line is not complete")
    lost = [name for name in notes or {} if name not in columns]
    if lost:
        raise _damaged(path, f"it has no column {lost[0]!r}")
    label = bad_label(labels)
    if label is not None:
        raise _damaged(path, f"the label {_short(label)} is not an integer, or occurs twice")
    for name, texts in columns.items():
        note = None if notes is None else notes.get(name, {"kind": "text"})
        row = _bad_status(texts) if note is None else contradicting_row(texts, note)
        if row is not None:
            what = "is not a status" if note is None else f"is not of the type of its column, {note['kind']}"
            raise _damaged(path, f"{_short(texts[row])} in the row {labels[row]} {what}")


def _bad_status(texts: list[str]) -> int | None:
    return next((row for row, text in enumerate(texts) if text not in JobStatus.__members__), None)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _damaged(path: Path, why: str) -> DataError:
    project = repr(str(path.parent.parent))
    accept = f"from orchestrator import ExperimentData as E; E.from_file({project}, as_edited=True).store({project})"
    return DataError(
        f"{path} has changed since it was stored, and {why}.",
        "Correct it, or restore it from a copy.\n"
        "To continue a run with it as it is: orchestrator resume RUN --as-edited\n"
        f"To take it as it is, with other types: python -c {shlex.quote(accept)}",
    )
