"""The environment that a run was submitted in. All its jobs start with it, also those that another job submits.

The environment of a job differs: SLURM, `env_setup`, `env_vars` and the user's code change it. If each job passed on
its own, the changes would add up from step to step.
"""

from __future__ import annotations

import json
import os
import sys

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import Damaged, parse_object, read_small
from orchestrator.trust import is_own
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


def write_environment(folder: RunFolder) -> None:
    """Write the environment of this process, readable only by its user."""
    write_atomically(folder.environment, json.dumps(environment_of_jobs()).encode(), PRIVATE)


def read_environment(folder: RunFolder) -> dict[str, str] | None:
    """Return the environment from the file; None if there is none, if it is damaged, or belongs to another user."""
    if not is_own(folder.environment):
        return None  # its PATH would select the squeue that is executed
    try:
        environment = parse_object(read_small(folder.environment))
    except (OSError, Damaged):
        return None
    return environment if all(map(_is_variable, environment, environment.values())) else None


def _is_variable(name: str, value: object) -> bool:
    return bool(name) and isinstance(value, str) and not {"=", "\0"} & set(name) and "\0" not in value
