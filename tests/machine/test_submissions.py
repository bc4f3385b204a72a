"""Of several submissions of one job one counts; the others are cancelled by an intent."""

from __future__ import annotations

from functools import reduce

import pytest

from orchestrator.machine.changes import RecordSubmissions, apply
from orchestrator.machine.decide import decide
from orchestrator.machine.facts import Facts, JobFact, Seen
from orchestrator.machine.intents import CancelRivals
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.outcomes import rivals_cancelled
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.states import JobState, StepRunState
from orchestrator.machine.submissions import choose


@pytest.mark.parametrize(
    ("owner", "recorded", "chosen"),
    [("12", "11", "12"), (None, "11", "11"), ("99", "98", "9"), (None, None, "9")],
    ids=["the owner", "the recorded one", "others are not there", "the first"],
)
def test_the_submission_that_owns_the_job_counts_else_the_recorded_else_the_first(owner, recorded, chosen):
    assert choose({"11", "12", "9"}, owner=owner, recorded=recorded) == chosen


CALL = PlannedStep("0", "create", label="create")


def run_with(*jobs, orchestrators=()):
    step_run = StepRun(0, state=StepRunState.ACTIVE, jobs=jobs)
    return Run("r", "salt", Plan((CALL,)), step_run=step_run, orchestrators=orchestrators)


JOB = Job("t", Role.STEP, state=JobState.QUEUED, scheduler_id="11")


@pytest.mark.parametrize("role", [Role.STEP, Role.ORCHESTRATOR])
@pytest.mark.parametrize("state", [JobState.SUBMITTING, JobState.QUEUED, JobState.RUNNING])
@pytest.mark.parametrize("seen", [Seen.QUEUED, Seen.RUNNING])
def test_the_other_submissions_are_recorded_then_cancelled_then_removed(role, state, seen):
    job = JOB._replace(role=role, state=state, scheduler_id=None if state is JobState.SUBMITTING else "11")
    run = run_with(JOB._replace(token="other"), orchestrators=(job,)) if job.is_orchestrator else run_with(job)
    facts = Facts(5.0, 9.0, {"t": JobFact(seen, "12", rivals=("11", "13"))})
    run = reduce(apply, reconcile(run, facts), run)
    assert (run.job("t").scheduler_id, run.job("t").rivals) == ("12", ("11", "13"))
    assert reconcile(run, facts) == []
    assert decide(run) == CancelRivals("t", ("11", "13"))
    run = reduce(apply, rivals_cancelled("t"), run)
    assert run.job("t").rivals == ()
    assert not isinstance(decide(run), CancelRivals)


def test_other_submissions_that_ended_by_themselves_are_removed():
    run = run_with(JOB._replace(rivals=("13",)))
    facts = Facts(5.0, 9.0, {"t": JobFact(Seen.QUEUED, "11")})
    assert reconcile(run, facts) == [RecordSubmissions("t", None, ())]
