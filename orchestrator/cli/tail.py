"""The process that a job starts early for its tail: it loads what `advance` needs, and then waits for the word.

python -m orchestrator.cli.tail DATABASE RUN

It is no command for a user, and loads nothing that reads a command line: the next step waits for it. What it says goes
to the run's log, among what others say at other times.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.fast_imports import fast_imports

with fast_imports():
    from orchestrator.db.store import Store
    from orchestrator.engine.cluster.orchestrate import advance_now

__all__ = ["main"]


def main(database: str, key: str) -> int:
    """Advance a run when a line comes on standard input; do nothing when it closes without one."""
    if not sys.stdin.readline():
        return 0
    try:
        said = advance_now(Store(Path(database)), key, is_tail=True)
    except OrchestratorError as error:
        from orchestrator.cli.errors import show

        show(error)
        return error.exit_code
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
