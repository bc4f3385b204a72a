"""Say what the records, and SLURM itself, tell of the jobs of a run on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.render import WIDTH, clock, several, shorten, source

if TYPE_CHECKING:
    from orchestrator.db.views import JobView, RunStatus, RunView
    from orchestrator.engine.cluster.queue_report import QueuedJob, QueueReport
from orchestrator.machine.kinds import Mode
from orchestrator.machine.states import JobState, RunState

__all__ = ["answer", "as_recorded"]


def as_recorded(found: RunStatus, place: str, *, is_refreshed: bool) -> list[str]:
    """Say which orchestrator job waits for what, and how to hear it from SLURM."""
    live = [job for job in found.orchestrators if job.ended_at is None]
    lines = [f"      {shorten(_orchestrator(job), WIDTH - 6)}" for job in live]
    is_on_cluster = found.run.mode is Mode.SLURM and found.run.state is RunState.ACTIVE
    if is_on_cluster and not is_refreshed:
        last = clock(found.run.last_event_at, found.run.last_event_at)
        command = f"orchestrator status {found.run.key} --refresh{place}"
        text = f"      As recorded at {last}. To ask SLURM: "
        lines += [text + command] if len(text + command) <= WIDTH else [text.rstrip(), f"        {command}"]
    return lines


def _orchestrator(job: JobView) -> str:
    name = f"orchestrator job {job.scheduler_id or job.token}"
    after = f" for the end of job {job.waits_for}" if job.waits_for else ""
    why = f" ({job.reason})" if job.reason else ""
    if job.state is JobState.QUEUED:
        return f"{name} waits{after}{why}"
    return f"{name} {job.state}{why}"


def answer(run: RunView, said: QueueReport, now: float, place: str) -> list[str]:
    """Say what SLURM answered, and what to type where it will not go on by itself."""
    lines = [f"SLURM, asked at {clock(said.asked_at, now)}:"]
    lines += [f"  {shorten(_job(job), WIDTH - 2)}" for job in said.jobs]
    if not said.jobs:
        lines.append("  no job of this run is in the queue")
    for job in said.jobs:
        if job.stuck:
            lines += _let_go(job, job.stuck, run, place)
    return lines + _without_witness(run, said, place)


def _job(job: QueuedJob) -> str:
    name = f"job {job.scheduler_id} ({shorten(job.what, 30)})"
    if not job.is_known:
        return f"{name}: not in SLURM's queue"
    parts = []
    for part in job.states:
        n = f"{several(part.n_tasks, 'task')} " if len(job.states) > 1 or part.n_tasks > 1 else ""
        parts.append(f"{n}{part.state}" + (f" ({part.reason})" if part.reason else ""))
    return f"{name}: {', '.join(parts)}" + ("; recorded as ended" if job.has_ended else "")


def _let_go(job: QueuedJob, stuck: str, run: RunView, place: str) -> list[str]:
    """Say what to type about a job that waits for ever."""
    what = f"Job {job.scheduler_id} waits for something that does not pass: {stuck}."
    reason = stuck.lower().replace("_", " ")
    if "heldadmin" in reason:
        return [what, "  The cluster's administrators hold it: ask them."]
    if "held" in reason or "hold" in reason:
        return [what, f"  Let it go: scontrol release {job.scheduler_id}"]
    return [
        what,
        "  Mend its resources or the cluster in the study, then type:",
        f"    orchestrator cancel {run.key}{place}",
        f"    orchestrator submit {source(run)} --project-job {run.key}{place}",
    ]


def _without_witness(run: RunView, said: QueueReport, place: str) -> list[str]:
    """Say that nobody stands behind the job that runs: its own tail goes on, unless it dies."""
    has_orchestrator = any(job.what == "orchestrator" and job.is_live for job in said.jobs)
    is_ending = run.state is not RunState.ACTIVE or run.cancel_requested_at or run.failing
    if is_ending or run.stalled or run.holder or has_orchestrator:
        return []
    return [
        "No orchestrator job waits: if the job dies, nobody goes on. To submit one:",
        f"  orchestrator advance {run.key}{place}",
    ]
