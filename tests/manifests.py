"""Manifests of experiments that a test makes up."""

import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.handoff.manifest import Entry, lines_of, write_manifest


def write_entries(path: Path, tasks: Sequence[Sequence[Entry]]) -> str:
    """Write a manifest with the experiments of each task, and return its digest."""
    return write_manifest(path, [_lines(entries) for entries in tasks])


def _lines(entries: Sequence[Entry]) -> list[str]:
    inputs, outputs = (
        [json.dumps(getattr(entry, which), separators=(",", ":")) for entry in entries]
        for which in ("inputs", "outputs")
    )
    rows, digests = [entry.row for entry in entries], [entry.digest for entry in entries]
    return lines_of(rows, digests, inputs, outputs, {(entry.row, entry.digest): entry.cuts for entry in entries})
