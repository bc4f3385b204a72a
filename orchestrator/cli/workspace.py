"""Options that name the workspace, and the search for it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from orchestrator.errors import DatabaseError, NotFound
from orchestrator.trust import is_foreign, is_own, is_planted, is_trusted_folder, others_may_write, owner_of
from orchestrator.visible import visible
from orchestrator.workspace import DATABASE, Workspace
from orchestrator.wrapping import options_of_commands

__all__ = [
    "TypedOptions",
    "examples",
    "group_option",
    "key_of",
    "name_run",
    "new_workspace",
    "typed_options",
    "workspace_of",
    "workspace_options",
]


@dataclass
class TypedOptions:
    """How the workspace was named on the command line; printed commands name it in the same way.

    Attributes
    ----------
    text : str
        ` --rootdir FOLDER`, ` --db FILE`, or empty: found from the current folder or the environment.
    run : str
        Key of the run that the command is about; empty if it is not known.
    database : Path or None
        The database of the workspace; None if it is not known.
    """

    text: str = ""
    run: str = ""
    database: Path | None = None


def typed_options() -> str:
    """Return the options that name the workspace as they were typed, with a leading space."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.find_object(TypedOptions)
    return "" if found is None else found.text


def examples(*lines: str) -> str:
    """Return the examples at the end of a help page."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def workspace_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name the workspace to a command."""
    folder = click.Path(file_okay=False, readable=False, path_type=Path)
    file = click.Path(dir_okay=False, readable=False, path_type=Path)
    database = click.option(
        "--db", type=file, callback=_record, metavar="FILE", help="Database of the workspace. [env: ORCHESTRATOR_DB]"
    )
    rootdir = click.option("--rootdir", type=folder, callback=_record, metavar="DIR", help="Folder of the workspace.")

    @wraps(function)
    def with_options(*arguments: Any, **more: Any) -> Any:
        with options_of_commands(typed_options()):
            return function(*arguments, **more)

    return rootdir(database(with_options))


def _record(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        context.ensure_object(TypedOptions).text = f" --{option.name} {visible(shlex.quote(str(value)))}"
    return value


def workspace_of(rootdir: Path | None, db: Path | None) -> Workspace:
    """Return an existing workspace.

    Raises
    ------
    NotFound
        If no workspace is named, and there is none in the current folder or above it.
    """
    found = _named(rootdir, db) or _upwards()
    if found is None:
        raise _not_found()
    return _noted(found)


def group_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that shares a new workspace with a group."""
    return click.option(
        "--group", metavar="NAME", help="Share the new workspace with a group of yours. [default: it is private]"
    )(function)


def new_workspace(rootdir: Path | None, db: Path | None, group: str | None = None) -> Workspace:
    """Return the workspace for a new run: an existing one, or a new one in the current folder.

    Parameters
    ----------
    rootdir, db : Path or None
        The options that name it.
    group : str, optional
        Group that a new workspace is shared with.

    Raises
    ------
    DatabaseError
        If no option names the workspace, and the current folder belongs to another user, or a database above it was not
        used.
    """
    workspace = _named(rootdir, db) or _upwards() or _in_current_folder()
    if group is not None:
        from orchestrator.sharing import share

        share(workspace, group)
    return _noted(workspace)


def _noted(workspace: Workspace) -> Workspace:
    """Let unexpected errors be compared with the records of a workspace, and return it."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.ensure_object(TypedOptions).database = workspace.database
    return workspace


def _in_current_folder() -> Workspace:
    here = Path.cwd()
    if not is_trusted_folder(here):
        raise DatabaseError(
            f"The folder {here} belongs to {owner_of(here)}, who can change the files of a run there.",
            "Change to a folder of your own, or name this one: --rootdir .",
        )
    above = _first_database(here.parents)
    if above is not None:
        # A new workspace would divide the runs, and the user would not notice.
        use = f"To use it nevertheless, name it: --db {shlex.quote(str(above))}\n" if is_own(above) else ""
        raise DatabaseError(
            f"{above} was not used: {_why_not_used(above)}.",
            f"{use}To create a new workspace in the current folder: --rootdir .",
        )
    return Workspace.at(here)


def key_of(workspace: Workspace, key: str | None) -> str:
    """Return the key of the run: the given one, or that of the latest run."""
    if key is None:
        from orchestrator.db.run_rows import latest_key

        key = latest_key(workspace.database)
    name_run(key)
    return key


def name_run(key: str) -> None:
    """Let the hints of errors name the run that the command is about."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.ensure_object(TypedOptions).run = key


def _named(rootdir: Path | None, db: Path | None) -> Workspace | None:
    if rootdir is not None and db is not None:
        raise click.UsageError("--rootdir and --db both name the workspace; use only one of them.")
    from orchestrator.expansion import expanded

    # A shell leaves the `~` of `--rootdir=~/studies`, and of a quoted ORCHESTRATOR_DB, as it is.
    if rootdir is not None:
        return Workspace.at(expanded(rootdir, "--rootdir"))
    setting, file = ("--db", str(db)) if db is not None else ("ORCHESTRATOR_DB", os.environ.get("ORCHESTRATOR_DB"))
    return Workspace(Path(expanded(file, setting)).absolute()) if file else None


def _upwards() -> Workspace | None:
    """Return the workspace of the first database in the current folder or above it.

    The search ends there: None if there is no database, or if another user could have placed the first one and this
    user has not allowed it.
    """
    from orchestrator.sharing import is_allowed  # `--help` needs no workspace

    here, is_safe = Path.cwd(), True
    for folder in (here, *here.parents):
        path = folder / DATABASE
        is_safe = is_safe and is_trusted_folder(folder)
        if _exists(path):
            is_found = (is_safe and is_own(path) and not is_planted(path) and path.is_file()) or is_allowed(path)
            return Workspace(path) if is_found else None
        is_safe = is_safe and not others_may_write(folder)
    return None


def _not_found() -> NotFound:
    here = Path.cwd()
    found = _first_database((here, *here.parents))
    if found is None:
        return NotFound(
            f"There is no {DATABASE} in {here} or in a folder above it.",
            "Change to the folder of a workspace, or name it: --rootdir FOLDER\n"
            "The first run in a folder creates one: orchestrator run STUDY.py",
        )
    if not os.access(found, os.R_OK):
        files = f"{shlex.quote(str(found))} {shlex.quote(f'{found}-journal')}"
        return NotFound(
            f"{found} was not used: {_why_not_used(found)}, and you may not read it.",
            f"Use a workspace of your own: --rootdir FOLDER\nIts owner can let you read it with: chmod go+r {files}",
        )
    return NotFound(
        f"{found} was not used: {_why_not_used(found)}.",
        f"To read it nevertheless, name it: --db {shlex.quote(str(found))}\n"
        f"To use it here from now on: orchestrator db allow --db {shlex.quote(str(found))}",
    )


def _first_database(folders: Iterable[Path]) -> Path | None:
    """Return the first database in these folders, of any owner."""
    paths = (folder / DATABASE for folder in folders)
    return next((path for path in paths if _exists(path)), None)


def _exists(path: Path) -> bool:
    return is_own(path) or is_foreign(path)


def _why_not_used(path: Path) -> str:
    if not is_own(path):
        return f"it belongs to {owner_of(path)}"
    if is_planted(path):
        return "it is a link of another user"
    if not is_trusted_folder(path.parent):
        return f"its folder belongs to {owner_of(path.parent)}"
    return "a folder on the path to it belongs to another user, or other users may write to it"
