"""The environment that a run was submitted in: all its jobs start with it, also those that another job submits.

A job that submits the next one has an environment of its own: SLURM's variables, what `env_setup` and `env_vars` made,
what the user's code changed. Handed on, that would grow from step to step.
"""

from __future__ import annotations

import json
import os

from orchestrator.atomic import write_atomically
from orchestrator.trust import is_own
from orchestrator.workspace import RunFolder

__all__ = ["read_environment", "write_environment"]


def write_environment(folder: RunFolder) -> None:
    """Write this process's environment, readable by its user only."""
    write_atomically(folder.environment, json.dumps(dict(os.environ)).encode(), mode=0o600)


def read_environment(folder: RunFolder) -> dict[str, str] | None:
    """Return the environment that was written; None where there is none, or it is another user's."""
    if not is_own(folder.environment):
        return None  # its PATH would say which squeue is asked
    try:
        environment: dict[str, str] = json.loads(folder.environment.read_bytes())
    except (OSError, ValueError):
        return None
    return environment
