"""Read steps, step runs and their jobs for `status` and `logs`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from orchestrator.addresses import format_address, parse_address
from orchestrator.db.connection import session
from orchestrator.db.failures import address_of, failures, notes
from orchestrator.db.liveness import live_jobs, liveness
from orchestrator.db.model_of_rows import COUNTS, job_of, plan_of
from orchestrator.db.rows import Row, as_parameter, member, scalar
from orchestrator.db.run_rows import run_row
from orchestrator.db.runs import RUN, log_dir, sum_so_far
from orchestrator.db.views import JobView, StepLogs, StepRunView, StepSummary
from orchestrator.errors import NotFound, NotYet
from orchestrator.machine.kinds import Mode, StepKind
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.stalled import why_stalled
from orchestrator.machine.states import JobState, RunState, StepRunState
from orchestrator.machine.wording import reason_of

__all__ = [
    "all_step_runs",
    "as_started",
    "ended_by_token",
    "find_step_run",
    "job_view",
    "jobs_of",
    "jobs_of_step",
    "open_step_runs",
    "orchestrators",
    "step_run_view",
    "summaries",
]

_SUMS = f"""
SELECT path, count(*) AS n_step_runs,
    {", ".join(f"sum(state = '{state}') AS n_{state}" for state in StepRunState)},
    {sum_so_far("n_finished")} AS n_finished_experiments, {sum_so_far("n_failed")} AS n_failed_experiments,
    sum(max(0.0, coalesce(ended_at, :until) - started_at - idle_seconds)) AS seconds,
    sum(queue_seconds) AS queue_seconds
FROM step_run WHERE run_id = :run_id AND {COUNTS} GROUP BY path
"""

_MOST_IMPORTANT_FIRST = ("active", "pending", "failed", "cancelled", "succeeded", "skipped")


def find_step_run(path: Path, key: str | None, address: str) -> StepLogs:
    """Return the latest epoch of the step run at an address; a name alone means, in a loop, the latest iteration.

    Parameters
    ----------
    path : Path
        The database.
    key : str or None
        None means the latest run.
    address : str
        `name`, or `name@iteration`.

    Raises
    ------
    NotFound
        If there is no such step, or it did not run.
    NotYet
        If the step may still run.
    """
    with session(path, write=False) as connection:
        row = run_row(connection, key, RUN)
        plan = plan_of(row)
        found, name = _at_address(connection, row.id, address)
        if found is None:
            raise _not_run(connection, row, address, name, plan)
        step_run = step_run_view(found, jobs_of(connection, found.id))
        failed, noted = failures(connection, row.id, found.id), notes(connection, row.id, found.id)
        alive = liveness(row, time.time(), live_jobs(connection, [row]).get(row.id, ()))
    step = plan.slot(found.position).step if found.position < plan.size else None
    return StepLogs(
        step_run=step_run,
        key=row.key,
        label=found.name if step is None else step.label,
        parallel=step is not None and step.parallel,
        collects=step is not None and step.collects,
        failures=failed,
        notes=noted,
        stalled=why_stalled(alive),
        log_dir=log_dir(row),
        numbered_by_batch=row.mode == Mode.SLURM,
    )


def ended_by_token(path: Path, key: str, tokens: Collection[str]) -> dict[str, bool]:
    """Return, for those of these tokens that are of jobs of the run, whether the job has ended."""
    query = (
        "SELECT token, job.ended_at FROM job JOIN run ON job.run_id = run.id "
        f"WHERE key = ? AND token IN ({', '.join('?' * len(tokens))})"
    )
    with session(path, write=False) as connection:
        return {row.token: row.ended_at is not None for row in connection.execute(query, (key, *tokens))}


def jobs_of_step(path: Path, key: str, name: str) -> list[tuple[str, str | None, str]]:
    """Return all jobs of a step, in order: token, SHA-256 of the job file, and address of the step run."""
    query = (
        "SELECT token, job_file, step_run.name AS name, iteration FROM job JOIN step_run ON step_run_id = step_run.id "
        "JOIN run ON step_run.run_id = run.id WHERE key = ? AND step_run.name = ? ORDER BY job.id"
    )
    with session(path, write=False) as connection:
        return [(row.token, row.job_file, address_of(row)) for row in connection.execute(query, (key, name))]


def _at_address(connection: sqlite3.Connection, run_id: int, address: str) -> tuple[Row | None, str]:
    name, iteration = parse_address(address)
    here = "SELECT * FROM step_run WHERE run_id = :run_id AND name = :name"
    latest = "ORDER BY position DESC, epoch DESC LIMIT 1"
    where = {"run_id": run_id, "name": as_parameter(name), "iteration": iteration}
    found: Row | None = connection.execute(f"{here} AND iteration = :iteration {latest}", where).fetchone()
    if found is None and not iteration:
        found = connection.execute(f"{here} {latest}", where).fetchone()
    return found, name


def _not_run(connection: sqlite3.Connection, row: Row, address: str, name: str, plan: Plan) -> NotFound:
    if plan.find(address) is None or all(step.name != name for step in plan.steps()):
        return NotFound(f"Run {row.key} has no step {address!r}.", plan.existing(address))
    iterations = "SELECT iteration FROM step_run WHERE run_id = ? AND name = ? ORDER BY position DESC LIMIT 1"
    last = scalar(connection, iterations, (row.id, name))
    known = f" The last one that ran is {format_address(name, last)}." if last else ""
    kind, so = (NotYet, "has not run yet") if row.state == RunState.ACTIVE else (NotFound, "did not run")
    return kind(
        f"Step {address} of run {row.key} {so}.{known}",
        f"Show the run's progress: orchestrator status {row.key}",
    )


# --- sums over the iterations of a step ----------------------------------------------------------


def summaries(connection: sqlite3.Connection, run_id: int, plan: Plan, until: float) -> tuple[StepSummary, ...]:
    """Return each step of a run with sums over its iterations.

    Parameters
    ----------
    connection : sqlite3.Connection
        With a transaction begun.
    run_id : int
        Number of the run's row.
    plan : Plan
        The run's plan.
    until : float
        End of the time that is counted for an open step run, epoch seconds.
    """
    sums = {row.path: row for row in connection.execute(_SUMS, {"run_id": run_id, "until": until})}
    query = f"SELECT path, count(*) AS n FROM step_run WHERE run_id = ? AND NOT {COUNTS} GROUP BY path"
    withdrawn = {row.path: row.n for row in connection.execute(query, (run_id,))}
    return tuple(
        _summary(step, depth, n, sums.get(step.path), withdrawn.get(step.path, 0))
        for step, _, depth, n in plan.walk()
        if step.kind is not StepKind.UNTIL
    )


def removed_experiments(connection: sqlite3.Connection, run_id: int, plan: Plan) -> tuple[int, int]:
    """Return how many experiments finished and failed in step runs whose iteration the plan no longer has.

    A loop that has become shorter leaves them. The latest epoch includes what the earlier ones have evaluated.
    """
    query = (
        "SELECT name, iteration, max(epoch), n_finished, n_failed FROM step_run "
        f"WHERE run_id = ? AND NOT {COUNTS} AND n_finished + n_failed > 0 GROUP BY path, iteration"
    )
    removed = [row for row in connection.execute(query, (run_id,)) if plan.find(address_of(row)) is None]
    return sum(row.n_finished for row in removed), sum(row.n_failed for row in removed)


def _summary(step: PlannedStep, depth: int, n_planned: int, row: Row | None, n_withdrawn: int) -> StepSummary:
    counts = {state: 0 if row is None else row[f"n_{state}"] for state in _MOST_IMPORTANT_FIRST}
    return StepSummary(
        name=step.name,
        path=step.path,
        depth=depth,
        needs_job=not step.collects,
        state=next((state for state, n in counts.items() if n), "waiting"),
        n_planned=n_planned,
        n=0 if row is None else row.n_step_runs,
        step_runs=counts,
        n_finished=0 if row is None else row.n_finished_experiments,
        n_failed=0 if row is None else row.n_failed_experiments,
        seconds=None if row is None else row.seconds,
        queue_seconds=0.0 if row is None else row.queue_seconds,
        n_withdrawn=n_withdrawn,
    )


# --- rows ----------------------------------------------------------------------------------------


def all_step_runs(connection: sqlite3.Connection, run_id: int) -> tuple[StepRunView, ...]:
    """Return all step runs of a run, including withdrawn ones."""
    jobs: dict[int | None, list[Row]] = {}
    for row in connection.execute("SELECT * FROM job WHERE run_id = ? ORDER BY id", (run_id,)):
        jobs.setdefault(row.step_run_id, []).append(row)
    rows = connection.execute("SELECT * FROM step_run WHERE run_id = ? ORDER BY id", (run_id,))
    return tuple(step_run_view(row, jobs.get(row.id, ())) for row in rows)


def orchestrators(connection: sqlite3.Connection, run_id: int) -> tuple[JobView, ...]:
    """Return all orchestrator jobs of a run."""
    query = "SELECT * FROM job WHERE run_id = ? AND step_run_id IS NULL ORDER BY id"
    return tuple(job_view(row) for row in connection.execute(query, (run_id,)))


def open_step_runs(connection: sqlite3.Connection) -> dict[int, StepRunView]:
    """Return the open step run of each active run, by the number of the run's row."""
    query = (
        "SELECT * FROM step_run WHERE ended_at IS NULL AND withdrawn_at IS NULL "
        f"AND run_id IN (SELECT id FROM run WHERE state = '{RunState.ACTIVE}') ORDER BY position"
    )
    rows = {row.run_id: row for row in connection.execute(query)}
    return {run_id: step_run_view(row, jobs_of(connection, row.id)) for run_id, row in rows.items()}


def jobs_of(connection: sqlite3.Connection, step_run_id: int) -> list[Row]:
    """Return the rows of a step run's jobs."""
    return connection.execute("SELECT * FROM job WHERE step_run_id = ? ORDER BY id", (step_run_id,)).fetchall()


def step_run_view(row: Row, jobs: Iterable[Row]) -> StepRunView:
    """Return a step run as a value; of an open one, the experiments of its ended jobs are counted."""
    names = ("position", "epoch", "name", "iteration", "path", "reason", "n_experiments", "n_tasks", "batch_size")
    more = ("until", "created_at", "started_at", "ended_at", "withdrawn_at")
    of_jobs = tuple(job_view(job) for job in jobs)
    n_finished, n_failed = row.n_finished, row.n_failed
    before = row.n_finished_before + row.n_failed_before
    n_all = None if row.n_experiments is None else row.n_experiments + before
    if row.ended_at is None:
        n_finished = row.n_finished_before + sum(job.n_finished for job in of_jobs)
        n_failed = row.n_failed_before + sum(job.n_failed for job in of_jobs)
    return StepRunView(
        id=row.id,
        address=address_of(row),
        kind=member(StepKind, row.kind),
        state=member(StepRunState, row.state),
        n_all=n_all,
        n_finished=n_finished,
        n_failed=n_failed,
        n_running=0,
        n_waiting=0 if n_all is None or row.ended_at is not None else max(0, n_all - n_finished - n_failed),
        seconds_left=None,
        jobs=of_jobs,
        **{name: row[name] for name in (*names, *more)},
    )


def job_view(row: Row) -> JobView:
    """Return a job as a value."""
    job = job_of(row)
    names = ("batch", "attempt", "tasks", "kind", "scheduler_id", "waits_for", "failed_tasks", "n_finished", "n_failed")
    times = ("planned_at", "submitting_at", "queued_at", "started_at", "ended_at")
    return JobView(
        token=job.token,
        role=job.role,
        state=job.state,
        reason=reason_of(job.state, job.doubt, job.reason),
        doubt=job.doubt,
        doubt_since_at=job.doubt_since,
        job_file=job.job_file,
        **{name: row[name] for name in (*names, *times, "n_tasks", "detail")},
    )


def as_started(job: JobView, at: float) -> JobView:
    """Return a job in the queue as one that runs: its files show that it has started since the last advance.

    Parameters
    ----------
    job : JobView
        The job as recorded.
    at : float
        When it started, epoch seconds.
    """
    return job._replace(state=JobState.RUNNING, started_at=at)
