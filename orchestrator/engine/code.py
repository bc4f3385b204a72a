"""The code of a run: check it before anything is written, store it in a bundle, load it when a step runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.addresses import format_study
from orchestrator.db.store import RunRecord
from orchestrator.definition.bundle import Bundle, LoadedStep
from orchestrator.definition.bundling import PreparedBundle, prepare_bundle
from orchestrator.definition.changed_resources import flat_resources
from orchestrator.definition.flatten import plan_of, steps_by_path
from orchestrator.definition.import_context import working_in
from orchestrator.definition.libraries import library_versions
from orchestrator.definition.modules import changed_modules, main_study
from orchestrator.definition.pipeline import PipelineDefinition, Step
from orchestrator.definition.study import Study
from orchestrator.definition.validate import check_key, check_pipeline
from orchestrator.engine.advance import observe_and_record
from orchestrator.engine.context import Context
from orchestrator.errors import DataError
from orchestrator.host import user_name
from orchestrator.machine.kinds import StepKind
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import replan
from orchestrator.machine.rewind import WHERE_IT_STOPPED, Begin
from orchestrator.redact import redacted
from orchestrator.version import __version__
from orchestrator.workspace import RunFolder

__all__ = [
    "CheckedPipeline",
    "asks_again",
    "check",
    "in_working_folder",
    "loader",
    "provenance",
    "replace_code",
    "store_code",
    "study_change_message",
]


SHOWN_FILES = 3
"""Number of changed files that are named."""


@dataclass(frozen=True)
class CheckedPipeline:
    """A pipeline that passed all checks, with its code in memory."""

    plan: Plan
    bundle: PreparedBundle
    study_path: str | None
    study_attr: str | None
    load: Callable[[str], LoadedStep]

    @property
    def study(self) -> str:
        """The study as an argument of a command."""
        return format_study(self.study_path, self.study_attr)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the code."""
        return [
            f"{name} has no text to keep; jobs load it from {place}, as it is then."
            for name, place in self.bundle.code.without_text.items()
        ]


def check(
    pipeline: PipelineDefinition, project_job: str | None, study: Study | None, *, needs_pickles: bool = False
) -> CheckedPipeline:
    """Check a pipeline, before anything is written.

    Parameters
    ----------
    pipeline : PipelineDefinition
        Steps and loops.
    project_job : str or None
        Key of the run, if it is given.
    study : Study or None
        The file that defines the pipeline, if it is known.
    needs_pickles : bool, default False
        Whether every step runs in another process, and so must be pickled.

    Raises
    ------
    DefinitionError
        If anything can't work; the message lists everything that must change.
    """
    steps = pipeline.all_steps
    check_pipeline(pipeline.name, steps, pipeline.resources, pipeline.seed)
    if project_job is not None:
        check_key(project_job)
    by_path = steps_by_path(steps)
    source = study.source if study is not None else main_study()
    bundle = prepare_bundle(
        by_path,
        source,
        argv=None if study is None else study.argv,
        is_main=study is None,
        needs_pickles=needs_pickles,
    )
    return CheckedPipeline(
        plan=plan_of(steps, pipeline.seed),
        bundle=bundle,
        study_path=None if source is None else source.file,
        study_attr=getattr(study, "attr", None),
        load=_steps_in_memory(by_path).__getitem__,
    )


def store_code(folder: RunFolder, checked: CheckedPipeline) -> str:
    """Write the bundle, unless it exists.

    Returns
    -------
    str
        Its digest.
    """
    return checked.bundle.write(folder.bundles)


def loader(folder: RunFolder, record: RunRecord) -> Callable[[str], LoadedStep]:
    """Return the function that loads a step from the run's bundle."""
    if not record.bundle_digest:
        raise DataError(
            f"run {record.key} has no stored code.", "Resume it from its script, with the same project_job."
        )
    return Bundle(folder.bundle(record.bundle_digest)).load_step


@contextmanager
def in_working_folder(folder: RunFolder, record: RunRecord) -> Iterator[None]:
    """Work in the folder that the run's code was submitted in, as its steps did before."""
    there = Bundle(folder.bundle(record.bundle_digest)).working_folder() if record.bundle_digest else None
    if there is None:
        yield
        return
    with working_in(there):
        yield


def replace_code(context: Context, checked: CheckedPipeline, begin: Begin) -> Context:
    """Replace the code of the run, and withdraw the step runs that do not fit into its new plan."""
    record = context.record
    bundle = store_code(context.folder, checked)
    if bundle == record.bundle_digest and checked.plan == record.plan:
        return context
    run = observe_and_record(context)
    steps = context.store.history.valid_step_runs(record.key)
    again = asks_again(context.folder, record, begin, checked)
    replanned = replan(run, steps, checked.plan, asks_again=again, study=checked.study)
    context.store.set_code(
        record.key,
        context.fence,
        plan=checked.plan,
        bundle_digest=bundle,
        study=checked.study_path,
        study_attr=checked.study_attr,
        now=context.clock(),
        why="new code",
        replanned=replanned,
        changed_resources=_changed_resources(record.plan, checked.plan),
    )
    return context._replace(record=context.store.record(record.key))


def _changed_resources(old: Plan, new: Plan) -> list[str]:
    """Return for each step with other resources its name and the new values, as `set` records them."""
    before = {step.name: flat_resources(step.resources) for step in old.steps()}
    changed: dict[str, str] = {}
    for step in new.steps():
        after = flat_resources(step.resources)
        was = before.get(step.name, after)
        fields = [f"{name}={after.get(name)}" for name in {**was, **after} if was.get(name) != after.get(name)]
        if fields:
            changed[step.name] = f"{step.name}: {', '.join(fields)}"
    return list(changed.values())


def asks_again(folder: RunFolder, record: RunRecord, begin: Begin, checked: CheckedPipeline) -> bool:
    """Whether the `until` that ended the last loop is called again: its code, or a module of the study, has changed."""
    if begin != WHERE_IT_STOPPED or not record.bundle_digest:
        return False
    bundle = Bundle(folder.bundle(record.bundle_digest))
    paths = [visit.step.path for visit in checked.plan.walk() if visit.step.kind is StepKind.UNTIL]
    try:
        is_same = all(bundle.is_pickled_as(path, checked.bundle.pickles.get(path)) for path in paths)
        return not is_same or bool(changed_modules(bundle.modules()))
    except DataError:
        return True  # the stored code is lost, or belongs to the former owner of the run


def study_change_message(folder: RunFolder, record: RunRecord, begin: Begin = WHERE_IT_STOPPED) -> str | None:
    """Return the message that the user's modules differ from the stored code, for a resume; None if they don't."""
    if not record.bundle_digest:
        return None
    changed = changed_modules(Bundle(folder.bundle(record.bundle_digest)).modules())
    if not changed:
        return None
    names = ", ".join(changed[:SHOWN_FILES])
    more = len(changed) - SHOWN_FILES
    have = "has" if len(changed) == 1 else "have"
    what = f"{names} {have}" if more <= 0 else f"{names} and {more} more {have}"
    verb = "retry" if begin.retries_failed else "resume"
    options = " --accept-failed" if begin.accepts_failed else ""
    if begin.position is not None:
        options += f" --from-step {shlex.quote(record.plan.slot(begin.position).address)}"
    options += "" if begin.puts_back is None else " --table-as-then"
    source = format_study(record.study, record.study_attr)
    return (
        f"{what} changed since the run was created; the run continues with its stored code.\n"
        f"To use the new code: orchestrator {verb} {record.key}{options} --update {source}"
    )


def has_other_code(folder: RunFolder, record: RunRecord, checked: CheckedPipeline) -> bool:
    """Whether a text of the user's modules is not among those that a run has stored."""
    if not record.bundle_digest:
        return False
    try:
        stored = Bundle(folder.bundle(record.bundle_digest)).modules()
    except DataError:
        return False  # nothing is known about it
    texts = {module.text for module in stored.values()}
    return any(module.text not in texts for module in checked.bundle.code.modules.values())


def provenance(checked: CheckedPipeline) -> dict[str, Any]:
    """Return where a run comes from: versions, commit, command (without secrets), host, user, folder."""
    return {
        "orchestrator": __version__,
        "python": sys.version.split()[0],
        "libraries": library_versions(checked.bundle.code.modules),
        "git": _git_commit(),
        "argv": redacted(sys.argv),
        "host": os.uname().nodename,
        "user": user_name(),
        "folder": str(Path.cwd()),
        "pid": os.getpid(),
    }


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _steps_in_memory(by_path: Mapping[str, Any]) -> dict[str, LoadedStep]:
    return {
        path: LoadedStep(item.block, dict(item.kwargs), item.keep_scratch)
        if isinstance(item, Step)
        else LoadedStep(item, {})
        for path, item in by_path.items()
    }
