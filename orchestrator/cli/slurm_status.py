"""The part of `status` about the jobs of a run on a cluster, from the records and from SLURM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.render import clock, is_foreign_run, plural, screen_width, shorten, study_argument
from orchestrator.machine.kinds import Mode
from orchestrator.machine.states import JobState, RunState

if TYPE_CHECKING:
    from orchestrator.db.views import JobView, RunStatus, RunView
    from orchestrator.engine.cluster.queue_report import QueuedJob, QueueReport

__all__ = ["queue_lines", "record_lines", "stuck_lines", "waiting_lines"]


def record_lines(found: RunStatus, options: str, *, has_answer: bool) -> list[str]:
    """Write which orchestrator job waits for which job, and, without SLURM's whole answer, how to ask SLURM."""
    unfinished = [job for job in found.orchestrators if job.ended_at is None]
    lines = [f"      {shorten(_orchestrator(job), screen_width() - 6)}" for job in unfinished]
    is_on_cluster = found.run.mode is Mode.SLURM and found.run.state is RunState.ACTIVE
    if is_on_cluster and not has_answer and not is_foreign_run(found.run):
        last = clock(found.run.last_event_at, found.run.last_event_at)
        command = f"orchestrator status {found.run.key} --refresh{options}"
        text = f"      As recorded at {last}. To ask SLURM: "
        lines += [text + command] if len(text + command) <= screen_width() else [text.rstrip(), f"        {command}"]
    return lines


def _orchestrator(job: JobView) -> str:
    name = f"orchestrator job {job.scheduler_id or job.token}"
    after = f" for the end of job {job.waits_for}" if job.waits_for else ""
    why = f" ({job.reason})" if job.reason else ""
    if job.state is JobState.QUEUED:
        return f"{name} waits{after}{why}"
    return f"{name} {job.state}{why}"


def waiting_lines(job: JobView, report: QueueReport | None) -> list[str]:
    """Write why tasks of a job wait in the queue, in SLURM's words."""
    listed = [] if report is None else [queued for queued in report.jobs if queued.token == job.token]
    return [
        f"in the queue: {plural(part.n_tasks, 'task')} {part.state}{f' ({part.reason})' if part.reason else ''}"
        for queued in listed
        for part in queued.states
        if part.is_waiting
    ]


def queue_lines(run: RunView, report: QueueReport, now: float, options: str) -> list[str]:
    """Write SLURM's answer, and what to type for a job that will not start by itself."""
    lines = [f"SLURM's answer at {clock(report.asked_at, now)}:"]
    for job in report.jobs:
        lines.append(f"  {shorten(_job(job), screen_width() - 2)}")
        if job.never_began:
            lines.append("    It ended before it began its work." + (" Its log ends with:" if job.log_end else ""))
            lines += [f"      {shorten(line, screen_width() - 6)}" for line in job.log_end]
    if not report.jobs:
        lines.append("  no job of this run is in the queue")
    return lines + stuck_lines(run, report, options) + _without_orchestrator_job(run, report, options)


def stuck_lines(run: RunView, report: QueueReport, options: str) -> list[str]:
    """Write what to type for each job that will not start by itself."""
    return [line for job in report.jobs if job.stuck for line in _stuck(job, job.stuck, run, options)]


def _job(job: QueuedJob) -> str:
    name = f"job {job.scheduler_id} ({shorten(job.what, 30)})"
    if not job.is_known:
        return f"{name}: not in SLURM's queue"
    parts = []
    for part in job.states:
        count = f"{plural(part.n_tasks, 'task')} " if len(job.states) > 1 or part.n_tasks > 1 else ""
        parts.append(f"{count}{part.state}" + (f" ({part.reason})" if part.reason else ""))
    return f"{name}: {', '.join(parts)}" + ("; recorded as ended" if job.has_ended else "")


_MEANINGS = {
    "PartitionConfig": "No node of its partition has the CPUs, or the memory, that it requests.",
}
"""What a reason of SLURM means that does not say it."""


def _stuck(job: QueuedJob, stuck: str, run: RunView, options: str) -> list[str]:
    """Write what to type for a job that will never start by itself."""
    what = f"Job {job.scheduler_id} will not start by itself: {stuck}."
    meaning = _MEANINGS.get(stuck)
    reason = stuck.lower().replace("_", " ")
    if "heldadmin" in reason:
        return [what, "  An administrator of the cluster holds it: ask for its release."]
    if "held" in reason or "hold" in reason:
        return [what, f"  To release it: scontrol release {job.scheduler_id}"]
    return [
        what,
        *([] if meaning is None else [f"  {meaning}"]),
        "  Fix its resources or the cluster in the study, then type:",
        f"    orchestrator cancel {run.key}{options}",
        f"    orchestrator submit {study_argument(run)} --project-job {run.key}{options}",
    ]


def _without_orchestrator_job(run: RunView, report: QueueReport, options: str) -> list[str]:
    """Write that no orchestrator job waits: the run continues only if the running job does not die."""
    has_orchestrator = any(job.what == "orchestrator" and job.is_live for job in report.jobs)
    is_ending = run.state is not RunState.ACTIVE or run.cancel_requested_at or run.failing
    if is_ending or run.stalled or run.holder or has_orchestrator:
        return []
    return [
        "No orchestrator job waits: if the running job dies, the run stalls.",
        "To submit an orchestrator job:",
        f"  orchestrator advance {run.key}{options}",
    ]
