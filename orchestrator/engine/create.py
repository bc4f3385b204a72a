"""Begin a run: take its folder, keep its code, write its row."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from orchestrator.db.store import NewRun, Store
from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.engine import code
from orchestrator.engine.code import CheckedPipeline
from orchestrator.errors import DefinitionError
from orchestrator.machine.kinds import Mode

__all__ = ["create"]


def create(
    store: Store,
    pipeline: PipelineDefinition,
    checked: CheckedPipeline,
    project_job: str | None,
    mode: Mode,
    config: dict[str, Any] | None = None,
) -> str:
    """Record a new run.

    Parameters
    ----------
    store : Store
    pipeline : PipelineDefinition
    checked : CheckedPipeline
        The pipeline's plan and code, checked.
    project_job : str or None
        Its key; None: a new one, of digits.
    mode : Mode
    config : mapping, optional
        Of a run on a cluster: a `ClusterConfig` as JSON values.

    Returns
    -------
    str
        The run's key.
    """
    workspace = store.workspace.root
    # Refused here, it leaves no folder behind.
    store.create()
    key = _make_folder(workspace, project_job)
    bundle = code.store_code(store.workspace.run(key), checked)
    new = NewRun(
        key=key,
        salt=os.urandom(16).hex(),
        name=pipeline.name,
        mode=mode,
        plan=checked.plan,
        first_position=checked.plan.start_of(pipeline.first_element or 0),
        study=checked.study_path,
        study_attr=checked.study_attr,
        source_digest=checked.source_digest,
        bundle_digest=bundle,
        cluster=config,
        provenance=code.provenance(),
    )
    store.create_run(new, time.time())
    return key


def _make_folder(workspace: Path, key: str | None) -> str:
    """Take a key by making its folder; a folder that the user named may be there already: it is adopted."""
    if key is not None:
        try:
            (workspace / key).mkdir(exist_ok=True)
        except FileExistsError:
            raise DefinitionError(
                f"project_job={key!r} can't be the name of a run's folder: {workspace} holds a file of that name.",
                "Use another.",
            ) from None
        return key
    number = int(time.time())
    while True:
        try:
            (workspace / str(number)).mkdir()
        except FileExistsError:
            number += 1
        else:
            return str(number)
