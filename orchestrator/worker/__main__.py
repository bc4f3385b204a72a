"""How the engine and SLURM start a worker.

python -m orchestrator.worker job WORKSPACE KEY TOKEN SHA256 [MARK STATUS [1]]
                                                            a job of a cluster; MARK and STATUS: of its first worker
python -m orchestrator.worker serve WORKSPACE KEY           the worker process of a run on this machine
python -m orchestrator.worker freeze|compare|collect|fold WORKSPACE KEY
                                                            reads a request and prints an answer, both JSON
"""

from __future__ import annotations

import sys

from orchestrator.fast_imports import fast_imports

with fast_imports():
    from pathlib import Path

    from orchestrator.errors import OrchestratorError
    from orchestrator.host import die_with_parent

# Each imports only what it needs, because hundreds of tasks of an array start at once.
try:
    match sys.argv[1:]:
        case ["job", workspace, key, token, sha256, *words]:
            with fast_imports():
                from orchestrator.worker.guarded import FirstWorker
                from orchestrator.worker.job import run_job

            run_job(
                Path(workspace), key, token, sha256, has_process=True, dead_worker=FirstWorker.from_arguments(words)
            )
        case ["serve", workspace, key]:
            from orchestrator.worker.reaper import fork_below_reaper

            fork_below_reaper(ends_with_parent=True)
            from orchestrator.worker.pool_process import serve

            serve(Path(workspace), key)
        case ["freeze" | "compare" | "collect" | "fold" as what, workspace, key]:
            die_with_parent()
            from orchestrator.worker.table_process import answer

            answer(what, Path(workspace), key)
        case _:
            sys.exit(__doc__)
except OrchestratorError as error:
    sys.exit(str(error))
except OSError as error:
    from orchestrator.worker.processes import why_full

    # Where no receipt can be written, the log still says why.
    sys.exit(why_full(error))
