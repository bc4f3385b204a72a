"""A process for work on tables: it reads a request as JSON, and prints an answer as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import Busy, DataError
from orchestrator.worker.table_work import Request, collect, fold_all, freeze, is_outdated
from orchestrator.workspace import RunFolder

__all__ = ["answer"]


def answer(what: str, workspace: Path, key: str) -> None:
    """Do the work that standard input describes, and print the answer.

    Parameters
    ----------
    what : {"freeze", "compare", "collect", "fold"}
        Kind of work.
    workspace : Path
        Root folder of the workspace.
    key : str
        The run's key.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Other output must not mix with the answer: it goes to standard error.
    os.dup2(2, 1)
    try:
        reply = _do(what, RunFolder(workspace, key), json.load(sys.stdin))
    except (DataError, Busy) as error:
        reply = {"error": error.message, "hint": error.hint, "is_busy": isinstance(error, Busy)}
    with answers:
        json.dump(reply, answers)


def _do(what: str, folder: RunFolder, request: Any) -> dict[str, Any]:
    if what == "freeze":
        return asdict(freeze(folder, Request(**request)))
    if what == "compare":
        return {"is_outdated": is_outdated(folder, Request(**request))}
    if what == "collect":
        return asdict(collect(folder, **request))
    return {"n_quarantined": sum(len(report.quarantined) for report in fold_all(folder, **request))}
