"""`orchestrator db`: maintain the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.amounts import size_text
from orchestrator.cli.consent import change_options, goes_ahead
from orchestrator.cli.render import echo, plural, to_json
from orchestrator.cli.workspace import examples, workspace_of, workspace_options
from orchestrator.errors import DatabaseError

if TYPE_CHECKING:
    from orchestrator.db.migrate import DatabaseInfo

__all__ = ["DatabaseCheck", "command"]


class DatabaseCheck(NamedTuple):
    """Result of a check for damage.

    Attributes
    ----------
    path : str
        File of the database.
    problems : tuple of str
        One line per problem; empty if there is none.
    """

    path: str
    problems: tuple[str, ...]


@click.group("db", epilog=examples("orchestrator db info", "orchestrator db check", "orchestrator db upgrade"))
def command() -> None:
    """Maintain the database of the workspace."""


@command.command(epilog=examples("orchestrator db upgrade"))
@change_options
@workspace_options
def upgrade(dry_run: bool, yes: bool, rootdir: Path | None, db: Path | None) -> None:
    """Upgrade the database to this version, after a backup."""
    from orchestrator.db import migrate
    from orchestrator.db.revision import REVISION

    path = workspace_of(rootdir, db).database
    found = migrate.info(path)
    lines = [f"Upgrades {path} from revision {found.revision} to {found.needed}. A backup is written beside it first."]
    shown = lines if int(found.revision) < int(found.needed) else []
    if not goes_ahead(shown, dry_run=dry_run, yes=yes, asks=False):
        return
    copy = migrate.upgrade(path)
    if copy is None:
        echo(f"Nothing to do: {path} already has revision {REVISION}.")
    else:
        echo(f"{path} now has revision {REVISION}. The backup is:\n{copy}")


@command.command(epilog=examples("orchestrator db allow --db /project/study/orchestrator.db"))
@click.option("--db", "path", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE")
@change_options
def allow(path: Path, dry_run: bool, yes: bool) -> None:
    """Use a database of another user when it is found, without naming it.

    It is only read, unless its owner shares the workspace with a group of yours.
    """
    from orchestrator.sharing import allow, check_can_allow

    check_can_allow(path)
    if goes_ahead([f"Records that {path} may be used when it is found."], dry_run=dry_run, yes=yes, asks=False):
        echo(f"{path} is used from now on. Recorded in: {allow(path)}")


@command.command(epilog=examples("orchestrator db info", "orchestrator db info --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@workspace_options
def info(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Show revision, size, number of runs, file system and lock."""
    from orchestrator.db import migrate

    facts = migrate.info(workspace_of(rootdir, db).database)
    echo(to_json(facts) if as_json else "\n".join(_lines(facts)))


@command.command(epilog=examples("orchestrator db check"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@workspace_options
def check(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Check the database for damage."""
    from orchestrator.db import migrate

    path = workspace_of(rootdir, db).database
    problems = migrate.check(path)
    if as_json:
        echo(to_json(DatabaseCheck(str(path), tuple(problems))))
    elif not problems:
        echo(f"{path} has no problems.")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DatabaseError(
            f"{path} has {plural(len(problems), 'problem')}:\n{listed}",
            "Copy the file before any process writes to it again.\n"
            "If another version of orchestrator has made it, begin a new workspace: "
            "orchestrator run STUDY.py --rootdir FOLDER",
        )


_LOCKS = {"kernel": "the kernel's file lock", "links": "hard links in the workspace's folder"}


def _lines(facts: DatabaseInfo) -> list[str]:
    needs = "" if facts.revision == facts.needed else f" (this orchestrator needs {facts.needed})"
    values = {
        "file": facts.path,
        "revision": f"{facts.revision}{needs}",
        "runs": "unknown" if facts.runs is None else facts.runs,
        "size": size_text(facts.size),
        "writable": "yes" if facts.writable else "no",
        "lock": f"{_LOCKS[facts.guard]} ({facts.file_system})",
        "sqlite": facts.sqlite,
    }
    return [f"{name:10}{value}" for name, value in values.items()]
