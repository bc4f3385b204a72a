"""Find the workspace's database, and the run that is meant."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from orchestrator.errors import DatabaseError, NotFound
from orchestrator.trust import is_foreign, is_own, others_may_write, owner_of
from orchestrator.workspace import DATABASE, Workspace

__all__ = ["Place", "examples", "key_of", "new_workspace", "options", "place", "workspace_of"]


@dataclass
class Place:
    """How the workspace was named, so that the commands that we print name it, too.

    Attributes
    ----------
    words : str
        ` --rootdir FOLDER`, ` --db FILE`, or nothing: found from the current folder or the environment.
    """

    words: str = ""


def place() -> str:
    """Give the options that name the workspace as they were typed, with a space before."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.find_object(Place)
    return "" if found is None else found.words


def examples(*lines: str) -> str:
    """Write the end of a help page."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which workspace is meant."""
    folder = click.Path(file_okay=False, path_type=Path)
    file = click.Path(dir_okay=False, path_type=Path)
    database = click.option(
        "--db", type=file, callback=_keep, metavar="FILE", help="The workspace's database. [env: ORCHESTRATOR_DB]"
    )
    rootdir = click.option("--rootdir", type=folder, callback=_keep, metavar="DIR", help="The workspace's folder.")
    return rootdir(database(function))


def _keep(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        context.ensure_object(Place).words = f" --{option.name} {shlex.quote(str(value))}"
    return value


def workspace_of(rootdir: Path | None, db: Path | None) -> Workspace:
    """Find a workspace that exists.

    Raises
    ------
    NotFound
    """
    named = _named(rootdir, db)
    if named is not None:
        return named
    found = _upwards()
    if found is None:
        raise _not_found()
    return found


def new_workspace(rootdir: Path | None, db: Path | None) -> Workspace:
    """Find the workspace for a new run: the one around the current folder, or a new one in it.

    Raises
    ------
    DatabaseError
        If the current folder belongs to another user, and was not named.
    """
    found = _named(rootdir, db) or _upwards()
    if found is not None:
        return found
    here = Path.cwd()
    if not is_own(here):
        raise DatabaseError(
            f"The folder {here} belongs to {owner_of(here)}, who can change what a run keeps there.",
            "Go to a folder of your own, or name this one: --rootdir .",
        )
    return Workspace.at(here)


def key_of(workspace: Workspace, key: str | None) -> str:
    """Name the run that is meant: the latest, where none is named."""
    if key is not None:
        return key
    from orchestrator.db.runs import latest_key

    return latest_key(workspace.database)


def _named(rootdir: Path | None, db: Path | None) -> Workspace | None:
    if rootdir is not None and db is not None:
        raise click.UsageError("--rootdir and --db both name the workspace: give one of them.")
    if rootdir is not None:
        return Workspace.at(rootdir)
    if db is None and os.environ.get("ORCHESTRATOR_DB"):
        db = Path(os.environ["ORCHESTRATOR_DB"])
    return None if db is None else Workspace(db.absolute())


def _upwards() -> Workspace | None:
    """Find the database around, in this user's own folders only, and not above one where others may plant it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / DATABASE
        if not is_own(folder):
            return None
        if is_own(path) and path.is_file():
            return Workspace(path)
        if is_foreign(path) or others_may_write(folder):
            return None
    return None


def _not_found() -> NotFound:
    here = Path.cwd()
    paths = [folder / DATABASE for folder in (here, *here.parents)]
    found = next((path for path in paths if is_own(path) or is_foreign(path)), None)
    if found is None:
        return NotFound(
            f"There is no {DATABASE} in {here} or in a folder above it.",
            "Go to the folder of a study that was run, or name it: --rootdir FOLDER",
        )
    return NotFound(
        f"{found} was not taken: {_why_not_taken(found)}.",
        f"To look into it all the same, name it: --db {shlex.quote(str(found))}",
    )


def _why_not_taken(path: Path) -> str:
    if not is_own(path):
        return f"it belongs to {owner_of(path)}"
    if not is_own(path.parent):
        return f"its folder belongs to {owner_of(path.parent)}"
    return "a folder on the way to it belongs to another user, or others may write to it"
