"""What an advance asks the scheduler."""

from __future__ import annotations

import errno
import time
from typing import Any, cast

import pytest

from orchestrator.engine.context import Context
from orchestrator.engine.observe import observe
from orchestrator.engine.progress import Silent
from orchestrator.errors import Busy
from orchestrator.handoff.receipt import Receipt, write_receipt
from orchestrator.machine.facts import JobFact, Seen
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import JobState, StepRunState
from orchestrator.workspace import RunFolder


class Asked:
    """A scheduler that knows no job, and records for which jobs it was asked."""

    grace = 90.0

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def observe(self, jobs: Any) -> dict[str, Any]:
        self.tokens += [job.token for job in jobs]
        return {}


@pytest.fixture
def run():
    step = Job("step", Role.STEP, state=JobState.QUEUED, scheduler_id="7")
    waiting = Job("waiting", Role.ORCHESTRATOR, state=JobState.QUEUED, scheduler_id="8", waits_for="7")
    step_run = StepRun(0, state=StepRunState.ACTIVE, jobs=(step,))
    return Run("x", "salt", Plan(()), step_run=step_run, orchestrators=(waiting,), needs_wakeup=True)


@pytest.fixture
def context(workspace):
    folder = RunFolder(workspace, "x")
    now = time.time()
    write_receipt(folder.job("step").receipt(0), Receipt("succeeded", now, now))
    unused = cast("Any", None)
    return Context(unused, unused, 1, folder, cast("Any", Asked()), Silent())


def test_the_tail_of_a_step_does_not_ask_about_the_orchestrator_job_that_waits_for_it(context, run):
    facts = observe(context._replace(enclosing_job="7"), run)
    assert context.scheduler.tokens == []
    assert facts.jobs["step"].receipts[0].succeeded
    assert "waiting" not in facts.jobs  # nothing is concluded


def test_every_other_process_asks_whether_the_orchestrator_job_still_waits(context, run):
    for enclosing_job in (None, "9"):
        facts = observe(context._replace(enclosing_job=enclosing_job), run)
        assert facts.jobs["waiting"].seen is Seen.ABSENT
    assert context.scheduler.tokens == ["waiting", "waiting"]


def test_a_receipt_that_arrives_while_the_scheduler_is_asked_counts(context, run):
    receipt = context.folder.job("step").receipt(0)
    content = receipt.read_bytes()
    receipt.unlink()

    def says_over(jobs):
        receipt.write_bytes(content)
        return {"step": JobFact(Seen.OVER, "7")}

    context.scheduler.observe = says_over
    assert observe(context, run).jobs["step"].receipts[0].succeeded


def test_a_receipt_that_cannot_be_read_now_changes_nothing(context, run, monkeypatch, golden):
    """A shared file system has such moments; a damaged receipt is another case."""

    def stale(path, flags, *more, **options):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch, golden.raises(Busy):
        patch.setattr("orchestrator.damage.os.open", stale)
        observe(context, run)


def test_a_damaged_receipt_counts_as_missing(context, run, golden):
    receipt = context.folder.job("step").receipt(0, 1)
    receipt.write_text("{")
    # The last one that can be used counts.
    assert observe(context, run).jobs["step"].receipts[0].succeeded
    context.folder.job("step").receipt(0).unlink()
    facts = observe(context, run)
    assert context.scheduler.tokens.count("step") == 1
    assert not facts.jobs["step"].receipts
    [(kind, why)] = facts.jobs["step"].failed_tasks.values()
    assert kind == "infrastructure"
    golden(why)
    # A job that runs is not ended by it.
    context.scheduler.observe = lambda jobs: {"step": JobFact(Seen.RUNNING, "7")}
    assert not observe(context, run).jobs["step"].failed_tasks


def test_the_tail_asks_about_an_orchestrator_job_that_may_have_started(context, run):
    started = run.orchestrators[0]._replace(state=JobState.RUNNING)
    observe(context._replace(enclosing_job="7"), run._replace(orchestrators=(started,)))
    assert context.scheduler.tokens == ["waiting"]
