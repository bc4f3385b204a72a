"""`orchestrator db`: look after the database."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.render import to_json
from orchestrator.cli.workspace import database, options
from orchestrator.errors import DatabaseError

__all__ = ["command"]


@click.group("db")
def command() -> None:
    """Look after the workspace's database.

    \b
    Examples:
      orchestrator db info
      orchestrator db check
      orchestrator db upgrade
    """


@command.command()
@options
def upgrade(rootdir: Path | None, db: Path | None) -> None:
    """Bring the database to this version's revision, after a backup.

    \b
    Examples:
      orchestrator db upgrade
    """
    from orchestrator.db import migrate
    from orchestrator.db.revision import REVISION

    path = database(rootdir, db)
    copy = migrate.upgrade(path)
    click.echo(f"Revision {REVISION} already: nothing to do." if copy is None else f"Now {REVISION}. Backup: {copy}")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options
def info(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Describe the database: revision, size, runs, file system and lock.

    \b
    Examples:
      orchestrator db info
      orchestrator db info --json
    """
    from orchestrator.db import migrate

    facts = migrate.info(database(rootdir, db))
    width = max(map(len, facts)) + 2
    lines = [f"{name.replace('_', ' '):{width}}{value}" for name, value in facts.items()]
    click.echo(to_json(facts) if as_json else "\n".join(lines))


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options
def check(as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Look for damage.

    \b
    Examples:
      orchestrator db check
    """
    from orchestrator.db import migrate

    path = database(rootdir, db)
    problems = migrate.check(path)
    if as_json:
        click.echo(to_json({"path": str(path), "problems": problems}))
    elif not problems:
        click.echo(f"{path} is in order.")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DatabaseError(
            f"{path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{listed}",
            "Keep a copy of the file before anything else writes to it.",
        )
