"""How the engine and SLURM start a worker.

python -m orchestrator.worker job WORKSPACE KEY TOKEN       a job of a cluster
python -m orchestrator.worker serve WORKSPACE KEY TOKEN     a process of the pool on this machine
python -m orchestrator.worker freeze|collect|fold WORKSPACE KEY
                                                            reads a request and prints an answer, both JSON
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from orchestrator.errors import OrchestratorError

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let Linux kill this process when its parent dies, because nothing would record its work after that."""
    import ctypes  # not needed in a task of an array

    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The process that started this worker has ended.")


# Each imports only what it needs, because hundreds of tasks of an array start at once.
try:
    match sys.argv[1:]:
        case ["job", workspace, key, token]:
            from orchestrator.worker.job import run_job

            run_job(Path(workspace), key, token)
        case ["serve", workspace, key, token]:
            die_with_parent()
            from orchestrator.worker.pool_process import serve

            serve(Path(workspace), key, token)
        case ["freeze" | "collect" | "fold" as what, workspace, key]:
            die_with_parent()
            from orchestrator.worker.table_process import answer

            answer(what, Path(workspace), key)
        case _:
            sys.exit(__doc__)
except OrchestratorError as error:
    sys.exit(str(error))
