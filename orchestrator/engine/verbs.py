"""The verbs that the API and the command line share: start, resume, advance, cancel."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.db.store import NewRun, RunRecord, Store
from orchestrator.engine.advance import advance as advance_once
from orchestrator.engine.advance import settle
from orchestrator.engine.context import Context
from orchestrator.engine.lease import holding
from orchestrator.engine.local import LocalScheduler
from orchestrator.engine.progress import Progress, Silent, progress_for
from orchestrator.errors import Busy, DataError, DefinitionError, Interrupted, LeaseHeld, RunFailed, StudyChanged
from orchestrator.handoff.folder import RunFolder
from orchestrator.machine.model import Run
from orchestrator.machine.plan import Plan
from orchestrator.machine.rewind import rewind, where_to_resume
from orchestrator.machine.states import FailureKind, RunState

if TYPE_CHECKING:
    from orchestrator.api import Pipeline
    from orchestrator.definition.bundle import LoadedStep
    from orchestrator.definition.study import Study

__all__ = ["advance", "cancel", "resume", "start"]

DATABASE = "orchestrator.db"

CANCEL_WAIT = 60.0
"""Seconds that `cancel` waits for a step to stop."""

Load = Callable[[str], "LoadedStep"]


def start(
    pipeline: Pipeline,
    *,
    rootdir: Path = Path(),
    project_job: str | None = None,
    study: Study | None = None,
    jobs: int | None = None,
    db: Path | None = None,
) -> str:
    """Run a pipeline here; a run of that key that exists goes on, with the pipeline's code.

    Returns
    -------
    str
        The run's key.
    """
    from orchestrator.engine import code

    kept = code.check(pipeline, project_job, study)
    store = Store((db or rootdir / DATABASE).absolute())
    workspace = store.path.parent
    if project_job is not None and store.has(project_job):
        record = store.record(project_job)
        if not _say_nothing_to_do(store, record, pipeline.first_element, kept.plan):
            _resume_live(store, record, pipeline, kept, jobs)
        return project_job
    # Refused here, it leaves no folder behind.
    store.make()
    key = _make_folder(workspace, project_job)
    folder = RunFolder(workspace, key)
    bundle = code.keep(folder, kept)
    store.create_run(
        NewRun(
            key=key,
            salt=os.urandom(16).hex(),
            name=pipeline.name,
            mode="local",
            plan=kept.plan,
            first_position=kept.plan.start_of(pipeline.first_element or 0),
            study=kept.study_path,
            study_attr=kept.study_attr,
            source_digest=kept.source_digest,
            bundle_digest=bundle,
            cluster=None,
            provenance=code.provenance(),
        ),
        time.time(),
    )
    _drive(store, key, kept.load, jobs)
    return key


def resume(
    db: Path,
    key: str,
    *,
    from_step: str | None = None,
    update: Study | None = None,
    jobs: int | None = None,
) -> str:
    """Go on with a run, from where it stands or from an address, with the code that it keeps or with new code.

    Returns
    -------
    str
        The run's key.
    """
    from orchestrator.engine import code

    store = Store(db)
    record = store.record(key)
    if update is not None:
        kept = code.check(update.pipeline, key, update)
        position = None if from_step is None else _position(key, kept.plan, from_step)
        if position is None and _is_done(store, record):
            _refuse_other_steps(record, kept.plan)
        _drive(store, key, kept.load, jobs, position=position, take_code=kept)
        return key
    position = None if from_step is None else _position(key, record.plan, from_step)
    if position is None and _say_nothing_to_do(store, record, None, record.plan):
        return key
    if code.has_changed(record):
        progress_for().say(
            f"The study {record.study} has changed since this run was submitted; the run keeps its old code.\n"
            f"To take the new code: orchestrator resume {key} --update {shlex.quote(_source(record))}"
        )
    load = code.loader(RunFolder(store.path.parent, key), record)
    _drive(store, key, load, jobs, position=position)
    return key


def advance(db: Path, key: str) -> str:
    """Advance a run as far as it goes now.

    Returns
    -------
    str
        One sentence: what came of it.
    """
    store = Store(db)
    run = store.load(key)
    if run.state is not RunState.ACTIVE:
        return f"Nothing to do: run {key} {_ended(run)}."
    resume(db, key)
    return f"Run {key} {_ended(store.load(key))}."


def cancel(db: Path, key: str) -> str:
    """Cancel a run: ask whoever advances it to stop, or, where nobody does, do it here.

    Returns
    -------
    str
        One sentence: what came of it.
    """
    store = Store(db)
    run = store.load(key)
    if run.state is not RunState.ACTIVE:
        return f"Nothing to do: run {key} {_ended(run)}."
    store.request_cancel(key, time.time())
    end = time.monotonic() + CANCEL_WAIT
    while True:
        try:
            with holding(store, key) as fence:
                scheduler = LocalScheduler(RunFolder(store.path.parent, key), _no_code, 1, _ignore)
                context = _context(store, key, fence, scheduler, Silent())
                run = advance_once(context)
                return f"Run {key} {_ended(run)}."
        except LeaseHeld:
            # The holder listens once a second; it stops its step, then records.
            run = store.load(key)
            if run.state is not RunState.ACTIVE:
                return f"Run {key} {_ended(run)}."
            if time.monotonic() > end:
                raise Busy(
                    f"Run {key} was asked to stop {CANCEL_WAIT:.0f} s ago, but its step has not stopped yet.",
                    "It ends with the step. To end it now, kill the process that `orchestrator status` names, then "
                    f"type: orchestrator cancel {key}",
                ) from None
            time.sleep(0.1)


# --- one run, held and driven to its end ---------------------------------------------------------


def _drive(
    store: Store,
    key: str,
    load: Load,
    jobs: int | None,
    *,
    position: int | None = None,
    take_code: Any = None,
) -> None:
    progress = progress_for()
    folder = RunFolder(store.path.parent, key)
    scheduler = LocalScheduler(folder, load, jobs or len(os.sched_getaffinity(0)), progress.evaluated)

    def on_cancel() -> None:
        scheduler.stop(FailureKind.CANCELLED)
        # To the thread that runs the step, or a step that waits would not notice.
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGINT)

    try:
        with holding(store, key, on_cancel) as fence, _second_interrupt_kills():
            context = _context(store, key, fence, scheduler, progress)
            if take_code is not None:
                context = _take_code(context, take_code)
            _put_back(context, position)
            run = _to_the_end(context, scheduler)
    finally:
        progress.close()
    _report(run, scheduler, progress)


def _context(store: Store, key: str, fence: int, scheduler: LocalScheduler, progress: Progress) -> Context:
    return Context(store, store.record(key), fence, RunFolder(store.path.parent, key), scheduler, progress)


def _to_the_end(context: Context, scheduler: LocalScheduler) -> Run:
    while True:
        try:
            run = advance_once(context)
            if run.state is not RunState.ACTIVE:
                return run
            scheduler.wait()
        except KeyboardInterrupt:
            if context.store.record(context.key).cancel_requested_at is not None:
                continue
            settle(context)
            raise Interrupted(
                f"Run {context.key} was stopped; everything that was evaluated is kept.",
                f"To go on: orchestrator resume {context.key}",
            ) from None


@contextmanager
def _second_interrupt_kills() -> Iterator[None]:
    """Let the first Ctrl-C stop cleanly, and a second end the process at once: the records bear that."""

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield
        return
    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _put_back(context: Context, position: int | None) -> None:
    """Withdraw what has to be done again, and make an ended run active."""
    run = settle(context)
    why = "resume" if position is None else f"resume from {run.plan.slot(position).address}"
    if position is None:
        position = where_to_resume(run, context.store.first_flawed(context.key))
    if position is None:
        return
    recorded = {at for at, _, _ in context.store.live_step_runs(context.key)}
    changes = rewind(run, position, why, recorded)
    if run.cancel_requested:
        context.store.clear_requests(context.key, context.fence)
    if changes:
        context.store.write(context.key, context.fence, changes, context.clock())


def _take_code(context: Context, kept: Any) -> Context:
    """Give the run new code, if the steps that it has recorded stand where they stood."""
    from orchestrator.engine import code

    record = context.record
    bundle = code.keep(context.folder, kept)
    if bundle == record.bundle_digest and kept.plan == record.plan:
        return context
    for position, name, iteration in context.store.live_step_runs(context.key):
        slot = kept.plan.slot(position) if position < kept.plan.size else None
        if slot is None or (slot.step.name, slot.iteration) != (name, iteration):
            at = f"{name}@{iteration}" if iteration else name
            raise StudyChanged(
                f"The new pipeline does not have {at} where run {record.key} recorded it: the run can't go on with it.",
                "Keep the steps that have run, or start a new run.",
            )
    context.store.set_code(
        record.key,
        context.fence,
        plan=kept.plan,
        bundle_digest=bundle,
        source_digest=kept.source_digest,
        study=kept.study_path,
        study_attr=kept.study_attr,
        now=context.clock(),
        why="new code",
    )
    return Context(
        context.store,
        context.store.record(record.key),
        context.fence,
        context.folder,
        context.scheduler,
        context.progress,
    )


def _resume_live(store: Store, record: RunRecord, pipeline: Pipeline, kept: Any, jobs: int | None) -> None:
    element = pipeline.first_element
    position = None if element is None else kept.plan.start_of(element)
    _drive(store, record.key, kept.load, jobs, position=position, take_code=kept)


def _say_nothing_to_do(store: Store, record: RunRecord, first_element: int | None, plan: Plan) -> bool:
    if first_element is not None or not _is_done(store, record):
        return False
    _refuse_other_steps(record, plan)
    progress_for().say(f"Nothing to do: run {record.key} {_ended(store.load(record.key))}.")
    return True


def _is_done(store: Store, record: RunRecord) -> bool:
    return record.state == RunState.SUCCEEDED and store.first_flawed(record.key) is None


def _refuse_other_steps(record: RunRecord, plan: Plan) -> None:
    """Don't say "nothing to do" of steps that the run has never had."""
    shapes = [(p.size, [(step.path, step.name) for step in p.steps()]) for p in (record.plan, plan)]
    if shapes[0] != shapes[1]:
        raise StudyChanged(
            f"Run {record.key} has succeeded, but with other steps than this pipeline's.",
            f"Say where to begin: orchestrator resume {record.key} --from-step STEP --update STUDY.py\n"
            f"In Python: pipeline.from_step(STEP).run(project_job={record.key!r})",
        )


def _report(run: Run, scheduler: LocalScheduler, progress: Progress) -> None:
    if run.state is RunState.CANCELLED:
        raise Interrupted(f"Run {run.key} was cancelled.", f"To go on after all: orchestrator resume {run.key}")
    if run.state is RunState.FAILED:
        raise RunFailed(
            f"Run {run.key} failed: {run.reason}.",
            f"{_traceback(run)}Then go on: orchestrator resume {run.key}",
        ) from scheduler.exception
    progress.say(f"Run {run.key} {_ended(run)}.")


def _traceback(run: Run) -> str:
    if run.step_run is None:
        return ""
    address = shlex.quote(run.plan.slot(run.step_run.position).address)
    return f"See the traceback: orchestrator logs {run.key} {address}\n"


def _ended(run: Run) -> str:
    why = f" ({run.reason})" if run.reason and run.state is not RunState.CANCELLED else ""
    verb = "was " if run.state is RunState.CANCELLED else "has "
    return f"{verb}{run.state}{why}"


# --- small things --------------------------------------------------------------------------------


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


def _source(record: RunRecord) -> str:
    return f"{record.study}:{record.study_attr}" if record.study_attr else str(record.study)


def _position(key: str, plan: Plan, address: str) -> int:
    position = plan.find(address)
    if position is None:
        names = ", ".join(step.name for step in plan.steps())
        raise DefinitionError(f"Run {key} has no step {address!r}.", f"Its steps are: {names}")
    return position


def _no_code(path: str) -> LoadedStep:
    raise DataError(f"the code of {path} was asked for where nothing should run")


def _ignore(n: int) -> None:
    """Nobody watches."""
