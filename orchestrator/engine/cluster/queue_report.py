"""Compare the jobs of a run, or of several, with the queue of SLURM: one call of squeue, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.db.step_runs import ended_by_token
from orchestrator.db.views import JobView, RunStatus
from orchestrator.engine.cluster.job_log import last_log_lines
from orchestrator.engine.cluster.scripts import ORCHESTRATOR
from orchestrator.errors import DataError
from orchestrator.handoff.claim import claimed_by
from orchestrator.handoff.jobfile import read_jobfile
from orchestrator.handoff.receipt import receipts_of
from orchestrator.indexes import parse_indexes
from orchestrator.machine.facts import Seen
from orchestrator.machine.kinds import Role
from orchestrator.machine.stalled import Liveness, as_listed, why_stalled
from orchestrator.machine.states import FailureKind
from orchestrator.machine.submissions import choose
from orchestrator.machine.value import value
from orchestrator.slurm.client import Client
from orchestrator.slurm.job_states import is_stuck, meaning
from orchestrator.slurm.parse import Line, is_live, seen_by_id
from orchestrator.workspace import RunFolder, Workspace

__all__ = ["QueueReport", "QueueState", "QueuedJob", "ask_slurm", "why_stalled_now"]

LOG_LINES = 4
"""Last lines of a log that are shown."""


@value
class QueueState(NamedTuple):
    """How SLURM lists some of a job's tasks.

    Attributes
    ----------
    state : str
        SLURM's name of the state.
    reason : str
        In SLURM's words; empty if it gives none.
    n_tasks : int
        Number of tasks in this state for this reason.
    is_waiting : bool
        Whether they have not started.
    """

    state: str
    reason: str
    n_tasks: int
    is_waiting: bool


@value
class QueuedJob(NamedTuple):
    """A job as SLURM lists it.

    Attributes
    ----------
    scheduler_id : str or None
        SLURM's id.
    token : str
        The job's token.
    what : str
        Address of its step run, or `orchestrator`.
    has_ended : bool
        Whether the records call it ended.
    is_known : bool
        Whether SLURM lists it.
    is_live : bool
        Whether SLURM lists it as not over.
    states : tuple of QueueState
        How SLURM lists its tasks.
    stuck : str or None
        SLURM's reason, if the job will never start because of it; null otherwise.
    never_began : bool
        Whether it is over for SLURM and live in the records, and never began its work: `env_setup` or `runner` failed.
    log_end : tuple of str
        For such a job, the last lines of its log.
    """

    scheduler_id: str | None
    token: str
    what: str
    has_ended: bool
    is_known: bool
    is_live: bool
    states: tuple[QueueState, ...]
    stuck: str | None
    never_began: bool = False
    log_end: tuple[str, ...] = ()


@value
class QueueReport(NamedTuple):
    """The jobs of a run as SLURM lists them.

    Attributes
    ----------
    asked_at : float
        When SLURM was queried.
    stalled : str or None
        Why nothing will advance the run, according to the records and SLURM; null if something will.
    jobs : tuple of QueuedJob
        The jobs that are live in the records, and those that SLURM lists although they have ended in the records.
    """

    asked_at: float
    stalled: str | None
    jobs: tuple[QueuedJob, ...]


def ask_slurm(path: Path, found: RunStatus, now: float, *, seconds: float | None = None) -> QueueReport:
    """Call squeue once, and return how it lists the jobs of a run.

    Parameters
    ----------
    path : Path
        The database.
    found : RunStatus
        The run as recorded.
    now : float
        Epoch seconds.
    seconds : float, optional
        Time limit of the call, if it is not the usual one.

    Raises
    ------
    SchedulerUnreachable
        If SLURM does not answer.
    """
    lines = Client().squeue() if seconds is None else Client(seconds_to_ask=seconds).squeue()
    recorded = (*(() if found.now is None else found.now.jobs), *found.orchestrators)
    live = [job for job in recorded if job.ended_at is None]
    jobs = [_job(job, _what(found, job), lines) for job in live]
    jobs = [job for job in jobs if job.is_known or job.scheduler_id is not None]
    folder = Workspace(path).run(found.run.key, found.run.log_dir)
    known = {job.token: job.job_file for job in live}
    jobs = [_with_log(job, folder, known[job.token]) if _has_died(job) else job for job in jobs]
    others = [
        line
        for line in lines
        if line.tokens and line.tokens.isdisjoint(known) and meaning(line.state).seen is not Seen.OVER
    ]
    tokens = {token for line in others for token in line.tokens}
    jobs += _unlisted(others, ended_by_token(path, found.run.key, tokens) if tokens else {})
    return QueueReport(now, why_stalled(_as_listed(found.liveness, lines)), tuple(jobs))


def why_stalled_now(runs: Sequence[Liveness], *, seconds: float) -> list[str | None]:
    """Call squeue once, and return for each run why nothing will advance it; None if something will.

    Parameters
    ----------
    runs : sequence of Liveness
        The runs as recorded, without lease holders.
    seconds : float
        Time limit of the call.

    Raises
    ------
    SchedulerUnreachable
        If SLURM does not answer.
    """
    lines = Client(seconds_to_ask=seconds).squeue()
    of_token: dict[str, list[Line]] = {}
    for line in lines:
        for token in line.tokens:
            of_token.setdefault(token, []).append(line)
    return [why_stalled(_as_listed(run, _lines_of_run(run, of_token))) for run in runs]


def _lines_of_run(run: Liveness, of_token: Mapping[str, Sequence[Line]]) -> list[Line]:
    return [line for job in (*run.live, *run.orchestrators) for line in of_token.get(job.token, ())]


def _what(found: RunStatus, job: JobView) -> str:
    return ORCHESTRATOR if job.role is Role.ORCHESTRATOR or found.now is None else found.now.address


def _has_died(job: QueuedJob) -> bool:
    """Whether the job of a step has ended by itself, and was not cancelled."""
    is_cancelled = any(meaning(queued.state).kind is FailureKind.CANCELLED for queued in job.states)
    return not job.is_live and job.what != ORCHESTRATOR and not is_cancelled


def _with_log(job: QueuedJob, folder: RunFolder, sha256: str | None) -> QueuedJob:
    """Add the end of the log of a job that has ended before it began its work."""
    try:
        file = read_jobfile(folder.job(job.token).file, sha256)
    except DataError:
        return job
    if claimed_by(folder.job(job.token)) is not None or receipts_of(folder.job(job.token)):
        return job
    log_end = last_log_lines(folder, file, min(parse_indexes(file.tasks)), LOG_LINES)
    return job._replace(never_began=True, log_end=tuple(log_end))


def _lines_of(token: str, scheduler_id: str | None, lines: Iterable[Line]) -> list[Line]:
    mine = [line for line in lines if line.has_token(token)]
    chosen = choose(seen_by_id(mine), claimed_by=None, recorded=scheduler_id) if mine else None
    return [line for line in mine if line.job_id == chosen]


def _job(job: JobView, what: str, lines: Sequence[Line]) -> QueuedJob:
    mine = _lines_of(job.token, job.scheduler_id, lines)
    scheduler_id = job.scheduler_id or (mine[0].job_id if mine else None)
    return _described(scheduler_id, job.token, what, mine, has_ended=False)


def _unlisted(lines: Sequence[Line], ended: Mapping[str, bool]) -> list[QueuedJob]:
    """Return the jobs of the run that are live in SLURM, and ended, or not yet read, in the records."""
    by_job: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        for token in line.tokens & ended.keys():
            by_job.setdefault((line.job_id, token), []).append(line)
    return [
        _described(job_id, token, mine[0].name.partition(f"_{token}_")[0], mine, has_ended=ended[token])
        for (job_id, token), mine in by_job.items()
    ]


def _described(scheduler_id: str | None, token: str, what: str, lines: Sequence[Line], *, has_ended: bool) -> QueuedJob:
    counts: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line.state, "" if line.reason == "None" else line.reason)
        counts[key] = counts.get(key, 0) + len(line.indexes or (0,))
    waits = [line for line in lines if meaning(line.state).seen is Seen.QUEUED]
    return QueuedJob(
        scheduler_id=scheduler_id,
        token=token,
        what=what,
        has_ended=has_ended,
        is_known=bool(lines),
        is_live=any(meaning(line.state).seen is not Seen.OVER for line in lines),
        states=tuple(
            QueueState(state, reason, n, meaning(state).seen is Seen.QUEUED) for (state, reason), n in counts.items()
        ),
        stuck=next((line.reason for line in waits if is_stuck(line.reason)), None),
    )


def _as_listed(run: Liveness, lines: Sequence[Line]) -> Liveness:
    live = [line for line in lines if meaning(line.state).seen is not Seen.OVER]
    mine = ((job.token, _lines_of(job.token, job.scheduler_id, live)) for job in (*run.live, *run.orchestrators))
    part_of = None if run.holder is None else run.holder.scheduler_id
    return as_listed(
        run,
        {token: found[0].job_id for token, found in mine if found},
        holder_has_ended=part_of is not None and not is_live(part_of, lines),
    )
