"""The environment that a run was submitted in. All its jobs start with it, also those that another job submits.

The environment of a job differs: SLURM, `env_setup`, `env_vars` and the user's code change it. If each job passed on
its own, the changes would add up from step to step. What an experiment changes is put back by
`orchestrator.worker.surroundings`.

Nothing is left out here. Which variables sbatch, and so the jobs, don't get is decided by `for_submission` in
`orchestrator.slurm.variables`. `SLURM_CONF` and `SLURM_CLUSTERS` are those of the process that submits
(`Client.sbatch` in `orchestrator.slurm.client`). On the node the script changes it, in this order: `env_setup`, the
number of threads, `env_vars` (`orchestrator/slurm/templates/job.sh.j2`).
"""

from __future__ import annotations

import json
import os
import sys

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import Damaged, parse_object, refuse
from orchestrator.errors import DataError
from orchestrator.sha256 import sha256_of
from orchestrator.trust import read_private
from orchestrator.workspace import RunFolder

__all__ = ["LOG_LEVEL", "environment_of_jobs", "read_environment", "write_environment"]

LOG_LEVEL = "ORCHESTRATOR_LOG_LEVEL"
"""The environment variable with the level from which log records are shown."""


def environment_of_jobs() -> dict[str, str]:
    """Return the environment of this process, with the level of the root logger if this process has set one.

    A worker does not run what the user's script does under `if __name__ == "__main__"`.
    """
    environment = dict(os.environ)
    logging = sys.modules.get("logging")
    if logging is not None and logging.getLogger().level != logging.WARNING:
        environment.setdefault(LOG_LEVEL, str(logging.getLogger().level))
    return environment


def write_environment(folder: RunFolder) -> str:
    """Write the environment of this process, readable only by its user, and return the SHA-256 of the file."""
    content = json.dumps(environment_of_jobs()).encode()
    write_atomically(folder.environment, content, PRIVATE)
    return sha256_of(content)


def read_environment(folder: RunFolder, sha256: str | None) -> dict[str, str] | None:
    """Return the environment from the file; None if none was recorded.

    Parameters
    ----------
    folder : RunFolder
        The run's folder.
    sha256 : str or None
        The recorded digest of the file.

    Raises
    ------
    DataError
        If the file is missing, or not the one that was written: its PATH would select the programs that are executed.
    """
    if sha256 is None:
        return None
    try:
        content = read_private(folder.environment)
        if sha256_of(content) != sha256:
            refuse("it was changed after it was written")
        environment = parse_object(content)
        if not all(map(_is_variable, environment, environment.values())):
            refuse("it contains no environment")
    except (OSError, Damaged) as error:
        raise DataError(
            f"The environment of the jobs in {folder.environment} can't be used: {error}.",
            f"Use that of this shell: orchestrator resume {folder.key}",
        ) from error
    return environment


def _is_variable(name: str, value: object) -> bool:
    return bool(name) and isinstance(value, str) and not {"=", "\0"} & set(name) and "\0" not in value
