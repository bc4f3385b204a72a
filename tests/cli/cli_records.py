"""Fill a database with the records of a run, at fixed times."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from orchestrator.db import migrate
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder
from orchestrator.db.rows import insert
from orchestrator.definition.resources import SlurmCluster, SlurmResources
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep

T0 = 1795500000.0  # 2026-11-24 06:00:00 UTC
# The alphabet of tokens has no 0 and 1, and SLURM's answers are searched for tokens.
NO_DIGITS = str.maketrans("0123456789", "abcdefghij")
ENDED = ("succeeded", "failed", "cancelled", "skipped", "lost")

CREATE = PlannedStep("0", "create", label="create")
EVALUATE = PlannedStep("1", "evaluate", kind="batch", parallel=True, label="evaluate")
LOOK = PlannedStep("2.0", "look", label="loop2_look")
REFINE = PlannedStep("2.1", "refine", kind="batch", parallel=True, label="loop2_refine")
UNTIL = PlannedStep("2.until", "until", kind="until", label="loop2_until")
REPORT = PlannedStep("3", "report", label="report")
PLAN = Plan((CREATE, EVALUATE, PlannedLoop("2", 1000, (LOOK, REFINE), UNTIL), REPORT))


CLUSTER = {"partition": None, "account": None, "log_dir": "runlogs/{project_job}/x"}


def on_slurm(**cluster):
    """Return the columns of a run that was submitted to a cluster."""
    fields = SlurmCluster(**{**CLUSTER, **cluster}).to_json()
    resources = SlurmResources(time="00:10:00", mem="1G").to_json()
    return {"mode": "slurm", "cluster": {"cluster": fields, "orchestrator": resources, "cwd": "/home/me"}}


def documented(title):
    """Return the fields that the reference of the JSON lists in a section, in order."""
    page = (Path(__file__).resolve().parents[2] / "docs/reference/json.md").read_text()
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


class Records:
    """One workspace's database; everything that is added belongs to the latest run."""

    def __init__(self, workspace: Path, plan: Plan = PLAN) -> None:
        self.path = workspace / "orchestrator.db"
        self.plan = plan
        self._n = 0
        migrate.create(self.path)

    def _add(self, table, values):
        with session(self.path) as connection:
            return insert(connection, table, values)

    def add_run(self, key="1795500000", state="active", *, holder: Holder | None = None, **more):
        lease = {}
        if holder is not None:
            names = Holder._fields
            lease = {f"lease_{name}": getattr(holder, name) for name in names} | {"lease_taken_at": T0}
        values = {
            "key": key,
            "salt": "salt",
            "uid": os.geteuid(),
            "name": "cantilever",
            "mode": "local",
            "state": state,
            "plan": json.dumps(self.plan.to_json()),
            "first_position": 0,
            "provenance": {"python": "3.12"},
            "created_at": T0,
            "started_at": T0,
            "ended_at": T0 + 3600 if state in ENDED else None,
            "study": "/home/me/study.py",
        }
        self.run_id = self._add("run", {**values, **lease, **more})
        self.add_event("run", at=T0, new="active")

    def add_step_run(self, position, state, *, begin=0.0, seconds=1.0, **more):
        slot = self.plan.slot(position)
        values = {
            "run_id": self.run_id,
            "position": position,
            "epoch": 0,
            "first_attempt": 1,
            "iteration": slot.iteration,
            "name": slot.step.name,
            "kind": slot.step.kind,
            "path": slot.step.path,
            "state": state,
            "created_at": T0 + begin,
            "started_at": None if state in ("pending", "skipped") else T0 + begin,
            "ended_at": T0 + begin + seconds if state in ENDED else None,
        }
        self.step_run_id = self._add("step_run", {**values, **more})
        self.add_event("step run", at=T0 + begin, new=state, step_run_id=self.step_run_id)
        return self.step_run_id

    def add_many(self, n, *, begin):
        """Add whole iterations of the loop, without a step run for `until`."""
        rows = []
        for iteration in range(n):
            for position, seconds, finished in ((2 + 3 * iteration, 0.5, 0), (3 + 3 * iteration, 1.5, 10)):
                slot = self.plan.slot(position)
                at = T0 + begin + 2 * iteration + (0.5 if finished else 0.0)
                rows.append(
                    {
                        "run_id": self.run_id,
                        "position": position,
                        "epoch": 0,
                        "first_attempt": 1,
                        "iteration": slot.iteration,
                        "name": slot.step.name,
                        "kind": slot.step.kind,
                        "path": slot.step.path,
                        "state": "succeeded",
                        "n_finished": finished,
                        "created_at": at,
                        "started_at": at,
                        "ended_at": at + seconds,
                    }
                )
        with session(self.path) as connection:
            for row in rows:
                insert(connection, "step_run", row)

    def add_job(self, state, *, begin=0.0, seconds=1.0, **more):
        self._n += 1
        known = state in ("queued", "running", "succeeded", "lost")
        values = {
            "run_id": self.run_id,
            "step_run_id": self.step_run_id,
            "token": f"token{self._n:05}".translate(NO_DIGITS),
            "role": "step",
            "batch": 0,
            "attempt": 1,
            "tasks": "0",
            "n_tasks": 1,
            "state": state,
            "scheduler_id": f"4242.{self._n}" if known else None,
            "planned_at": T0 + begin,
            "queued_at": T0 + begin if known else None,
            "started_at": T0 + begin if known else None,
            "ended_at": T0 + begin + seconds if state in ENDED else None,
            "detail": {},
        }
        self.job_id = self._add("job", {**values, **more})
        return values["token"]

    def add_orchestrator(self, state, scheduler_id, waits_for, **more):
        step_run_id, self.step_run_id = self.step_run_id, None
        values = {"role": "orchestrator", "scheduler_id": scheduler_id, "waits_for": waits_for, **more}
        token = self.add_job(state, **values)
        self.step_run_id = step_run_id
        return token

    def add_event(self, what, *, at=T0, **more):
        values = {"run_id": self.run_id, "at": at, "what": what, "detail": {}}
        self._add("event", {**values, **more})

    def add_failed_experiments(self, why, rows, *, n=None, traceback="Traceback\n", at=T0):
        detail = {"rows": rows, "n": n or len(rows), "traceback": traceback}
        self.add_event(
            "experiments failed", at=at, why=why, step_run_id=self.step_run_id, job_id=self.job_id, detail=detail
        )

    def add_failed_task(self, task, why, kind, *, at=T0):
        self.add_event(
            "task failed",
            at=at,
            why=why,
            task=task,
            step_run_id=self.step_run_id,
            job_id=self.job_id,
            detail={"kind": kind},
        )
