"""What is made of SLURM's answers about an array that is over, though not all of it is to be seen any more, or yet."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator import SlurmCluster
from orchestrator.engine.site import Site, orchestrator_resources
from orchestrator.engine.slurm import SlurmScheduler
from orchestrator.handoff.folder import RunFolder
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.handoff.receipt import Receipt, write_receipt
from orchestrator.machine.facts import Seen
from orchestrator.machine.model import Job
from orchestrator.machine.states import JobState
from orchestrator.slurm.parse import Line

ARRAY = Job("array", "batch", state=JobState.RUNNING, scheduler_id="7", tasks="0-2")


def line(task: int, state: str) -> Line:
    return Line("7", (task,), state, "", "array", 1.0, 2.0, "1:0" if state == "FAILED" else "")


class Answers:
    """SLURM's programs: squeue and sacct say what they are told to."""

    def __init__(self, squeue: list[Line], sacct: list[Line]) -> None:
        self.listed, self.accounted, self.n_sacct = squeue, sacct, 0

    def squeue(self) -> list[Line]:
        return self.listed

    def sacct(self, ids: list[str], since: float | None) -> list[Line]:
        self.n_sacct += 1
        return self.accounted


@pytest.fixture
def looked_at(workspace):
    """Give a function that looks at the array, all of whose tasks but the first left a receipt."""
    folder = RunFolder(workspace, "r")
    names = {"run_key": "r", "workspace": str(workspace), "token": "array", "role": "batch", "step_name": "run"}
    place = {"position": 0, "epoch": 0, "iteration": "", "path": "0", "until_path": None, "project_dir": "."}
    file = JobFile(**names, **place, kind="batch", parallel=True, bundle_digest="", tasks="0-2", label="run")
    write_jobfile(folder.job("array").file, file)
    for task in (1, 2):
        write_receipt(folder.job("array").receipt(task), Receipt("succeeded", 1.0, 2.0))

    def look(*listed: Line, accounted: list[Line] | None = None, shared: bool = False) -> Any:
        answers = Answers(list(listed), accounted or [])
        site = Site(SlurmCluster(), orchestrator_resources(None), str(workspace), has_accounting=accounted is not None)
        database = workspace / "orchestrator.db"
        scheduler = SlurmScheduler(folder, site, "p", database, shared=shared, client=cast("Any", answers))
        fact = scheduler.observe([ARRAY]).get("array")
        assert answers.n_sacct <= 1
        return fact

    return look


def test_a_task_is_judged_by_its_own_end(looked_at):
    fact = looked_at(line(0, "NODE_FAIL"), line(1, "COMPLETED"), line(2, "COMPLETED"))
    assert fact.seen is Seen.OVER
    assert fact.failed_tasks == {0: ("node_failure", "SLURM job 7 ended NODE_FAIL")}


def test_a_task_that_squeue_has_forgotten_is_not_judged_by_the_others(looked_at):
    fact = looked_at(line(1, "OUT_OF_MEMORY"), line(2, "COMPLETED"))
    assert fact.failed_tasks == {0: ("infrastructure", "SLURM no longer knows how task 0 of job 7 ended")}


def test_accounting_tells_of_a_task_that_squeue_has_forgotten(looked_at):
    accounted = [line(0, "NODE_FAIL"), line(1, "FAILED"), line(2, "COMPLETED")]
    fact = looked_at(line(1, "COMPLETED"), line(2, "COMPLETED"), accounted=accounted)
    assert fact.failed_tasks == {0: ("node_failure", "SLURM job 7 ended NODE_FAIL")}


def test_accounting_is_not_asked_of_a_task_that_squeue_knows(looked_at):
    fact = looked_at(line(0, "FAILED"), accounted=[line(0, "NODE_FAIL")])
    assert fact.failed_tasks == {0: ("infrastructure", "SLURM job 7 ended FAILED, exit code 1:0")}


@pytest.mark.parametrize("state", ["COMPLETED", "TIMEOUT", "NODE_FAIL"])
def test_where_others_write_a_receipt_may_still_come(looked_at, state):
    listed = [line(0, state), line(1, "COMPLETED"), line(2, "COMPLETED")]
    assert looked_at(*listed, shared=True).may_still_come
    assert not looked_at(*listed).may_still_come
