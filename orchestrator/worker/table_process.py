"""A process for the work on tables: a request comes in as JSON, an answer goes out."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import Busy, DataError
from orchestrator.worker.table_work import Request, collect, fold_all, freeze
from orchestrator.workspace import RunFolder

__all__ = ["answer"]


def answer(what: str, workspace: Path, key: str) -> None:
    """Do what the request on standard input asks, and print the answer.

    Parameters
    ----------
    what : {"freeze", "collect", "fold"}
    workspace : Path
    key : str
        Of the run.
    """
    answers = os.fdopen(os.dup(1), "w")
    # The answer is all that may be printed there.
    os.dup2(2, 1)
    try:
        told = _do(what, RunFolder(workspace, key), json.load(sys.stdin))
    except (DataError, Busy) as error:
        told = {"error": error.message, "hint": error.hint, "is_busy": isinstance(error, Busy)}
    with answers:
        json.dump(told, answers)


def _do(what: str, folder: RunFolder, request: Any) -> dict[str, Any]:
    if what == "freeze":
        return asdict(freeze(folder, Request(**request)))
    if what == "collect":
        return asdict(collect(folder, request))
    return {"n_quarantined": sum(len(report.quarantined) for report in fold_all(folder, request))}
