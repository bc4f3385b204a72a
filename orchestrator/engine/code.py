"""The code of a run: checked before anything is written, stored in its bundle, loaded when a step runs."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.addresses import format_address
from orchestrator.db.store import RunRecord
from orchestrator.definition.bundle import Bundle, LoadedStep
from orchestrator.definition.bundling import PreparedBundle, prepare_bundle, source_digest
from orchestrator.definition.flatten import plan_of, steps_by_path
from orchestrator.definition.pipeline import PipelineDefinition, Step
from orchestrator.definition.study import Study
from orchestrator.definition.validate import check_key, check_pipeline
from orchestrator.engine.context import Context
from orchestrator.errors import DataError, StudyChanged
from orchestrator.machine.plan import Plan
from orchestrator.version import __version__
from orchestrator.workspace import RunFolder

__all__ = ["CheckedPipeline", "change_of_study", "check", "store_code", "loader", "provenance", "take_code"]


@dataclass(frozen=True)
class CheckedPipeline:
    """A pipeline that was found to be in order, with its code in memory."""

    plan: Plan
    bundle: PreparedBundle
    study_path: str | None
    study_attr: str | None
    load: Callable[[str], LoadedStep]

    @property
    def source_digest(self) -> str:
        """Digest of the study's sources."""
        return self.bundle.source_digest


def check(
    pipeline: PipelineDefinition, project_job: str | None, study: Study | None, *, needs_pickles: bool = False
) -> CheckedPipeline:
    """Refuse what can't work, before anything is written.

    Parameters
    ----------
    pipeline : PipelineDefinition
    project_job : str or None
        Key of the run.
    study : Study or None
        Where the pipeline comes from.
    needs_pickles : bool, default False
        Whether every step runs in another process than this one, so that each has to be pickled.

    Raises
    ------
    DefinitionError
        With everything that has to change.
    """
    steps = list(pipeline.all_steps)
    check_pipeline(pipeline.name, steps, pipeline.orchestrator_resources)
    if project_job is not None:
        check_key(project_job)
    by_path = steps_by_path(steps)
    path = study.path if study is not None else _main_file()
    bundle = prepare_bundle(by_path, path, needs_pickles=needs_pickles)
    live = _live(by_path)
    return CheckedPipeline(
        plan_of(steps), bundle, None if path is None else str(path), getattr(study, "attr", None), live.__getitem__
    )


def store_code(folder: RunFolder, checked: CheckedPipeline) -> str:
    """Write the bundle; one that is there already stays.

    Returns
    -------
    str
        Its digest.
    """
    return checked.bundle.write(folder.bundles)


def loader(folder: RunFolder, record: RunRecord) -> Callable[[str], LoadedStep]:
    """Load steps from a run's bundle, each when it is needed."""
    if not record.bundle_digest:
        raise DataError(f"run {record.key} keeps no code.", "Resume it from its script, with the same project_job.")
    return Bundle(folder.bundle(record.bundle_digest)).load_step


def take_code(context: Context, checked: CheckedPipeline) -> Context:
    """Give the run new code, if the steps that it has recorded stand where they stood."""
    record = context.record
    bundle = store_code(context.folder, checked)
    if bundle == record.bundle_digest and checked.plan == record.plan:
        return context
    for position, name, iteration in context.store.step_runs(context.key):
        slot = checked.plan.slot(position) if position < checked.plan.size else None
        if slot is None or (slot.step.name, slot.iteration) != (name, iteration):
            at = format_address(name, iteration)
            raise StudyChanged(
                f"The new pipeline does not have {at} where run {record.key} recorded it: the run can't go on with it.",
                "Keep the steps that have run, or start a new run.",
            )
    context.store.set_code(
        record.key,
        context.fence,
        plan=checked.plan,
        bundle_digest=bundle,
        source_digest=checked.source_digest,
        study=checked.study_path,
        study_attr=checked.study_attr,
        now=context.clock(),
        why="new code",
    )
    return context._replace(record=context.store.record(record.key))


def change_of_study(record: RunRecord) -> str | None:
    """Say that the study on disk differs from what the run keeps; None where it does not."""
    if not _has_changed(record):
        return None
    source = f"{record.study}:{record.study_attr}" if record.study_attr else str(record.study)
    return (
        f"The study {record.study} has changed since this run was submitted; the run keeps its old code.\n"
        f"To take the new code: orchestrator resume {record.key} --update {shlex.quote(source)}"
    )


def _has_changed(record: RunRecord) -> bool:
    """Tell whether the study on disk differs from what the run keeps; a study that is gone has not changed."""
    if record.study is None or not Path(record.study).is_file():
        return False
    return source_digest(Path(record.study)) != record.source_digest


def provenance() -> dict[str, Any]:
    """Gather where a run comes from: versions, commit, command, host, user, folder."""
    return {
        "orchestrator": __version__,
        "python": sys.version.split()[0],
        "git": _git_commit(),
        "argv": sys.argv,
        "host": os.uname().nodename,
        "user": getpass.getuser(),
        "folder": str(Path.cwd()),
        "pid": os.getpid(),
    }


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _main_file() -> Path | None:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).resolve() if file and file.endswith(".py") else None


def _live(by_path: Mapping[str, Any]) -> dict[str, LoadedStep]:
    return {
        path: LoadedStep(item.block, dict(item.kwargs)) if isinstance(item, Step) else LoadedStep(item, {})
        for path, item in by_path.items()
    }
