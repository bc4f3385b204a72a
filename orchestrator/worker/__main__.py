"""`python -m orchestrator.worker serve WORKSPACE KEY TOKEN`: how the engine starts a worker."""

import sys
from pathlib import Path

from orchestrator.worker.serve import serve

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", workspace, key, token]:
            serve(Path(workspace), key, token)
        case _:
            sys.exit(__doc__)
