"""Create a run: make its folder, store its code, write its row."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.db.store import NewRun, Store
from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.definition.validate import check_key
from orchestrator.engine import code
from orchestrator.engine.code import CheckedPipeline
from orchestrator.errors import DataError, DefinitionError
from orchestrator.machine.kinds import Mode
from orchestrator.no_links import private_folder
from orchestrator.trust import check_run_folder
from orchestrator.workspace import RunFolder, Workspace

__all__ = ["FOLDER_OF_RUN", "check_new_key", "create", "make_engine_folder"]

FOLDER_OF_RUN = 0o755
"""Permissions of the folder of a run, before the user's umask."""


def create(
    store: Store,
    pipeline: PipelineDefinition,
    checked: CheckedPipeline,
    project_job: str | None,
    mode: Mode,
    config: Callable[[RunFolder], dict[str, Any]] | None = None,
) -> str:
    """Record a new run.

    Parameters
    ----------
    store : Store
        Where it is recorded.
    pipeline : PipelineDefinition
        What it runs.
    checked : CheckedPipeline
        The pipeline's plan and code, checked.
    project_job : str or None
        The run's key; None: a new key of digits.
    mode : Mode
        Where its jobs run.
    config : callable, optional
        For a run on a cluster: writes its files to the run's folder, and returns the `ClusterConfig` as JSON values.

    Returns
    -------
    str
        The run's key.
    """
    workspace = store.workspace.root
    # First: if this fails, no folder is left behind.
    store.create()
    key = _make_folder(workspace, project_job)
    folder = store.workspace.run(key)
    make_engine_folder(folder)
    bundle = code.store_code(folder, checked)
    new = NewRun(
        key=key,
        salt=os.urandom(16).hex(),
        name=pipeline.name,
        mode=mode,
        plan=checked.plan,
        first_position=checked.plan.start_of(pipeline.first_element or 0),
        root=store.workspace.real_root,
        study=checked.study_path,
        study_attr=checked.study_attr,
        bundle_digest=bundle,
        cluster=None if config is None else config(folder),
        provenance=code.provenance(checked),
    )
    store.create_run(new, time.time())
    return key


def check_new_key(workspace: Workspace, key: str) -> None:
    """Raise `DefinitionError` if a key is not valid, or there is a run or a folder of that name."""
    check_key(key)
    other = "Use another key: --project-job KEY"
    if workspace.database.exists() and Store(workspace.database).has(key):
        raise DefinitionError(f"There is a run {key!r} already.", other)
    folder = workspace.root / key
    if os.path.lexists(folder):
        left = f"If a command that was killed has left the folder, remove it: rm -r {shlex.quote(str(folder))}"
        raise DefinitionError(f"There is a folder {key!r} already, of no run.", f"{other}\n{left}")


def make_engine_folder(folder: RunFolder) -> None:
    """Make the folder of the engine's files, which only this user can enter: they contain code and the environment."""
    try:
        private_folder(folder.engine)
    except OSError as error:
        why = "it is a link, or not a folder" if isinstance(error, NotADirectoryError) else error.strerror
        raise DataError(
            f"{folder.engine} can't be used: {why}.",
            f"Use another project_job, or move it away: mv {shlex.quote(str(folder.engine))} SOMEWHERE",
        ) from error


def _make_folder(workspace: Path, key: str | None) -> str:
    """Make the folder of a run and return its key; a folder that the user named may exist.

    Only its user can write to a new one: otherwise others could put something else in the place of what it contains.
    """
    if key is not None:
        try:
            (workspace / key).mkdir(FOLDER_OF_RUN, exist_ok=True)
        except FileExistsError:
            raise DefinitionError(
                f"project_job={key!r} can't be the name of a run's folder: {workspace} contains a file of that name.",
                "Use another project_job.",
            ) from None
        check_run_folder(workspace / key, is_new=True)
        return key
    number = int(time.time())
    while True:
        try:
            (workspace / str(number)).mkdir(FOLDER_OF_RUN)
        except FileExistsError:
            number += 1
        else:
            return str(number)
