"""Find the workspace's database, and the run that is meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestrator.errors import NotFound

__all__ = ["database", "key_of", "new_database", "options"]

NAME = "orchestrator.db"


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which workspace is meant."""
    folder = click.Path(file_okay=False, path_type=Path)
    file = click.Path(dir_okay=False, path_type=Path)
    function = click.option("--db", type=file, help="The workspace's database. [env: ORCHESTRATOR_DB]")(function)
    return click.option("--rootdir", type=folder, help="The workspace's folder.")(function)


def database(rootdir: Path | None, db: Path | None) -> Path:
    """Find the database of a workspace that exists.

    Raises
    ------
    NotFound
    """
    named = _named(rootdir, db)
    if named is not None:
        return named
    found = _upwards()
    if found is None:
        raise NotFound(
            f"There is no {NAME} in {Path.cwd()} or in a folder above it.",
            "Go to the folder of a study that was run, or name it: --rootdir FOLDER",
        )
    return found


def new_database(rootdir: Path | None, db: Path | None) -> Path:
    """Find the database for a new run: that of the workspace around, or a new one in the current folder."""
    return _named(rootdir, db) or _upwards() or Path.cwd() / NAME


def key_of(path: Path, key: str | None) -> str:
    """Name the run that is meant: the latest, where none is named."""
    if key is not None:
        return key
    from orchestrator.db.queries import latest_key

    return latest_key(path)


def _named(rootdir: Path | None, db: Path | None) -> Path | None:
    if rootdir is not None and db is not None:
        raise click.UsageError("--rootdir and --db both name the workspace: give one of them.")
    if rootdir is not None:
        return rootdir.absolute() / NAME
    if db is None and os.environ.get("ORCHESTRATOR_DB"):
        db = Path(os.environ["ORCHESTRATOR_DB"])
    return None if db is None else db.absolute()


def _upwards() -> Path | None:
    here = Path.cwd()
    return next((folder / NAME for folder in (here, *here.parents) if (folder / NAME).is_file()), None)
