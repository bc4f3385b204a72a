"""What `status`, `list` and `logs` ask. Reading only, a few queries whatever the length of the run.

The answers are dicts of JSON values; names that end in `_at` are times in epoch seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from orchestrator.db.connection import session
from orchestrator.db.failures import address_of, failures
from orchestrator.db.stalled import cluster_of, live_jobs, stalled
from orchestrator.db.tables import event, job, run, step_run
from orchestrator.errors import NotFound
from orchestrator.machine.model import Run, StepRun
from orchestrator.machine.plan import UNTIL, Plan, PlannedLoop, PlannedStep
from orchestrator.machine.rewind import where_to_resume
from orchestrator.machine.states import RunState, StepRunState

__all__ = ["ended_among", "find_run", "find_step_run", "latest_key", "list_runs", "run_outcome", "run_status"]

LOG_DIR = "logs/{project_job}"
"""Of a run of this machine, relative to the workspace."""


def list_runs(path: Path, now: float | None = None) -> list[dict[str, Any]]:
    """List all runs, the latest first.

    Returns
    -------
    list of dict
        The run's own columns; `stalled`, the reason or None; `seconds` that it took; `n_finished` and `n_failed`
        experiments.
    """
    now = time.time() if now is None else now
    counts = (
        select(step_run.c.run_id, func.sum(_so_far("n_finished")), func.sum(_so_far("n_failed")))
        .where(step_run.c.withdrawn_at.is_(None))
        .group_by(step_run.c.run_id)
    )
    with session(path, write=False) as connection:
        rows = connection.execute(_runs().order_by(run.c.id.desc())).all()
        experiments = {run_id: (finished, failed) for run_id, finished, failed in connection.execute(counts)}
        live = live_jobs(connection, rows)
    listed = []
    for row in rows:
        n_finished, n_failed = experiments.get(row.id, (0, 0))
        described = _run(row, now, live.get(row.id, []))
        listed.append({**described, "n_finished": n_finished, "n_failed": n_failed})
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
        live = (step_run.c.run_id == row.id) & step_run.c.withdrawn_at.is_(None)
        sums = select(func.sum(step_run.c.n_finished), func.sum(step_run.c.n_failed)).where(live)
        n_finished, n_failed = connection.execute(sums).one()
        found = _run(row, time.time() if now is None else now, live_jobs(connection, [row]).get(row.id, []))
    return {**found, "n_finished": n_finished or 0, "n_failed": n_failed or 0}


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
        experiments or tasks; `now`: the step run that is open, with its `jobs`, or None; `next`: address of what comes
        after it, or None; `orchestrators`: the orchestrator jobs that have not ended; `resume_from`: address where a
        resume begins, or None. With `whole`, `provenance`, `step_runs` with their `jobs`, all `orchestrators`, and
        `history`: the events of the run itself.

    Raises
    ------
    NotFound
    """
    now = time.time() if now is None else now
    with session(path, write=False) as connection:
        row = _find_run(connection, key)
        plan = Plan.from_json(json.loads(row.plan))
        live = (step_run.c.run_id == row.id) & step_run.c.withdrawn_at.is_(None)
        live_ones = live_jobs(connection, [row]).get(row.id, [])
        described = _run(row, now, live_ones)
        # What a dead process had open did not go on after its last word.
        sums = _sums(connection, live, described["last_event_at"] if described["stalled"] else now)
        put_back = _put_back(connection, row.id)
        last = connection.execute(select(step_run).where(live).order_by(step_run.c.position.desc()).limit(1)).first()
        current = last if last is not None and last.ended_at is None else None
        found: dict[str, Any] = {
            "run": described,
            "steps": [
                _step(step, depth, n, sums.get(step.path)) | {"n_put_back": put_back.get(step.path, 0)}
                for step, depth, n in _in_order(plan.elements)
            ],
            "now": None if current is None else _described(current, _jobs_of(connection, current.id)),
            "next": _next(plan, row, last),
            "orchestrators": [_job(found) for found in live_ones if found.role == "orchestrator"],
            "resume_from": _resume_from(connection, plan, row, last, described["stalled"]),
            "failures": failures(connection, row.id, live),
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
        The step run with its `jobs`, the `key` of its run, its `label`, whether it is `parallel`, its `failures`, why
        its run is `stalled` if it is, the run's `log_dir`, and whether logs of tasks are `numbered_by_batch`: from 0 in
        each batch, as arrays are.

    Raises
    ------
    NotFound
        If there is no such step, or it has not run.
    """
    with session(path, write=False) as connection:
        row = _find_run(connection, key)
        plan = Plan.from_json(json.loads(row.plan))
        found, name = _at_address(connection, row.id, address)
        if found is None:
            raise _not_run(connection, row, address, name, plan)
        jobs = _jobs_of(connection, found.id)
        failed = failures(connection, row.id, step_run.c.id == found.id)
        described = _run(row, time.time(), live_jobs(connection, [row]).get(row.id, []))
    step = plan.slot(found.position).step if found.position < plan.size else None
    return {
        "key": row.key,
        **_described(found, jobs),
        "label": step.label if step is not None else found.name,
        "parallel": step is not None and step.parallel,
        "failures": failed,
        **{name: described[name] for name in ("stalled", "log_dir")},
        "numbered_by_batch": row.mode == "slurm",
    }


def ended_among(path: Path, key: str, tokens: Collection[str]) -> dict[str, bool]:
    """Tell which of these tokens are of jobs of a run, and whether these have ended."""
    mine = (job.c.run_id == run.c.id) & (run.c.key == key) & job.c.token.in_(list(tokens))
    with session(path, write=False) as connection:
        rows = connection.execute(select(job.c.token, job.c.ended_at).where(mine))
        return {row.token: row.ended_at is not None for row in rows}


# --- the run's own row ---------------------------------------------------------------------------


def _runs() -> Any:
    last = select(func.max(event.c.at)).where(event.c.run_id == run.c.id).scalar_subquery()
    # Asked only of runs that go on: the history of all others would be read for nothing.
    return select(run, case((run.c.state == RunState.ACTIVE, last)).label("last_event_at"))


def _find_run(connection: Connection, key: str | None) -> Row[Any]:
    which = _runs().order_by(run.c.id.desc()).limit(1) if key is None else _runs().where(run.c.key == key)
    row: Row[Any] | None = connection.execute(which).one_or_none()
    if row is not None:
        return row
    known = connection.scalars(select(run.c.key).order_by(run.c.id.desc()).limit(4)).all()
    if not known:
        raise NotFound("There is no run in this workspace yet.", "Start one: orchestrator run STUDY.py")
    raise NotFound(
        f"There is no run {key} in this workspace. Its latest are: {', '.join(known)}.",
        "See which there are: orchestrator list",
    )


def _run(row: Row[Any], now: float, live_ones: Sequence[Row[Any]]) -> dict[str, Any]:
    names = ("key", "name", "mode", "state", "reason", "study", "study_attr", "created_at", "started_at", "ended_at")
    why_stalled = stalled(row, now, live_ones)
    last = row.last_event_at or row.ended_at or row.created_at
    end = row.ended_at or (last if why_stalled else now)
    holder = None
    if row.lease_host is not None:
        holder = {"host": row.lease_host, "pid": row.lease_pid, "scheduler_id": row.lease_scheduler_id}
    return {
        **{name: row._mapping[name] for name in names},
        "last_event_at": last,
        "seconds": max(0.0, end - (row.started_at or row.created_at)),
        "stalled": why_stalled,
        "cancel_requested_at": row.cancel_requested_at,
        "n_failed_step_runs": row.n_failed_step_runs,
        "holder": holder,
        "wake": cluster_of(row).get("wake"),
        "n_fruitless": row.n_fruitless,
        "log_dir": cluster_of(row).get("log_dir", LOG_DIR),
    }


def _history(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    query = select(event).where(event.c.run_id == run_id, event.c.step_run_id.is_(None)).order_by(event.c.id)
    names = ("at", "what", "old", "new", "why", "detail")
    # `at` alone would not be seen to be a time.
    return [
        {"happened_at" if name == "at" else name: row._mapping[name] for name in names}
        for row in connection.execute(query)
    ]


# --- step runs and jobs --------------------------------------------------------------------------


def _sums(connection: Connection, live: Any, until: float) -> dict[str, Row[Any]]:
    """Add up the step runs of each step."""

    def count(state: StepRunState) -> Any:
        return func.sum(case((step_run.c.state == state, 1), else_=0)).label(f"n_{state}")

    seconds = func.max(0.0, func.coalesce(step_run.c.ended_at, until) - step_run.c.started_at)
    query = (
        select(
            step_run.c.path,
            func.count().label("n_step_runs"),
            *(count(state) for state in StepRunState),
            func.sum(_so_far("n_finished")).label("n_finished_experiments"),
            func.sum(_so_far("n_failed")).label("n_failed_experiments"),
            func.sum(seconds).label("seconds"),
        )
        .where(live)
        .group_by(step_run.c.path)
    )
    return {row.path: row for row in connection.execute(query)}


def _so_far(name: str) -> Any:
    """Count experiments; of a step run that is open, those of its jobs that have ended."""
    of_jobs = select(func.coalesce(func.sum(job.c[name]), 0)).where(job.c.step_run_id == step_run.c.id)
    return case((step_run.c.ended_at.is_(None), of_jobs.scalar_subquery()), else_=step_run.c[name])


def _put_back(connection: Connection, run_id: int) -> dict[str, int]:
    """Count the step runs of each step that a resume withdrew."""
    withdrawn = (step_run.c.run_id == run_id) & step_run.c.withdrawn_at.is_not(None)
    query = select(step_run.c.path, func.count()).where(withdrawn).group_by(step_run.c.path)
    return {row[0]: row[1] for row in connection.execute(query)}


def _in_order(
    elements: Iterable[PlannedStep | PlannedLoop], depth: int = 0, n: int = 1
) -> Iterable[tuple[PlannedStep, int, int]]:
    for element in elements:
        if isinstance(element, PlannedStep):
            yield element, depth, n
        else:
            yield from _in_order(element.body, depth + 1, n * element.n_iterations)


_MOST_TELLING_FIRST = ("active", "pending", "failed", "cancelled", "succeeded", "skipped")


def _step(step: PlannedStep, depth: int, n_planned: int, row: Row[Any] | None) -> dict[str, Any]:
    counts = {state: 0 if row is None else row._mapping[f"n_{state}"] for state in _MOST_TELLING_FIRST}
    return {
        "name": step.name,
        "path": step.path,
        "depth": depth,
        "state": next((state for state, n in counts.items() if n), "waiting"),
        "n_planned": n_planned,
        "n": 0 if row is None else row.n_step_runs,
        "step_runs": counts,
        "n_finished": 0 if row is None else row.n_finished_experiments,
        "n_failed": 0 if row is None else row.n_failed_experiments,
        "seconds": None if row is None else row.seconds,
    }


def _step_runs(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    jobs: dict[int | None, list[Row[Any]]] = {}
    for row in connection.execute(select(job).where(job.c.run_id == run_id).order_by(job.c.id)):
        jobs.setdefault(row.step_run_id, []).append(row)
    rows = connection.execute(select(step_run).where(step_run.c.run_id == run_id).order_by(step_run.c.id))
    return [_described(row, jobs.get(row.id, [])) for row in rows]


def _orchestrators(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    query = select(job).where(job.c.run_id == run_id, job.c.step_run_id.is_(None)).order_by(job.c.id)
    return [_job(row) for row in connection.execute(query)]


def _jobs_of(connection: Connection, step_run_id: int) -> Sequence[Row[Any]]:
    return connection.execute(select(job).where(job.c.step_run_id == step_run_id).order_by(job.c.id)).all()


def _described(row: Row[Any], jobs: Iterable[Row[Any]]) -> dict[str, Any]:
    names = ("id", "position", "epoch", "name", "iteration", "kind", "state", "reason", "n_experiments", "n_tasks")
    more = ("batch_size", "n_finished", "n_failed", "until", "created_at", "started_at", "ended_at", "withdrawn_at")
    return {
        "address": address_of(row),
        **{name: row._mapping[name] for name in (*names, *more)},
        "jobs": [_job(found) for found in jobs],
    }


def _job(row: Row[Any]) -> dict[str, Any]:
    names = ("token", "role", "batch", "attempt", "tasks", "n_tasks", "state", "kind", "reason", "scheduler_id")
    more = ("waits_for", "failed_tasks", "n_finished", "n_failed", "detail")
    times = ("planned_at", "submitting_at", "queued_at", "started_at", "ended_at")
    described = {name: row._mapping[name] for name in (*names, *more, *times)}
    return {**described, "absent_since_at": row.absent_since}


def _at_address(connection: Connection, run_id: int, address: str) -> tuple[Row[Any] | None, str]:
    name, _, iteration = address.rpartition("@")
    if not name or not all(part.isdecimal() for part in iteration.split(".")):
        name, iteration = address, ""
    here = select(step_run).where(step_run.c.run_id == run_id, step_run.c.name == name)
    latest = here.order_by(step_run.c.position.desc(), step_run.c.epoch.desc()).limit(1)
    found = connection.execute(latest.where(step_run.c.iteration == iteration)).one_or_none()
    if found is None and not iteration:
        found = connection.execute(latest).one_or_none()
    return found, name


def _not_run(connection: Connection, row: Row[Any], address: str, name: str, plan: Plan) -> NotFound:
    names = list(dict.fromkeys(step.name for step in plan.steps()))
    if name not in names:
        return NotFound(f"Run {row.key} has no step {address!r}.", f"Its steps are: {', '.join(names)}")
    last = connection.scalar(
        select(step_run.c.iteration)
        .where(step_run.c.run_id == row.id, step_run.c.name == name)
        .order_by(step_run.c.position.desc())
        .limit(1)
    )
    known = f" The last that has is {name}@{last}." if last else ""
    so = "has not run yet" if row.state == RunState.ACTIVE else "did not run"
    return NotFound(
        f"Step {address} of run {row.key} {so}.{known}",
        f"See how far the run has come: orchestrator status {row.key}",
    )


# --- what comes next -----------------------------------------------------------------------------


def _next(plan: Plan, row: Row[Any], last: Row[Any] | None) -> str | None:
    """Name the step after the last one; a loop's question may still end the loop there."""
    if row.state != RunState.ACTIVE:
        return None
    position = _after(plan, last)
    if position < row.first_position:
        position = row.first_position
    return plan.slot(position).address if position < plan.size else None


def _after(plan: Plan, last: Row[Any] | None) -> int:
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
    connection: Connection, plan: Plan, row: Row[Any], last: Row[Any] | None, stalled: str | None
) -> str | None:
    if row.state == RunState.ACTIVE:
        open_ = last is not None and last.ended_at is None
        return None if stalled is None else address_of(last) if last is not None and open_ else _next(plan, row, last)
    flawed = (StepRunState.FAILED, StepRunState.CANCELLED)
    first_flawed: int | None = connection.scalar(
        select(func.min(step_run.c.position)).where(
            step_run.c.run_id == row.id, step_run.c.withdrawn_at.is_(None), step_run.c.state.in_(flawed)
        )
    )
    at = None if last is None else StepRun(last.position, state=StepRunState(last.state))
    stopped = Run(row.key, row.salt, plan, RunState(row.state), step_run=at)
    first = where_to_resume(stopped, first_flawed)
    return plan.slot(first).address if first is not None and first < plan.size else None
