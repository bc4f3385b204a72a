"""The names of what is in the folder of a table, and beside it: where the results, the archive and the lock are."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ARCHIVE",
    "DATA_FOLDER",
    "LOCK",
    "QUARANTINE",
    "RESULTS",
    "SAMPLE_FOLDER",
    "SCRATCH",
    "TABLE_FILES",
    "data_folder",
]

DATA_FOLDER = "experiment_data"
"""The folder of a table, in the folder that a step is called with."""

TABLE_FILES = ("domain.json", "input.csv", "output.csv", "jobs.csv")
"""The files of a table, as f3dasm names them."""

RESULTS = ".results"
"""In the folder of a table: the result files that are not folded yet, in a folder for each job."""

ARCHIVE = ".archive"
"""In the folder of a table: the result files that are folded, and what was set aside."""

QUARANTINE = "quarantine"
"""In the archive: results that belong to no row (`match_results` in `orchestrator.data.matching`)."""

LOCK = ".lock"
"""In the folder of a table: the lock of those that store it."""

SAMPLE_FOLDER = "experiment_sample"
"""Beside the folder of a table: the sample files of f3dasm."""

SCRATCH = "scratch"
"""Beside the folder of a table: the scratch folders of its experiments."""


def data_folder(project_dir: Path | str) -> Path:
    """Return the folder of the table, ``<project_dir>/experiment_data``."""
    return Path(project_dir) / DATA_FOLDER
