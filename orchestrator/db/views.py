"""The records as values, which `status`, `list`, `wait` and `logs` print as text or as JSON.

The docstrings are the reference of the JSON: `scripts/json-reference` writes `docs/reference/json.md` from them. These
are named tuples because each command creates the classes again, and frozen dataclasses take five times as long.
Names that end in `_at` are times in epoch seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.machine.kinds import Doubt, EventKind, FailureLevel, Mode, Role, StepKind, StopSignal, Wake
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
        Name of the host.
    pid : int
        Process number on that machine.
    scheduler_id : str or None
        SLURM's id of the job that the process runs in; null outside a job.
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
    uid : int
        Number of the user that it belongs to: only this user can change it.
    mode : Mode
        `local` or `slurm`.
    state : RunState
        `active`, `succeeded`, `failed` or `cancelled`.
    reason : str or None
        Why it ended in this state; null if there is no special reason.
    study : str or None
        File of the study; null if the pipeline was not loaded from a file.
    study_attr : str or None
        Name of the pipeline in that file.
    created_at : float
        When the run was recorded.
    started_at : float or None
        When its first step began.
    ended_at : float or None
        When it ended; null while it is active.
    last_event_at : float
        Time of its last event.
    seconds : float
        Duration in seconds, without `idle_seconds`.
    idle_seconds : float
        Seconds between a stop, its end, or the death of its process, and the process that continued it.
    queue_seconds : float
        Those of `seconds` in which jobs of its steps were in the queue of the cluster and none ran.
    stalled : str or None
        Why nothing will advance it until the user types a command; null if it is not stalled.
    stopped_at : float or None
        When its process was stopped: by Ctrl-C, SIGTERM, or the end of its terminal; null if it was not, or has
        continued since.
    stopped_by : StopSignal or None
        The signal that stopped it then: `SIGINT`, `SIGTERM` or `SIGHUP`.
    cancel_requested_at : float or None
        When the user requested to cancel it.
    held_at : float or None
        Since when the user holds it, so that nothing new is started.
    forked_from : str or None
        The run that it was forked from.
    forked_step : str or None
        The step with which it began then.
    failing : str or None
        Why it will fail when its jobs have ended.
    login_only : str or None
        SLURM's message when a node was refused to submit: since then only login nodes submit its jobs; null before.
    n_failed_step_runs : int
        Number of step runs that failed or were cancelled, and are not withdrawn.
    holder : HolderView or None
        The process that advances it now; null if there is none.
    wake : Wake or None
        What advances it on a cluster: `both`, the last task of a step and an orchestrator job, or `job`, only an
        orchestrator job; null for a run on this machine.
    idle_wakeups : int
        Number of orchestrator jobs since SLURM last accepted a job of a step.
    log_dir : str
        Folder of its logs, relative to the workspace; `{project_job}` stands for the key.
    n_finished : int
        Experiments that have finished so far.
    n_failed : int
        Experiments that have failed so far.
    has_too_many_failed : bool
        Whether a step has failed that has failed experiments: `resume --accept-failed` accepts them.
    has_accepted_failed : bool
        Whether the user has accepted failed experiments of a step.
    n_running : int
        Experiments that are evaluated now.
    n_waiting : int
        Experiments of the open step that have no result and are not evaluated now.
    """

    key: str
    name: str
    uid: int
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
    idle_seconds: float
    queue_seconds: float
    stalled: str | None
    stopped_at: float | None
    stopped_by: StopSignal | None
    cancel_requested_at: float | None
    held_at: float | None
    forked_from: str | None
    forked_step: str | None
    failing: str | None
    login_only: str | None
    n_failed_step_runs: int
    holder: HolderView | None
    wake: Wake | None
    idle_wakeups: int
    log_dir: str
    n_finished: int
    n_failed: int
    has_too_many_failed: bool
    has_accepted_failed: bool
    n_running: int = 0
    n_waiting: int = 0


@value
class StepSummary(NamedTuple):
    """A step of the pipeline, with sums over its iterations.

    Attributes
    ----------
    name : str
        Name of the step.
    path : str
        Place in the definition, as indexes from 0: `0`, in a loop `1.2`.
    depth : int
        Number of loops around it.
    needs_job : bool
        Whether it runs in a job; false for a step that only collects.
    state : str
        Of the states of its step runs, the first in this list: `active`, `pending`, `failed`, `cancelled`, `succeeded`,
        `skipped`; `waiting` before the first step run.
    n_planned : int
        Number of step runs in the plan.
    n : int
        Number of step runs so far that are not withdrawn.
    step_runs : mapping
        Number of these by state.
    n_finished : int
        Experiments that have finished so far.
    n_failed : int
        Experiments that have failed so far.
    seconds : float or None
        Total duration of its step runs, in seconds; null before the first.
    queue_seconds : float
        Those of `seconds` in which its jobs were in the queue of the cluster and none ran.
    n_withdrawn : int
        Number of step runs that a resume withdrew.
    n_running : int
        Experiments that are evaluated now.
    n_waiting : int
        Experiments of its open step run that have no result and are not evaluated now.
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
    queue_seconds: float
    n_withdrawn: int
    n_running: int = 0
    n_waiting: int = 0


@value
class JobView(NamedTuple):
    """A job: one unit of work for the scheduler, normally one call of sbatch, or its equivalent on this machine.

    Attributes
    ----------
    token : str
        Ten characters that name the job in file names, and before it has an id.
    role : Role
        `step`, `batch` or `orchestrator`.
    batch : int
        Number of its batch in the step run, from 0.
    attempt : int
        Number of the attempt at this batch, from 1; a resume does not reset it.
    tasks : str
        Its tasks, as an index list of SLURM: `0-9,12`.
    n_tasks : int
        Number of its tasks.
    state : JobState
        `planned`, `submitting`, `queued`, `running`, `succeeded`, `failed`, `cancelled` or `lost`.
    kind : str or None
        Kind of failure: `out_of_memory`, `timeout`, `exception`, ...; null if it did not fail.
    reason : str or None
        Why it is in this state.
    scheduler_id : str or None
        SLURM's id; null before it has one.
    waits_for : str or None
        For an orchestrator job: id of the job that must end before it starts.
    failed_tasks : str
        The tasks without a receipt of success, as an index list.
    n_finished : int
        Experiments that finished.
    n_failed : int
        Experiments that failed.
    detail : mapping
        More from its receipt: host, memory, CPU seconds, the error.
    planned_at : float
        When it was planned.
    submitting_at : float or None
        When its submission began.
    queued_at : float or None
        When SLURM accepted it.
    started_at : float or None
        When it started.
    ended_at : float or None
        When it ended.
    doubt : Doubt or None
        What is not known about it: `unanswered`, `unlisted`, `receipts_missing` or `unknown_state`; null if there is no
        doubt.
    doubt_since_at : float or None
        Since when there is this doubt; null if the doubt does not end after some time.
    job_file : str or None
        SHA-256 of its file; null if it has none, or if it was not recorded.
    n_tasks_ended : int or None
        Number of its tasks that have a receipt; null if not counted. It is counted only for a running batch.
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
    job_file: str | None
    n_tasks_ended: int | None = None


@value
class StepRunView(NamedTuple):
    """One step at one iteration.

    Attributes
    ----------
    id : int
        Number of its row.
    address : str
        Step and iteration as a user writes them: `run@4`, outside loops `run`.
    position : int
        Place in the flattened pipeline, from 0.
    epoch : int
        How often a resume has withdrawn the step run at this position.
    name : str
        Name of the step.
    iteration : str
        Number of the iteration, from 0; `3.1` in nested loops; empty outside loops.
    kind : StepKind
        `call`: one process calls a block; `batch`: experiments are evaluated; `until`: the `until` of a loop is called.
    state : StepRunState
        `pending`, `active`, `succeeded`, `failed`, `cancelled` or `skipped`.
    reason : str or None
        Why it ended in this state, or what it waits for.
    n_experiments : int or None
        Number of open experiments at its start; null before that, and for a step that evaluates none.
    n_tasks : int or None
        Number of tasks for these experiments.
    batch_size : int or None
        Maximum number of tasks in one batch.
    n_all : int or None
        Number of its experiments, with those that were evaluated before a resume; null where `n_experiments` is.
    n_finished : int
        Experiments that have finished so far, in whatever attempt.
    n_failed : int
        Experiments that have failed so far, in whatever attempt.
    n_running : int
        Experiments that are evaluated now.
    n_waiting : int
        Experiments that have no result and are not evaluated now; 0 when it has ended.
    seconds_left : float or None
        Estimate of the time until it ends, in seconds, from the experiments that have a result; null without one.
    until : bool or None
        What the `until` of the loop returned; null if it was not called here.
    created_at : float
        When it was created.
    started_at : float or None
        When it started.
    ended_at : float or None
        When it ended.
    withdrawn_at : float or None
        When a resume withdrew it; a withdrawn step run is not counted.
    jobs : tuple of JobView
        Its jobs, in the order in which they were planned.
    path : str
        Place of the step in the definition.
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
    n_all: int | None
    n_finished: int
    n_failed: int
    n_running: int
    n_waiting: int
    seconds_left: float | None
    until: bool | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    withdrawn_at: float | None
    jobs: tuple[JobView, ...]
    path: str


@value
class Failure(NamedTuple):
    """Failures at one address with the same cause.

    Attributes
    ----------
    address : str
        Address of the step run.
    name : str
        Name of the step.
    path : str
        Place of the step in the definition.
    what : FailureLevel
        `experiments failed`, `task failed` or `step failed`.
    why : str or None
        The cause: type and message of the exception, or SLURM's reason.
    kind : str or None
        Kind of failure; null if a step failed without a job.
    n : int
        Number of failures.
    rows : tuple of int
        Row labels of the first 100 failed experiments.
    tasks : tuple of int
        The tasks that failed.
    was_retried : bool
        Whether all of them were retried.
    traceback : str or None
        Traceback of the first failure.
    inputs : mapping or None
        Inputs of the first failed experiment, while its step runs; null otherwise.
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
    was_retried: bool
    traceback: str | None
    inputs: Mapping[str, Any] | None = None


@value
class ResultNote(NamedTuple):
    """A note on results that are not in the table.

    Attributes
    ----------
    address : str
        Address of the step run that found them.
    what : EventKind
        `results quarantined`, `files left` or `results not folded`.
    why : str
        What happened, as a sentence.
    n : int or None
        Number of results or files; null if not counted.
    rows : tuple of int
        Numbers of the first 100 files.
    """

    address: str
    what: EventKind
    why: str
    n: int | None
    rows: tuple[int, ...]


@value
class Event(NamedTuple):
    """An event in the history of the run itself.

    Attributes
    ----------
    happened_at : float
        Time of the event.
    what : EventKind
        Kind of event: `run`, its state changed; `withdrawn`, a resume withdrew step runs; `code`, its code changed; ...
    old : str or None
        Value before the event.
    new : str or None
        Value after the event.
    why : str or None
        The reason.
    detail : mapping
        More values, by name.
    """

    happened_at: float
    what: EventKind
    old: str | None
    new: str | None
    why: str | None
    detail: Mapping[str, Any]


@value
class RunStatus(NamedTuple):
    """Everything in the records about one run.

    Attributes
    ----------
    run : RunView
        The run itself.
    steps : tuple of StepSummary
        The steps of the pipeline, in its order.
    now : StepRunView or None
        The open step run; null if there is none.
    next : str or None
        Address of the step after it.
    resume_from : str or None
        Address where a resume begins; null if there is nothing to resume.
    failures : tuple of Failure
        Its failures, by address and cause.
    notes : tuple of ResultNote
        Notes on results that are not in the table.
    orchestrators : tuple of JobView
        Its orchestrator jobs.
    step_runs : tuple of StepRunView
        All step runs, including those that a resume withdrew.
    history : tuple of Event
        Events of the run itself.
    provenance : mapping
        Origin of the run: versions, git commit, arguments, host, user, folder.
    liveness : Liveness
        What `stalled` is derived from.
    n_removed_finished : int
        Experiments that have finished in iterations that the pipeline no longer has; `steps` does not count them.
    n_removed_failed : int
        Experiments that have failed in such iterations.
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
    n_removed_finished: int = 0
    n_removed_failed: int = 0


@value
class StepLogs(NamedTuple):
    """A step run, with what is needed to find and read its logs.

    Attributes
    ----------
    step_run : StepRunView
        The latest step run at its address.
    key : str
        Key of its run.
    label : str
        Name of the step in file names.
    parallel : bool
        Whether each task has its own log.
    collects : bool
        Whether it collects without a job, and so has no log.
    failures : tuple of Failure
        Its failures, by cause.
    notes : tuple of ResultNote
        Notes on results that are not in the table.
    stalled : str or None
        Why nothing will advance its run; null if the run is not stalled.
    log_dir : str
        Folder of the logs, relative to the workspace; `{project_job}` stands for the key.
    numbered_by_batch : bool
        Whether the task numbers in names of logs begin with 0 in each batch, as in arrays of SLURM.
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
"""Fields that are not printed as JSON."""

FLAT_IN_JSON: Mapping[type, str] = {StepLogs: "step_run"}
"""Views whose JSON object contains the fields of one of their fields instead of that field."""


def json_values(view: Any) -> Any:
    """Return a view, or a value in it, as JSON values."""
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
