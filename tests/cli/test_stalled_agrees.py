"""All commands that show whether a run is stalled agree."""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext
from itertools import product

import pytest
from cli_records import PLAN, T0, Records, on_slurm
from programs import squeue_answer

from orchestrator.db import runs, status, step_runs
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import STALE, Holder
from orchestrator.db.rows import insert
from orchestrator.engine.cluster import queue_report
from orchestrator.machine.stalled import ENDING_TIMEOUT
from orchestrator.slurm.parse import squeue_lines

pytestmark = pytest.mark.slow

NOW = T0 + 3600.0


def lease(holder, **beats):
    return {f"lease_{name}": value for name, value in holder._asdict().items()} | {"lease_taken_at": T0, **beats}


NODE = Holder("node7", "its boot", 77, "1")
HOLDERS = {
    "no process": {},
    "this process": lease(Holder.this_process()),
    "a dead process": lease(Holder.this_process()._replace(pid_start="another start")),
    "another machine": lease(NODE),
    "a silent machine": lease(NODE, lease_beat_at=NOW - 720),
    "a machine without a beat": lease(NODE, lease_beat_seen_at=NOW - STALE),
    "a job": lease(NODE._replace(scheduler_id="9")),
}
JOBS = {
    "none": None,
    "planned": {},
    "submitting": {},
    "queued": {"scheduler_id": "3"},
    "running": {"scheduler_id": "3"},
    "in doubt": {"state": "queued", "scheduler_id": "3", "doubt": "unlisted", "doubt_since": NOW - 1},
}
ORCHESTRATORS = ("none", "planned", "queued", "in doubt")
ENDINGS = {
    "none": {},
    "has to fail": {"failing": "refused", "beat_at": NOW - 1},
    "had to fail": {"failing": "refused", "beat_at": NOW - ENDING_TIMEOUT - 1},
    "was asked to stop": {"cancel_requested_at": NOW - 1, "beat_at": NOW - ENDING_TIMEOUT - 5},
    "was asked to stop long ago": {
        "cancel_requested_at": NOW - ENDING_TIMEOUT - 1,
        "beat_at": NOW - ENDING_TIMEOUT - 5,
    },
}


@pytest.fixture
def records(workspace):
    return Records(workspace)


class Cases:
    """Runs that differ in everything that may matter, and the jobs that SLURM lists for them."""

    def __init__(self):
        self.keys = []
        self.listed = {}

    def add(self, connection, mode, holder, ending, job=None, orchestrator=None, wake="both", state="active"):
        number = len(self.keys)
        self.keys.append(f"{number}: {mode}, {state}, {holder}, {ending}, {job}, {orchestrator}, {wake}")
        fields = {**ENDINGS[ending]}
        at = fields.pop("beat_at", T0)
        run = {
            "key": self.keys[-1],
            "salt": "salt",
            "uid": os.geteuid(),
            "name": "",
            "mode": mode,
            "state": state,
            "plan": json.dumps(PLAN.to_json()),
            "first_position": 0,
            "provenance": {},
            "created_at": T0,
            "ended_at": None if state == "active" else T0,
            **(on_slurm(wake=wake) if mode == "slurm" else {}),
            **HOLDERS[holder],
            **fields,
        }
        run_id = insert(connection, "run", run)
        insert(connection, "event", {"run_id": run_id, "at": at, "what": "run", "detail": {}})
        step_run = {"run_id": run_id, "position": 0, "epoch": 0, "first_attempt": 1, "iteration": "", "kind": "call"}
        step_run |= {"name": "create", "path": "0", "state": "active", "created_at": T0, "started_at": T0}
        step_run_id = insert(connection, "step_run", step_run)
        self._add_job(connection, number, "step", job, {"run_id": run_id, "step_run_id": step_run_id})
        self._add_job(connection, number, "orchestrator", orchestrator, {"run_id": run_id})

    def _add_job(self, connection, number, role, state, of):
        if state in (None, "none"):
            return
        token = f"{role[0]}{number:09}".translate(str.maketrans("0123456789", "abcdefghij"))
        job = {"token": token, "role": role, "batch": 0, "attempt": 1, "tasks": "0", "n_tasks": 1, "detail": {}}
        job |= {"state": state, "planned_at": T0, "started_at": T0 if state == "running" else None, **of, **JOBS[state]}
        if job.get("scheduler_id"):
            job["scheduler_id"] = f"{number + 100}{job['scheduler_id']}{len(role)}"
        insert(connection, "job", job)
        if state in ("queued", "running"):
            self.listed.setdefault(self.keys[-1], []).append((job["scheduler_id"], state.upper(), "None", token))


def test_all_commands_agree_in_every_case(records, monkeypatch):
    cases = Cases()
    with session(records.path) as connection:
        for holder, ending in product(HOLDERS, ENDINGS):
            cases.add(connection, "local", holder, ending)
            for job, orchestrator, wake in product(JOBS, ORCHESTRATORS, ("both", "job")):
                cases.add(connection, "slurm", holder, ending, job, orchestrator, wake)
        cases.add(connection, "slurm", "no process", "none", "none", "none", state="failed")
    monkeypatch.setattr(time, "time", lambda: NOW)
    with session(records.path, write=False) as connection:
        # Thousands of queries on one connection: opening one takes longer than a query.
        for module in (runs, status, step_runs):
            monkeypatch.setattr(module, "session", lambda path, *, write: nullcontext(connection))
        compare(records.path, cases, monkeypatch)


def compare(path, cases, monkeypatch):
    listed = {listed.run.key: listed.run.stalled for listed in status.list_runs(path)}
    assert sorted(listed) == sorted(cases.keys)
    assert {why is None for why in listed.values()} == {True, False}
    for key in cases.keys:
        why = listed[key]
        found = status.run_status(path, key)
        answers = {
            "status": found.run.stalled,
            "wait": runs.find_run(path, key).stalled,
            "logs": step_runs.find_step_run(path, key, "create").stalled,
        }
        assert answers == dict.fromkeys(answers, why), key
        if found.run.mode == "slurm":
            # SLURM lists the recorded jobs, and the job whose process holds the lease of some runs.
            listing = squeue_answer(*cases.listed.get(key, []), ("9", "RUNNING", "None", "", "another"))
            monkeypatch.setattr(queue_report.Client, "squeue", lambda self, listing=listing: squeue_lines(listing))
            refreshed = queue_report.ask_slurm(path, found, NOW).stalled
            assert (refreshed is None) == (why is None), key
            # A job is unknown to SLURM if it is not listed.
            assert refreshed == why or "in doubt" in key, key
