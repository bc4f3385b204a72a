"""`orchestrator advance`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from orchestrator.cli.workspace import database, examples, key_of, options

__all__ = ["command"]


@click.command(epilog=examples("orchestrator advance 1795531215"))
@click.argument("run", required=False)
@click.option("--job", hidden=True, metavar="TOKEN", help="The orchestrator job that this process is.")
@click.option("--patience", hidden=True, type=float, default=0.0, help="Seconds for which it looks again.")
@click.option("--on-word", is_flag=True, hidden=True, help="Only when a word comes on standard input.")
@options
def command(
    run: str | None, job: str | None, patience: float, on_word: bool, rootdir: Path | None, db: Path | None
) -> None:
    """Bring a run as far as it goes now. Safe to type at any time.

    RUN is the latest run where it is left out.
    """
    from orchestrator.engine.verbs import advance

    if on_word and not _hears_a_word():
        return
    path = database(rootdir, db)
    said = advance(path, key_of(path, run), job=job, patience=patience)
    # What a tail says goes to the run's log, among what others say at other times.
    click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {said}" if on_word else said)


def _hears_a_word() -> bool:
    """Load all that `advance` will need on a cluster; then wait."""
    import orchestrator.engine.cluster  # noqa: F401

    return bool(sys.stdin.readline())
