"""Set what SLURM says of a run's jobs beside what the records say: one squeue, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.db.queries import ended_among
from orchestrator.machine.facts import Seen
from orchestrator.machine.model import Job
from orchestrator.machine.stalled import LeaseHolder, Liveness, why_stalled
from orchestrator.machine.states import JobState
from orchestrator.slurm.client import Client
from orchestrator.slurm.parse import Line, is_live
from orchestrator.slurm.states import is_stuck, meaning

__all__ = ["ask_slurm"]

NOT_YET = (JobState.PLANNED, JobState.SUBMITTING)


def ask_slurm(path: Path, found: dict[str, Any], liveness: Liveness, now: float) -> dict[str, Any]:
    """Ask squeue once about the jobs of a run.

    Parameters
    ----------
    path : Path
        The database.
    found : dict
        What `orchestrator.db.queries.run_status` gave.
    liveness : Liveness
        What the records say of whether the run is stalled.
    now : float
        Epoch seconds.

    Returns
    -------
    dict
        `asked_at`; `stalled`, as it is derived from the records and SLURM's answer; and `jobs`, each with its
        `scheduler_id`, `token`, `what` it is, whether it is recorded as ended (`has_ended`), whether SLURM knows it
        (`is_known`) and calls it live (`is_live`), SLURM's `states` (each a `state` and `reason` with its `n_tasks`),
        and the reason that does not pass by waiting, if it has one (`stuck`).

    Raises
    ------
    SchedulerUnreachable
    """
    lines = Client().squeue()
    recorded = [*((found["now"] or {"jobs": []})["jobs"]), *found["orchestrators"]]
    live = [job for job in recorded if job["ended_at"] is None]
    jobs = [_job(job, _what(found, job), lines) for job in live if job["state"] != JobState.PLANNED]
    jobs = [job for job in jobs if job["is_known"] or job["scheduler_id"] is not None]
    known = {job["token"] for job in live}
    others = [
        line for line in lines if line.token and line.token not in known and meaning(line.state)[0] is not Seen.OVER
    ]
    ended = ended_among(path, found["run"]["key"], {line.token for line in others}) if others else {}
    jobs += _unlisted([line for line in others if line.token in ended], ended)
    return {"asked_at": now, "stalled": why_stalled(_as_listed(liveness, lines)), "jobs": jobs}


def _what(found: dict[str, Any], job: dict[str, Any]) -> str:
    return "orchestrator" if job["role"] == "orchestrator" else str(found["now"]["address"])


def _lines_of(token: str, scheduler_id: str | None, lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.carries(token) and scheduler_id in (None, line.job_id)]


def _job(job: dict[str, Any], what: str, lines: Sequence[Line]) -> dict[str, Any]:
    mine = _lines_of(job["token"], job["scheduler_id"], lines)
    scheduler_id = job["scheduler_id"] or (mine[0].job_id if mine else None)
    return _described(scheduler_id, job["token"], what, mine, has_ended=False)


def _unlisted(lines: Sequence[Line], ended: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Describe jobs of the run that SLURM has not done with, though the records have; or that are new since."""
    by_id: dict[str, list[Line]] = {}
    for line in lines:
        by_id.setdefault(line.job_id, []).append(line)
    return [
        _described(job_id, first.token, first.name.partition(f"_{first.token}_")[0], mine, has_ended=ended[first.token])
        for job_id, mine in by_id.items()
        for first in mine[:1]
    ]


def _described(
    scheduler_id: str | None, token: str, what: str, lines: Sequence[Line], *, has_ended: bool
) -> dict[str, Any]:
    counts: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line.state, "" if line.reason == "None" else line.reason)
        counts[key] = counts.get(key, 0) + len(line.indexes or (0,))
    waits = [line for line in lines if meaning(line.state)[0] is Seen.QUEUED]
    return {
        "scheduler_id": scheduler_id,
        "token": token,
        "what": what,
        "has_ended": has_ended,
        "is_known": bool(lines),
        "is_live": any(meaning(line.state)[0] is not Seen.OVER for line in lines),
        "states": [{"state": state, "reason": reason, "n_tasks": n} for (state, reason), n in counts.items()],
        "stuck": next((line.reason for line in waits if is_stuck(line.reason)), None),
    }


def _as_listed(run: Liveness, lines: Sequence[Line]) -> Liveness:
    """Take SLURM's word for its jobs, where the records say what they were when the run was last advanced."""
    return run._replace(
        holder=None if run.holder is None else _holder_as_listed(run.holder, lines),
        live=_jobs_as_listed(run.live, lines),
        orchestrators=_jobs_as_listed(run.orchestrators, lines),
    )


def _holder_as_listed(holder: LeaseHolder, lines: Sequence[Line]) -> LeaseHolder:
    is_over = holder.scheduler_id is not None and not is_live(holder.scheduler_id, lines)
    return holder._replace(is_dead=holder.is_dead or is_over)


def _jobs_as_listed(jobs: Iterable[Job], lines: Sequence[Line]) -> tuple[Job, ...]:
    seen = (_job_as_listed(job, lines) for job in jobs)
    return tuple(job for job in seen if job is not None)


def _job_as_listed(job: Job, lines: Sequence[Line]) -> Job | None:
    """Give a recorded job as SLURM sees it; None where it is over or unknown."""
    mine = [line for line in _lines_of(job.token, job.scheduler_id, lines) if meaning(line.state)[0] is not Seen.OVER]
    if not mine:
        return job if job.state in NOT_YET else None
    state = JobState.QUEUED if job.state is JobState.SUBMITTING else job.state
    return job._replace(state=state, scheduler_id=job.scheduler_id or mine[0].job_id, absent_since=None)
