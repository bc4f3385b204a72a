"""Where things are in a workspace, for layers that can't ask `orchestrator.handoff.folder`."""

from __future__ import annotations

__all__ = ["LOG_DIR"]

LOG_DIR = "logs/{project_job}"
"""Where the logs of a run are by default, relative to the workspace."""
