"""What `status`, `list` and `logs` ask. Reading only, a few queries whatever the length of the run.

The answers are dicts of JSON values; names that end in `_at` are times in epoch seconds.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.addresses import format_address, parse_address
from orchestrator.db.connection import session
from orchestrator.db.failures import address_of, failures, first_flawed, notes
from orchestrator.db.rows import Row, scalar, scalars
from orchestrator.db.stalled import cluster_of, live_jobs, liveness
from orchestrator.errors import NotFound, NotYet
from orchestrator.machine.model import Run, StepRun
from orchestrator.machine.plan import UNTIL, Plan, PlannedStep
from orchestrator.machine.rewind import where_to_resume
from orchestrator.machine.stalled import why_stalled
from orchestrator.machine.states import RunState, StepRunState
from orchestrator.workspace import LOG_DIR

__all__ = ["ended_among", "find_run", "find_step_run", "latest_key", "list_runs", "run_outcome", "run_status"]

# Asked only of runs that go on: the history of all others would be read for nothing.
_RUN = """
SELECT *, CASE WHEN state = 'active' THEN (SELECT max(at) FROM event WHERE run_id = run.id) END AS last_event_at
FROM run
"""

_LATEST = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position DESC LIMIT 1"


def _so_far(column: str) -> str:
    """Count experiments; of a step run that is open, those of its jobs that have ended."""
    of_jobs = f"(SELECT coalesce(sum(job.{column}), 0) FROM job WHERE job.step_run_id = step_run.id)"
    return f"sum(CASE WHEN ended_at IS NULL THEN {of_jobs} ELSE {column} END)"


_EXPERIMENTS = f"""
SELECT run_id, {_so_far("n_finished")} AS n_finished, {_so_far("n_failed")} AS n_failed
FROM step_run WHERE withdrawn_at IS NULL GROUP BY run_id
"""

_SUMS = f"""
SELECT path, count(*) AS n_step_runs,
    {", ".join(f"sum(state = '{state}') AS n_{state}" for state in StepRunState)},
    {_so_far("n_finished")} AS n_finished_experiments, {_so_far("n_failed")} AS n_failed_experiments,
    sum(max(0.0, coalesce(ended_at, :until) - started_at)) AS seconds
FROM step_run WHERE run_id = :run_id AND withdrawn_at IS NULL GROUP BY path
"""


def list_runs(path: Path, now: float | None = None) -> list[dict[str, Any]]:
    """List all runs, the latest first.

    Returns
    -------
    list of dict
        The run's own columns; `stalled`, the reason or None; `seconds` that it took; `n_finished` and `n_failed`
        experiments.
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        rows = connection.execute(f"{_RUN} ORDER BY id DESC").fetchall()
        counts = {row.run_id: row for row in connection.execute(_EXPERIMENTS)}
        live = live_jobs(connection, rows)
    listed = []
    for row in rows:
        described, count = _run(row, now, live.get(row.id, [])), counts.get(row.id)
        experiments = {name: 0 if count is None else count[name] for name in ("n_finished", "n_failed")}
        listed.append({**described, **experiments})
    return listed


def latest_key(path: Path) -> str:
    """Name the run that was made last.

    Raises
    ------
    NotFound
    """
    with session(path, write=False) as connection:
        key: str = _find_run(connection, None).key
    return key


def run_outcome(path: Path, key: str, now: float | None = None) -> dict[str, Any]:
    """Tell how a run stands, in a few words: for whoever waits for its end.

    Returns
    -------
    dict
        As an entry of `list_runs`, with `n_finished` and `n_failed` experiments.

    Raises
    ------
    NotFound
    """
    with session(path, write=False) as connection:
        row = _find_run(connection, key)
        ended = (
            "SELECT coalesce(sum(n_finished), 0) AS n_finished, coalesce(sum(n_failed), 0) AS n_failed "
            "FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL"
        )
        experiments: Row = connection.execute(ended, (row.id,)).fetchone()
        found = _run(row, time.time() if now is None else now, live_jobs(connection, [row]).get(row.id, []))
    return {**found, **vars(experiments)}


def run_status(path: Path, key: str | None, now: float | None = None, *, whole: bool = False) -> dict[str, Any]:
    """Tell all about one run.

    Parameters
    ----------
    path : Path
    key : str or None
        None means the latest run.
    now : float, optional
        Epoch seconds.
    whole : bool, default False
        With every step run and job, also those that were put back, and with tracebacks.

    Returns
    -------
    dict
        `run`; `steps`: one sum per step of the pipeline, in its order; `failures`: causes, with how many and which
        experiments or tasks; `notes`: results that are not in the table, and why; `now`: the step run that is open,
        with its `jobs`, or None; `next`: address of what comes after it, or None; `orchestrators`: the orchestrator
        jobs that have not ended; `resume_from`: address where a resume begins, or None; `liveness`: a `Liveness`, from
        which `stalled` was derived. With `whole`, `provenance`,
        `step_runs` with their `jobs`, all `orchestrators`, and `history`: the events of the run itself.

    Raises
    ------
    NotFound
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        row = _find_run(connection, key)
        plan = Plan.from_json(json.loads(row.plan))
        live_ones = live_jobs(connection, [row]).get(row.id, [])
        described = _run(row, now, live_ones)
        # What a dead process had open did not go on after its last word.
        until = described["last_event_at"] if described["stalled"] else now
        sums = {row.path: row for row in connection.execute(_SUMS, {"run_id": row.id, "until": until})}
        put_back = _put_back(connection, row.id)
        last: Row | None = connection.execute(_LATEST, (row.id,)).fetchone()
        current = last if last is not None and last.ended_at is None else None
        found: dict[str, Any] = {
            "run": described,
            "steps": [
                _step(step, depth, n, sums.get(step.path)) | {"n_put_back": put_back.get(step.path, 0)}
                for step, _, depth, n in plan.walk()
                if step.kind != UNTIL
            ],
            "now": None if current is None else _described(current, _jobs_of(connection, current.id)),
            "next": _next(plan, row, last),
            "orchestrators": [_job(found) for found in live_ones if found.role == "orchestrator"],
            "resume_from": _resume_from(connection, plan, row, last, described["stalled"]),
            "failures": failures(connection, row.id),
            "notes": notes(connection, row.id),
            "liveness": liveness(row, now, live_ones),
        }
        if whole:
            found["provenance"] = row.provenance
            found["step_runs"] = _step_runs(connection, row.id)
            found["orchestrators"] = _orchestrators(connection, row.id)
            found["history"] = _history(connection, row.id)
    if not whole:
        for failure in found["failures"]:
            del failure["traceback"]
    return found


def find_run(path: Path, key: str | None) -> dict[str, Any]:
    """Find a run, for whoever prints what those said who advanced it.

    Returns
    -------
    dict
        The run's own columns, as `run` of `run_status`.

    Raises
    ------
    NotFound
    """
    with session(path, write=False) as connection:
        row = _find_run(connection, key)
        return _run(row, time.time(), live_jobs(connection, [row]).get(row.id, []))


def find_step_run(path: Path, key: str | None, address: str) -> dict[str, Any]:
    """Find the latest epoch of the step run at an address; a bare name in a loop means its latest iteration.

    Parameters
    ----------
    path : Path
    key : str or None
        None means the latest run.
    address : str
        `name`, or `name@iteration`.

    Returns
    -------
    dict
        The step run with its `jobs`, the `key` of its run, its `label`, whether it is `parallel`, whether it `collects`
        without a job, its `failures` and `notes`, why its run is `stalled` if it is, the run's `log_dir`, and whether
        logs of tasks are `numbered_by_batch`: from 0 in each batch, as arrays are.

    Raises
    ------
    NotFound
        If there is no such step, or it has not run.
    NotYet
        If it may still run.
    """
    with session(path, write=False) as connection:
        row = _find_run(connection, key)
        plan = Plan.from_json(json.loads(row.plan))
        found, name = _at_address(connection, row.id, address)
        if found is None:
            raise _not_run(connection, row, address, name, plan)
        jobs = _jobs_of(connection, found.id)
        failed, noted = failures(connection, row.id, found.id), notes(connection, row.id, found.id)
        described = _run(row, time.time(), live_jobs(connection, [row]).get(row.id, []))
    step = plan.slot(found.position).step if found.position < plan.size else None
    return {
        "key": row.key,
        **_described(found, jobs),
        "label": step.label if step is not None else found.name,
        "parallel": step is not None and step.parallel,
        "collects": step is not None and step.collects,
        "failures": failed,
        "notes": noted,
        **{name: described[name] for name in ("stalled", "log_dir")},
        "numbered_by_batch": row.mode == "slurm",
    }


def ended_among(path: Path, key: str, tokens: Collection[str]) -> dict[str, bool]:
    """Tell which of these tokens are of jobs of a run, and whether these have ended."""
    query = (
        "SELECT token, job.ended_at FROM job JOIN run ON job.run_id = run.id "
        f"WHERE key = ? AND token IN ({', '.join('?' * len(tokens))})"
    )
    with session(path, write=False) as connection:
        return {row.token: row.ended_at is not None for row in connection.execute(query, (key, *tokens))}


# --- the run's own row ---------------------------------------------------------------------------


def _find_run(connection: sqlite3.Connection, key: str | None) -> Row:
    latest, this_one = f"{_RUN} ORDER BY id DESC LIMIT 1", f"{_RUN} WHERE key = :key"
    row: Row | None = connection.execute(latest if key is None else this_one, {"key": key}).fetchone()
    if row is not None:
        return row
    known = scalars(connection, "SELECT key FROM run ORDER BY id DESC LIMIT 4")
    if not known:
        raise NotFound("There is no run in this workspace yet.", "Start one: orchestrator run STUDY.py")
    raise NotFound(
        f"There is no run {key} in this workspace. Its latest are: {', '.join(known)}.",
        "See which there are: orchestrator list",
    )


def _run(row: Row, now: float, live_ones: Sequence[Row]) -> dict[str, Any]:
    names = ("key", "name", "mode", "state", "reason", "study", "study_attr", "created_at", "started_at", "ended_at")
    stalled = why_stalled(liveness(row, now, live_ones))
    last = row.last_event_at or row.ended_at or row.created_at
    end = row.ended_at or (last if stalled else now)
    holder = None
    if row.lease_host is not None:
        holder = {"host": row.lease_host, "pid": row.lease_pid, "scheduler_id": row.lease_scheduler_id}
    return {
        **{name: row[name] for name in names},
        "last_event_at": last,
        "seconds": max(0.0, end - (row.started_at or row.created_at)),
        "stalled": stalled,
        "cancel_requested_at": row.cancel_requested_at,
        "failing": row.failing,
        "n_failed_step_runs": row.n_failed_step_runs,
        "holder": holder,
        "wake": cluster_of(row).get("wake"),
        "n_fruitless": row.n_fruitless,
        "log_dir": cluster_of(row).get("log_dir", LOG_DIR),
    }


def _history(connection: sqlite3.Connection, run_id: int) -> list[dict[str, Any]]:
    query = "SELECT * FROM event WHERE run_id = ? AND step_run_id IS NULL ORDER BY id"
    names = ("at", "what", "old", "new", "why", "detail")
    # `at` alone would not be seen to be a time.
    return [
        {"happened_at" if name == "at" else name: row[name] for name in names}
        for row in connection.execute(query, (run_id,))
    ]


# --- step runs and jobs --------------------------------------------------------------------------


def _put_back(connection: sqlite3.Connection, run_id: int) -> dict[str, int]:
    """Count the step runs of each step that a resume withdrew."""
    query = "SELECT path, count(*) AS n FROM step_run WHERE run_id = ? AND withdrawn_at IS NOT NULL GROUP BY path"
    return {row.path: row.n for row in connection.execute(query, (run_id,))}


_MOST_TELLING_FIRST = ("active", "pending", "failed", "cancelled", "succeeded", "skipped")


def _step(step: PlannedStep, depth: int, n_planned: int, row: Row | None) -> dict[str, Any]:
    counts = {state: 0 if row is None else row[f"n_{state}"] for state in _MOST_TELLING_FIRST}
    return {
        "name": step.name,
        "path": step.path,
        "depth": depth,
        "needs_job": not step.collects,
        "state": next((state for state, n in counts.items() if n), "waiting"),
        "n_planned": n_planned,
        "n": 0 if row is None else row.n_step_runs,
        "step_runs": counts,
        "n_finished": 0 if row is None else row.n_finished_experiments,
        "n_failed": 0 if row is None else row.n_failed_experiments,
        "seconds": None if row is None else row.seconds,
    }


def _step_runs(connection: sqlite3.Connection, run_id: int) -> list[dict[str, Any]]:
    jobs: dict[int | None, list[Row]] = {}
    for row in connection.execute("SELECT * FROM job WHERE run_id = ? ORDER BY id", (run_id,)):
        jobs.setdefault(row.step_run_id, []).append(row)
    rows = connection.execute("SELECT * FROM step_run WHERE run_id = ? ORDER BY id", (run_id,))
    return [_described(row, jobs.get(row.id, [])) for row in rows]


def _orchestrators(connection: sqlite3.Connection, run_id: int) -> list[dict[str, Any]]:
    query = "SELECT * FROM job WHERE run_id = ? AND step_run_id IS NULL ORDER BY id"
    return [_job(row) for row in connection.execute(query, (run_id,))]


def _jobs_of(connection: sqlite3.Connection, step_run_id: int) -> list[Row]:
    return connection.execute("SELECT * FROM job WHERE step_run_id = ? ORDER BY id", (step_run_id,)).fetchall()


def _described(row: Row, jobs: Iterable[Row]) -> dict[str, Any]:
    names = ("id", "position", "epoch", "name", "iteration", "kind", "state", "reason", "n_experiments", "n_tasks")
    more = ("batch_size", "n_finished", "n_failed", "until", "created_at", "started_at", "ended_at", "withdrawn_at")
    return {
        "address": address_of(row),
        **{name: row[name] for name in (*names, *more)},
        "jobs": [_job(found) for found in jobs],
    }


def _job(row: Row) -> dict[str, Any]:
    names = ("token", "role", "batch", "attempt", "tasks", "n_tasks", "state", "kind", "reason", "scheduler_id")
    more = ("waits_for", "failed_tasks", "n_finished", "n_failed", "detail")
    times = ("planned_at", "submitting_at", "queued_at", "started_at", "ended_at")
    described = {name: row[name] for name in (*names, *more, *times)}
    return {**described, "absent_since_at": row.absent_since}


def _at_address(connection: sqlite3.Connection, run_id: int, address: str) -> tuple[Row | None, str]:
    name, iteration = parse_address(address)
    here = "SELECT * FROM step_run WHERE run_id = :run_id AND name = :name"
    latest = "ORDER BY position DESC, epoch DESC LIMIT 1"
    where = {"run_id": run_id, "name": name, "iteration": iteration}
    found: Row | None = connection.execute(f"{here} AND iteration = :iteration {latest}", where).fetchone()
    if found is None and not iteration:
        found = connection.execute(f"{here} {latest}", where).fetchone()
    return found, name


def _not_run(connection: sqlite3.Connection, row: Row, address: str, name: str, plan: Plan) -> NotFound:
    names = list(dict.fromkeys(step.name for step in plan.steps()))
    if name not in names or plan.find(address) is None:
        return NotFound(f"Run {row.key} has no step {address!r}.", f"Its steps are: {', '.join(names)}")
    iterations = "SELECT iteration FROM step_run WHERE run_id = ? AND name = ? ORDER BY position DESC LIMIT 1"
    last = scalar(connection, iterations, (row.id, name))
    known = f" The last that has is {format_address(name, last)}." if last else ""
    kind, so = (NotYet, "has not run yet") if row.state == RunState.ACTIVE else (NotFound, "did not run")
    return kind(
        f"Step {address} of run {row.key} {so}.{known}",
        f"See how far the run has come: orchestrator status {row.key}",
    )


# --- what comes next -----------------------------------------------------------------------------


def _next(plan: Plan, row: Row, last: Row | None) -> str | None:
    """Name the step after the last one; a loop's question may still end the loop there."""
    if row.state != RunState.ACTIVE:
        return None
    position = _after(plan, last)
    if position < row.first_position:
        position = row.first_position
    return plan.slot(position).address if position < plan.size else None


def _after(plan: Plan, last: Row | None) -> int:
    if last is None:
        return 0
    position: int = last.position + 1
    if last.position >= plan.size:
        return position
    slot = plan.slot(last.position)
    if last.until and slot.loop_end is not None:
        return slot.loop_end
    return position + (position < plan.size and plan.slot(position).step.kind == UNTIL)


def _resume_from(
    connection: sqlite3.Connection, plan: Plan, row: Row, last: Row | None, stalled: str | None
) -> str | None:
    if row.state == RunState.ACTIVE:
        open_ = last is not None and (last.ended_at is None or last.state == StepRunState.CANCELLED)
        return None if stalled is None else address_of(last) if last is not None and open_ else _next(plan, row, last)
    at = None if last is None else StepRun(last.position, state=StepRunState(last.state))
    stopped = Run(row.key, row.salt, plan, RunState(row.state), step_run=at)
    first = where_to_resume(stopped, first_flawed(connection, row.id))
    if last is not None and first == last.position + 1:
        first = _after(plan, last)
    return plan.slot(first).address if first is not None and first < plan.size else None
