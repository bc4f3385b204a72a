"""The rows of a run, to move it to another workspace."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.damage import LATEST
from orchestrator.db import moves
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder
from orchestrator.db.relocation import relocation
from orchestrator.db.revision import REVISION
from orchestrator.db.rows import insert, scalar
from orchestrator.db.run_rows import run_row
from orchestrator.db.store import Store
from orchestrator.errors import DataError, DefinitionError
from orchestrator.machine.kinds import EventKind
from orchestrator.workspace import LOG_DIR

__all__ = ["import_rows", "key_of_salt", "rows_of"]

_PARTS = ("step_run", "job", "event")

_TYPES: dict[str, type | tuple[type, ...]] = {
    "INTEGER": int,
    "FLOAT": (int, float),
    "BOOLEAN": (bool, int),
    "TEXT": str,
    "JSON": dict,
}
"""The types in Python of the types of columns."""


def rows_of(path: Path, key: str) -> dict[str, Any]:
    """Return all rows of a run as JSON values."""
    with session(path, write=False) as connection:
        run = run_row(connection, key)
        rows: dict[str, Any] = {"revision": REVISION, "run": vars(run)}
        for table in _PARTS:
            found = connection.execute(f"SELECT * FROM {table} WHERE run_id = ? ORDER BY id", (run.id,))
            rows[table] = [vars(row) for row in found]
        return rows


def key_of_salt(path: Path, salt: str) -> str | None:
    """Return the key of the run with this salt: the same run, whatever its key was; None if there is none."""
    with session(path, write=False) as connection:
        key: str | None = scalar(connection, "SELECT key FROM run WHERE salt = ?", (salt,))
        return key


def import_rows(store: Store, rows: Mapping[str, Any], key: str, now: float, why: str) -> None:
    """Record a run of another workspace, in one transaction; it belongs to this user.

    Raises
    ------
    DefinitionError
        If it is recorded here already.
    DataError
        If the rows are damaged, or of another version of orchestrator.
    """
    root, uid = store.workspace.real_root, os.geteuid()
    try:
        with session(store.path) as connection:
            run = dict(rows["run"])
            run |= dict.fromkeys([f"lease_{name}" for name in (*Holder._fields, "taken_at", "beat_at", "beat_seen_at")])
            if run["cluster"] is not None:
                # Its logs are where those of a run are by default.
                run["cluster"]["cluster"] |= {"log_dir": LOG_DIR}
            if not all(re.fullmatch(r"[a-z2-7]{10}", job["token"]) for job in rows["job"]):
                raise ValueError("a job has a token that is not valid")
            run |= {**relocation(SimpleNamespace(**run), root), "root": root}  # type: ignore[arg-type]
            run_id = _insert(connection, "run", run | {"key": key, "uid": uid, "fence": 0}, {})
            ids: dict[str, dict[int, int]] = {"run_id": {run["id"]: run_id}}
            for table in _PARTS:
                ids[f"{table}_id"] = {row["id"]: _insert(connection, table, row, ids) for row in rows[table]}
            moves.log(connection, run_id, now, EventKind.IMPORTED, old=run["key"], new=key, why=why)
    except sqlite3.IntegrityError as error:
        raise DefinitionError(
            f"The run can't be recorded here: {error}.", "List all runs: orchestrator list"
        ) from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"The records in the archive can't be used: {type(error).__name__}: {error}.") from error


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any], ids: Mapping[str, Any]) -> int:
    known = {found.name: found.type for found in connection.execute(f"PRAGMA table_info({table})")}
    if set(known) != set(row):
        raise ValueError(f"it has other columns of {table}: another version of orchestrator wrote it")
    for name, value in row.items():
        # SQLite stores a value of any type in any column.
        if value is not None and not isinstance(value, _TYPES[known[name]]):
            raise ValueError(f"{name} in {table} is not of the type {known[name]}")
        if isinstance(value, float) and not abs(value) < LATEST:
            raise ValueError(f"{name} in {table} is out of range")
    values = dict(row)
    values.pop("id")
    for name, new in ids.items():
        if values.get(name) is not None:
            values[name] = new[values[name]]
    return insert(connection, table, values)
