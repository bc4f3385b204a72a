"""What the read side gives: the records as values that `status`, `list`, `wait` and `logs` render, and print as JSON.

The docstrings are the reference of the JSON: `scripts/json-reference` writes `docs/reference/json.md` from
them. Named tuples, since each `status` makes all these classes anew, and frozen dataclasses take five times as long.
Names that end in `_at` are times in epoch seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.machine.kinds import Doubt, EventKind, FailureLevel, Mode, Role, StepKind, Wake
from orchestrator.machine.stalled import Liveness
from orchestrator.machine.states import JobState, RunState, StepRunState
from orchestrator.machine.value import value

__all__ = [
    "FLAT_IN_JSON",
    "NOT_IN_JSON",
    "Event",
    "Failure",
    "HolderView",
    "JobView",
    "ResultNote",
    "RunStatus",
    "RunView",
    "StepLogs",
    "StepRunView",
    "StepSummary",
    "json_values",
]


@value
class HolderView(NamedTuple):
    """The process that advances a run.

    Attributes
    ----------
    host : str
        Machine.
    pid : int
        Process number on that machine.
    scheduler_id : str or None
        SLURM's id of the job that the process is part of; null outside a job.
    """

    host: str
    pid: int
    scheduler_id: str | None


@value
class RunView(NamedTuple):
    """A run.

    Attributes
    ----------
    key : str
        The run's key, `project_job`; also the name of its folder.
    name : str
        Name of the pipeline.
    mode : Mode
        `local` or `slurm`.
    state : RunState
        `active`, `succeeded`, `failed` or `cancelled`.
    reason : str or None
        Why it ended as it did; null where nothing is to be said.
    study : str or None
        File of the study; null where the pipeline came from no file.
    study_attr : str or None
        Name of the pipeline in that file.
    created_at : float
        When the run was recorded.
    started_at : float or None
        When its first step began.
    ended_at : float or None
        When it ended; null while it is active.
    last_event_at : float
        When anything last happened to it.
    seconds : float
        How long it took, in seconds; of a stalled run, until its last event.
    stalled : str or None
        Why nothing will advance it until a command is typed; null where something will, or the run has ended.
    cancel_requested_at : float or None
        When it was asked to stop.
    failing : str or None
        Why it has to fail once its jobs have ended.
    n_failed_step_runs : int
        Step runs that failed, of those that count.
    holder : HolderView or None
        The process that advances it; null where none does.
    wake : Wake or None
        Who advances it on a cluster: `both` the last task of a step and an orchestrator job, or only a `job`; null for
        a run of this machine.
    idle_wakeups : int
        Orchestrator jobs since SLURM last took a job of a step.
    log_dir : str
        Folder of its logs, relative to the workspace; `{project_job}` stands for the key.
    n_finished : int
        Experiments that finished, so far.
    n_failed : int
        Experiments that failed, so far.
    """

    key: str
    name: str
    mode: Mode
    state: RunState
    reason: str | None
    study: str | None
    study_attr: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    last_event_at: float
    seconds: float
    stalled: str | None
    cancel_requested_at: float | None
    failing: str | None
    n_failed_step_runs: int
    holder: HolderView | None
    wake: Wake | None
    idle_wakeups: int
    log_dir: str
    n_finished: int
    n_failed: int


@value
class StepSummary(NamedTuple):
    """A step of the pipeline, with sums over its iterations.

    Attributes
    ----------
    name : str
        Name of the step.
    path : str
        Where it stands in the definition, by index: `0`, in a loop `1.2`.
    depth : int
        In how many loops it stands.
    needs_job : bool
        Whether it runs in a job; false for one that only collects.
    state : str
        The most telling state of its step runs; `waiting` before the first.
    n_planned : int
        Step runs that the definition asks for.
    n : int
        Step runs so far, of those that count.
    step_runs : mapping
        How many of these are in which state.
    n_finished : int
        Experiments that finished, so far.
    n_failed : int
        Experiments that failed, so far.
    seconds : float or None
        How long its step runs took together, in seconds; null before the first.
    n_put_back : int
        Step runs that a resume withdrew.
    """

    name: str
    path: str
    depth: int
    needs_job: bool
    state: str
    n_planned: int
    n: int
    step_runs: Mapping[str, int]
    n_finished: int
    n_failed: int
    seconds: float | None
    n_put_back: int


@value
class JobView(NamedTuple):
    """One call of sbatch, or its like on this machine.

    Attributes
    ----------
    token : str
        Ten characters that name the job before it has an id, and in file names.
    role : Role
        `step`, `batch` or `orchestrator`.
    batch : int
        Which batch of its step run, from 0.
    attempt : int
        From 1; counts on through a resume.
    tasks : str
        The tasks that it runs, as SLURM writes index lists: `0-9,12`.
    n_tasks : int
        How many these are.
    state : JobState
        `planned`, `submitting`, `queued`, `running`, `succeeded`, `failed`, `cancelled` or `lost`.
    kind : str or None
        Kind of failure: `out_of_memory`, `timeout`, `exception`, ...; null where it did not fail.
    reason : str or None
        Why it is in its state.
    scheduler_id : str or None
        SLURM's id; null before it has one.
    waits_for : str or None
        Of an orchestrator job: id of the job after whose end it starts.
    failed_tasks : str
        The tasks that ended without a receipt, as an index list.
    n_finished : int
        Experiments that finished.
    n_failed : int
        Experiments that failed.
    detail : mapping
        What its receipt told besides: host, memory, CPU seconds, the error.
    planned_at : float
        When it was planned.
    submitting_at : float or None
        When it was about to be submitted.
    queued_at : float or None
        When SLURM took it.
    started_at : float or None
        When it began to run.
    ended_at : float or None
        When it ended.
    doubt : Doubt or None
        What is not known about it: `unanswered`, `unlisted`, `receipts_missing` or `unknown_state`; null where nothing.
    doubt_since_at : float or None
        Since when; null where the doubt does not pass with time.
    n_tasks_ended : int or None
        Tasks that have left a receipt; null where it was not counted: only for a batch that runs.
    """

    token: str
    role: Role
    batch: int
    attempt: int
    tasks: str
    n_tasks: int
    state: JobState
    kind: str | None
    reason: str | None
    scheduler_id: str | None
    waits_for: str | None
    failed_tasks: str
    n_finished: int
    n_failed: int
    detail: Mapping[str, Any]
    planned_at: float
    submitting_at: float | None
    queued_at: float | None
    started_at: float | None
    ended_at: float | None
    doubt: Doubt | None
    doubt_since_at: float | None
    n_tasks_ended: int | None = None


@value
class StepRunView(NamedTuple):
    """One step at one iteration.

    Attributes
    ----------
    id : int
        Number of its row.
    address : str
        How a user names it: `run@4`, outside loops `run`.
    position : int
        Where it stands in the flattened pipeline, from 0.
    epoch : int
        0, and one more each time that a resume put it back.
    name : str
        Name of the step.
    iteration : str
        From 0, `3.1` in nested loops; empty outside loops.
    kind : StepKind
        `call`: one process calls a block; `batch`: experiments are evaluated; `until`: the question of a loop.
    state : StepRunState
        `pending`, `active`, `succeeded`, `failed`, `cancelled` or `skipped`.
    reason : str or None
        Why it ended as it did, or what it waits for.
    n_experiments : int or None
        Open experiments that it found; null before it looked, and for a step that evaluates none.
    n_tasks : int or None
        Tasks that they were divided into.
    batch_size : int or None
        Most tasks in one batch.
    n_finished : int
        Experiments that finished, once it has ended.
    n_failed : int
        Experiments that failed, once it has ended.
    until : bool or None
        Answer to the question of the loop, where it was asked here.
    created_at : float
        When it was entered.
    started_at : float or None
        When it began.
    ended_at : float or None
        When it ended.
    withdrawn_at : float or None
        When a resume put it back; such a step run counts no more.
    jobs : tuple of JobView
        Its jobs, in the order in which they were planned.
    """

    id: int
    address: str
    position: int
    epoch: int
    name: str
    iteration: str
    kind: StepKind
    state: StepRunState
    reason: str | None
    n_experiments: int | None
    n_tasks: int | None
    batch_size: int | None
    n_finished: int
    n_failed: int
    until: bool | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    withdrawn_at: float | None
    jobs: tuple[JobView, ...]


@value
class Failure(NamedTuple):
    """Failures with one cause at one address.

    Attributes
    ----------
    address : str
        Of the step run.
    name : str
        Name of the step.
    path : str
        Where the step stands in the definition.
    what : FailureLevel
        `experiments failed`, `task failed` or `step failed`.
    why : str or None
        The cause: type and message of the exception, or SLURM's reason.
    kind : str or None
        Kind of failure; null where a step failed without a job.
    n : int
        How many failures.
    rows : tuple of int
        The first 100 experiments that failed, by row.
    tasks : tuple of int
        The tasks that failed.
    tried_again : bool
        Whether all of these were tried again.
    traceback : str or None
        Traceback of the first.
    """

    address: str
    name: str
    path: str
    what: FailureLevel
    why: str | None
    kind: str | None
    n: int
    rows: tuple[int, ...]
    tasks: tuple[int, ...]
    tried_again: bool
    traceback: str | None


@value
class ResultNote(NamedTuple):
    """What became of results that are not in the table.

    Attributes
    ----------
    address : str
        Of the step run that met them.
    what : EventKind
        `results quarantined`, `files left` or `results not folded`.
    why : str
        What happened, as a sentence.
    n : int or None
        How many results or files; null where they were not counted.
    rows : tuple of int
        Of files, the first 100 numbers.
    """

    address: str
    what: EventKind
    why: str
    n: int | None
    rows: tuple[int, ...]


@value
class Event(NamedTuple):
    """Something that happened to the run itself.

    Attributes
    ----------
    happened_at : float
        When.
    what : EventKind
        What happened: `run` changed its state, it was `withdrawn` to an earlier step, it took new `code`, ...
    old : str or None
        What it was before.
    new : str or None
        What it is since.
    why : str or None
        The reason.
    detail : mapping
        More, by name.
    """

    happened_at: float
    what: EventKind
    old: str | None
    new: str | None
    why: str | None
    detail: Mapping[str, Any]


@value
class RunStatus(NamedTuple):
    """All that the records say of one run.

    Attributes
    ----------
    run : RunView
        The run itself.
    steps : tuple of StepSummary
        The steps of the pipeline, in its order.
    now : StepRunView or None
        The step run that is open; null where none is.
    next : str or None
        Address of what comes after it.
    resume_from : str or None
        Address where a resume begins; null where there is nothing to resume.
    failures : tuple of Failure
        What failed, by address and cause.
    notes : tuple of ResultNote
        What became of results that are not in the table.
    orchestrators : tuple of JobView
        Its orchestrator jobs.
    step_runs : tuple of StepRunView
        Each step at each iteration, also what a resume put back.
    history : tuple of Event
        What happened to the run itself.
    provenance : mapping
        Where it comes from: versions, git commit, arguments, host, user, folder.
    liveness : Liveness
        What `stalled` was derived from.
    """

    run: RunView
    steps: tuple[StepSummary, ...]
    now: StepRunView | None
    next: str | None
    resume_from: str | None
    failures: tuple[Failure, ...]
    notes: tuple[ResultNote, ...]
    orchestrators: tuple[JobView, ...]
    step_runs: tuple[StepRunView, ...]
    history: tuple[Event, ...]
    provenance: Mapping[str, Any]
    liveness: Liveness


@value
class StepLogs(NamedTuple):
    """One step run, with what is needed to find and read its logs.

    Attributes
    ----------
    step_run : StepRunView
        The latest at its address.
    key : str
        Of its run.
    label : str
        Name of the step in the names of files.
    parallel : bool
        Whether each task has a log of its own.
    collects : bool
        Whether it collects without a job, and so has no log.
    failures : tuple of Failure
        What failed in it, by cause.
    notes : tuple of ResultNote
        What became of results that are not in the table.
    stalled : str or None
        Why nothing will advance its run; null where something will.
    log_dir : str
        Folder of the logs, relative to the workspace; `{project_job}` stands for the key.
    numbered_by_batch : bool
        Whether the numbers in names of logs count from 0 in each batch, as SLURM's arrays do.
    """

    step_run: StepRunView
    key: str
    label: str
    parallel: bool
    collects: bool
    failures: tuple[Failure, ...]
    notes: tuple[ResultNote, ...]
    stalled: str | None
    log_dir: str
    numbered_by_batch: bool


NOT_IN_JSON = frozenset({"liveness"})
"""Fields that are for other modules only."""

FLAT_IN_JSON: Mapping[type, str] = {StepLogs: "step_run"}
"""Views whose JSON object also has the fields of one of their own, in its place."""


def json_values(view: Any) -> Any:
    """Give a view, or what it holds, as JSON values."""
    if isinstance(view, Mapping):
        return {name: json_values(inner) for name, inner in view.items()}
    if not isinstance(view, list | tuple):
        return view
    names: tuple[str, ...] | None = getattr(view, "_fields", None)
    if names is None:
        return [json_values(inner) for inner in view]
    fields = {name: json_values(inner) for name, inner in zip(names, view, strict=True) if name not in NOT_IN_JSON}
    flat = FLAT_IN_JSON.get(type(view))
    return fields if flat is None else {**fields.pop(flat), **fields}
