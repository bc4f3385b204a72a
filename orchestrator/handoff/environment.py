"""The environment of whoever submitted a run: every one of its jobs starts with that, whoever submits it.

A job that submits the next one has an environment of its own: SLURM's variables, what `env_setup` and `env_vars` made,
what the user's code changed. Handed on, that would grow from step to step.
"""

from __future__ import annotations

import json
import os

from orchestrator.atomic import write_atomically
from orchestrator.handoff.folder import RunFolder

__all__ = ["keep_environment", "kept_environment"]


def keep_environment(folder: RunFolder) -> None:
    """Keep this process's environment, readable by its user only."""
    write_atomically(folder.environment, json.dumps(dict(os.environ)).encode(), mode=0o600)


def kept_environment(folder: RunFolder) -> dict[str, str] | None:
    """Give the environment that was kept; None where there is none, or it is another user's."""
    try:
        kept: dict[str, str] = json.loads(folder.environment.read_bytes())
    except (OSError, ValueError):
        return None
    return kept
