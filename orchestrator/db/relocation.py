"""The paths of a run after its workspace was moved: those that are recorded are of the old place.

A workspace that was copied, or moved while jobs were in the queue: `orchestrator.engine.cluster.moved`.
"""

from __future__ import annotations

from typing import Any

from orchestrator.db.rows import Row
from orchestrator.workspace import relocated

__all__ = ["relocation"]


def relocation(row: Row, root: str) -> dict[str, Any]:
    """Return the columns of a run that differ in a moved workspace; nothing if it was not moved.

    Parameters
    ----------
    row : Row
        The run's row.
    root : str
        The workspace's root folder now, without symbolic links.
    """
    if row.root in (None, root):
        return {}
    values: dict[str, Any] = {"root": root}
    if row.study is not None:
        values["study"] = relocated(row.study, row.root, root)
    if row.cluster is not None and "cwd" in row.cluster:
        values["cluster"] = {**row.cluster, "cwd": relocated(row.cluster["cwd"], row.root, root)}
    return values
