"""`orchestrator db`: look after the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.cli.render import several, to_json
from orchestrator.cli.workspace import examples, options, workspace_of
from orchestrator.errors import DatabaseError

if TYPE_CHECKING:
    from orchestrator.db.migrate import DatabaseInfo

__all__ = ["DatabaseCheck", "command"]


class DatabaseCheck(NamedTuple):
    """What a look for damage found.

    Attributes
    ----------
    path : str
        File of the database.
    problems : tuple of str
        One line per problem; empty if all is well.
    """

    path: str
    problems: tuple[str, ...]


@click.group("db", epilog=examples("orchestrator db info", "orchestrator db check", "orchestrator db upgrade"))
def command() -> None:
    """Look after the workspace's database."""


@command.command(epilog=examples("orchestrator db upgrade"))
@options
def upgrade(rootdir: Path | None, db: Path | None) -> None:
    """Bring the database to this version's revision, after a backup."""
    from orchestrator.db import migrate
    from orchestrator.db.revision import REVISION

    path = workspace_of(rootdir, db).database
    copy = migrate.upgrade(path)
    if copy is None:
        click.echo(f"Nothing to do: {path} has revision {REVISION} already.")
    else:
        click.echo(f"{path} has revision {REVISION} now. As it was before, it is in:\n{copy}")


@command.command(epilog=examples("orchestrator db info", "orchestrator db info --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options
def info(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Describe the database: revision, size, runs, file system, lock."""
    from orchestrator.db import migrate

    facts = migrate.info(workspace_of(rootdir, db).database)
    click.echo(to_json(facts) if as_json else "\n".join(_lines(facts)))


@command.command(epilog=examples("orchestrator db check"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options
def check(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Look for damage."""
    from orchestrator.db import migrate

    path = workspace_of(rootdir, db).database
    problems = migrate.check(path)
    if as_json:
        click.echo(to_json(DatabaseCheck(str(path), tuple(problems))))
    elif not problems:
        click.echo(f"{path} is in order.")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DatabaseError(
            f"{path} has {several(len(problems), 'problem')}:\n{listed}",
            "Keep a copy of the file before anything else writes to it.",
        )


_GUARDS = {"kernel": "the kernel's file lock", "links": "links in the workspace's folder"}


def _lines(facts: DatabaseInfo) -> list[str]:
    needs = "" if facts.revision == facts.needed else f" (this orchestrator needs {facts.needed})"
    told = {
        "file": facts.path,
        "revision": f"{facts.revision}{needs}",
        "runs": "unknown" if facts.runs is None else facts.runs,
        "size": f"{facts.size / 1024:.0f} KiB",
        "writable": "yes, by you" if facts.writable else "no, not by you",
        "lock": f"{_GUARDS[facts.guard]} ({facts.file_system})",
        "sqlite": facts.sqlite,
    }
    return [f"{name:10}{value}" for name, value in told.items()]
