"""The process that advances a run after the last task of a step's job.

python -m orchestrator.cli.tail DATABASE RUN

A job starts it early: it imports what `advance` needs, and then waits for a line on standard input. It is not a command
for users, and it does not import click, because the next step waits for it. Its output goes to the orchestrator log.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.fast_imports import fast_imports
from orchestrator.host import open_streams, print_any_text
from orchestrator.visible import visible

with fast_imports():
    # What freezes and folds a table, too: it is imported while the step works, and the next step waits for nothing.
    from orchestrator.data import experiment_data, reading  # noqa: F401
    from orchestrator.db.store import Store
    from orchestrator.engine.cluster.orchestrate import advance_now
    from orchestrator.worker import table_work  # noqa: F401

__all__ = ["main"]


def main(database: str, key: str) -> int:
    """Advance a run when a line arrives on standard input; do nothing if it is closed without one."""
    open_streams()
    print_any_text()
    if not sys.stdin.readline():
        return 0
    try:
        message = advance_now(Store(Path(database)), key, is_tail=True)
    except OrchestratorError as error:
        from orchestrator.cli.errors import show

        show(error)
        return error.exit_code
    print(visible(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
