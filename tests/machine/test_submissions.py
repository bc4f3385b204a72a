"""Of several submissions of one job one counts; the others are cancelled by an intent."""

from __future__ import annotations

from functools import reduce

import pytest

from orchestrator.machine.changes import RecordSubmissions, apply
from orchestrator.machine.decide import decide
from orchestrator.machine.facts import Facts, JobFact, Seen
from orchestrator.machine.intents import CancelJobs, CancelRivals
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.outcomes import after_cancel, must_wait, rivals_cancelled
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.states import FailureKind, JobState, StepRunState
from orchestrator.machine.submissions import choose

WAITING = {"11": Seen.QUEUED, "12": Seen.QUEUED, "9": Seen.QUEUED}


@pytest.mark.parametrize(
    ("seen", "claimed_by", "recorded", "chosen"),
    [
        pytest.param(WAITING | {"11": Seen.RUNNING}, "12", "11", "12", id="the one that has claimed the job"),
        pytest.param(WAITING | {"12": Seen.RUNNING}, None, "11", "12", id="one that runs"),
        pytest.param(WAITING | {"9": Seen.OVER}, None, None, "11", id="one that has not ended"),
        pytest.param(WAITING, None, "11", "11", id="the recorded one"),
        pytest.param(WAITING, "99", "98", "9", id="others are not there"),
        pytest.param(WAITING, None, None, "9", id="the first"),
    ],
)
def test_the_submission_that_counts(seen, claimed_by, recorded, chosen):
    assert choose(seen, claimed_by=claimed_by, recorded=recorded) == chosen


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


@pytest.mark.parametrize("role", [Role.STEP, Role.BATCH])
def test_rivals_of_a_job_that_is_over_are_cancelled_before_it_is_retried(role):
    """Such a submission has claimed nothing yet: it would run beside the retry."""
    run = run_with(JOB._replace(role=role))
    over = JobFact(Seen.OVER, "11", kind=FailureKind.NODE_FAILURE, reason="node failure", rivals=("13",))
    run = reduce(apply, reconcile(run, Facts(5.0, 9.0, {"t": over})), run)
    assert (run.job("t").state, run.job("t").rivals) == (JobState.FAILED, ("13",))
    assert decide(run) == CancelRivals("t", ("13",))
    run = reduce(apply, rivals_cancelled("t"), run)
    assert not isinstance(decide(run), CancelRivals)


def test_a_cancelled_run_waits_for_a_rival_that_is_still_ending():
    """One advance cancels each job once; it does not ask again in a loop without a pause."""
    job = JOB._replace(state=JobState.RUNNING)
    run = run_with(job)._replace(cancel_requested=True)
    facts = Facts(5.0, 9.0, {"t": JobFact(Seen.RUNNING, "11", rivals=("13",))})
    run = reduce(apply, reconcile(run, facts), run)
    assert decide(run) == CancelRivals("t", ("13",))
    run = reduce(apply, rivals_cancelled("t"), run)
    intent = decide(run)
    assert intent == CancelJobs(("t",))
    assert must_wait(intent, after_cancel(run, ("t",), facts))
