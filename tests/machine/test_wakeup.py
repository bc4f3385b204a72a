"""Which job advances a run next: at most one orchestrator job waits, for the live job."""

from __future__ import annotations

from functools import reduce

import pytest

from orchestrator.machine.answers import RefusedHere
from orchestrator.machine.changes import FailRun, MoveJob, MoveRun, RecordLoginOnly, apply
from orchestrator.machine.decide import decide
from orchestrator.machine.intents import CancelJobs, Finish, Record, SetDependency, Submit
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import MAX_IDLE_WAKEUPS, Job, Run, StepRun
from orchestrator.machine.outcomes import after_submit
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState
from orchestrator.machine.wakeup import is_for_login_node, why_orchestrator_polls, why_poll_again

PLAN = Plan((PlannedStep("0", "first"), PlannedStep("1", "second")))
LIVE = Job("step", Role.STEP, state=JobState.QUEUED, scheduler_id="7")
DONE = LIVE._replace(state=JobState.SUCCEEDED)


def orchestrator(state, waits_for="7", token="wake", scheduler_id="8"):
    known = None if state in (JobState.PLANNED, JobState.SUBMITTING) else scheduler_id
    return Job(token, Role.ORCHESTRATOR, state=state, scheduler_id=known, waits_for=waits_for)


def run_with(*orchestrators, job=LIVE, **fields):
    open_ = StepRun(0, state=StepRunState.ACTIVE, jobs=(job,))
    return Run("r", "salt", PLAN, step_run=open_, orchestrators=orchestrators, needs_wakeup=True)._replace(**fields)


def test_an_orchestrator_job_waits_for_the_live_job():
    intent = decide(run_with())
    assert isinstance(intent, Record)
    [planned] = intent.changes
    assert (planned.role, planned.position, planned.waits_for) == ("orchestrator", None, "7")
    run = apply(run_with(), planned)
    assert decide(run) == Submit(planned.token)
    assert run.n_orchestrators == 1


def test_a_second_orchestrator_job_is_not_planned():
    assert decide(run_with(orchestrator(JobState.QUEUED))) is None


def test_an_orchestrator_job_that_waits_for_an_earlier_job_is_repointed():
    assert decide(run_with(orchestrator(JobState.QUEUED, waits_for="3"))) == SetDependency("wake", "7")


def test_an_orchestrator_job_whose_submission_is_unanswered_is_not_changed():
    assert decide(run_with(orchestrator(JobState.SUBMITTING))) is None


def test_a_running_orchestrator_job_first_plans_its_successor():
    run = run_with(orchestrator(JobState.RUNNING), job=DONE)
    intent = decide(run)
    [planned] = intent.changes
    assert (planned.role, planned.waits_for) == ("orchestrator", "8")
    run = reduce(
        apply,
        [
            planned,
            MoveJob(planned.token, JobState.SUBMITTING),
            MoveJob(planned.token, JobState.QUEUED, scheduler_id="9"),
        ],
        run,
    )
    # Now the ended step is closed.
    assert decide(run).changes[0].to is StepRunState.SUCCEEDED


def test_a_job_that_is_listed_after_its_end_wakes_no_second_orchestrator_job(golden):
    """For example in an unknown state: an orchestrator job that waits for its end would start at once, every second."""
    run = run_with(orchestrator(JobState.RUNNING))
    [planned] = decide(run).changes
    assert planned.waits_for == "8"
    run = run_with(orchestrator(JobState.RUNNING), orchestrator(JobState.QUEUED, "8", "next", "9"))
    assert decide(run) is None
    golden(why_poll_again(run))
    # Its successor does not know that: it waited for another job.
    run = run_with(orchestrator(JobState.RUNNING, "6"), orchestrator(JobState.QUEUED, "7", "next", "9"))
    assert decide(run) is None
    assert why_poll_again(run) is None


def test_a_refusal_that_is_about_the_node_leaves_the_job_to_a_login_node():
    planned = LIVE._replace(state=JobState.SUBMITTING, scheduler_id=None)
    changes = after_submit(planned, RefusedHere("denied"), in_job=True)
    assert changes == [RecordLoginOnly("denied"), MoveJob("step", JobState.PLANNED, "denied")]
    waiting = orchestrator(JobState.SUBMITTING)
    changes = after_submit(waiting, RefusedHere("denied"), in_job=True)
    assert changes == [RecordLoginOnly("denied"), MoveJob("wake", JobState.CANCELLED, "denied")]
    # On a login node it is a refusal like any other.
    [move] = after_submit(planned, RefusedHere("denied"))
    assert (move.to, move.kind) == (JobState.FAILED, FailureKind.REFUSED)
    [move] = after_submit(planned, RefusedHere("no sbatch here", is_final=False))
    assert move.to is JobState.PLANNED


def test_where_nodes_may_not_submit_no_orchestrator_job_is_planned():
    run = apply(run_with(), RecordLoginOnly("denied"))
    assert (decide(run), why_poll_again(run)) == (None, None)
    planned = LIVE._replace(state=JobState.PLANNED, scheduler_id=None)
    run = apply(run_with(orchestrator(JobState.RUNNING), job=planned), RecordLoginOnly("denied"))
    # The orchestrator job ends, and only a login node submits.
    assert decide(run) == Submit("step")
    assert is_for_login_node(run, Submit("step"))
    assert not is_for_login_node(run_with(), Submit("step"))
    assert why_orchestrator_polls(run) is None


def test_a_run_on_this_machine_has_no_orchestrator_job():
    assert decide(run_with(needs_wakeup=False)) is None


def test_before_the_first_job_no_orchestrator_job_is_planned():
    planned = LIVE._replace(state=JobState.PLANNED, scheduler_id=None)
    assert decide(run_with(job=planned)) == Submit("step")


def test_after_five_idle_wakeups_no_more_are_planned():
    """If the scheduler accepts no job of a step, orchestrator jobs do not fill the queue for ever."""
    planned = LIVE._replace(state=JobState.PLANNED, scheduler_id=None)
    run = run_with(orchestrator(JobState.RUNNING), job=planned, n_orchestrators=9, idle_wakeups=MAX_IDLE_WAKEUPS)
    assert decide(run) == Submit("step")
    assert isinstance(decide(run._replace(idle_wakeups=MAX_IDLE_WAKEUPS - 1)), Record)


def test_a_job_that_the_scheduler_takes_is_progress():
    submitting = LIVE._replace(state=JobState.SUBMITTING, scheduler_id=None)
    run = run_with(job=submitting, n_orchestrators=9, idle_wakeups=4)
    run = apply(run, MoveJob("step", JobState.QUEUED, scheduler_id="7"))
    assert run.idle_wakeups == 0


def test_a_resume_resets_the_count_of_idle_wakeups():
    run = run_with(job=DONE, n_orchestrators=9, idle_wakeups=5, state=RunState.FAILED)
    assert apply(run, MoveRun(RunState.ACTIVE)).idle_wakeups == 0


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
def test_after_the_end_no_orchestrator_job_waits(state):
    assert decide(run_with(orchestrator(JobState.QUEUED), job=DONE, state=state)) == CancelJobs(("wake",))
    [move] = decide(run_with(orchestrator(JobState.PLANNED), job=DONE, state=state)).changes
    assert (move.token, move.to) == ("wake", JobState.CANCELLED)
    assert decide(run_with(orchestrator(JobState.RUNNING), job=DONE, state=state)) is None


def test_cancelling_ends_the_orchestrator_before_the_job_whose_end_would_start_it():
    run = run_with(orchestrator(JobState.QUEUED), cancel_requested=True)
    assert decide(run) == CancelJobs(("wake", "step"))


def test_a_run_that_has_to_fail_cancels_its_jobs_first():
    run = apply(run_with(), FailRun("the orchestrator was refused"))
    assert decide(run) == CancelJobs(("step",))
    run = apply(run, MoveJob("step", JobState.CANCELLED))
    [close] = decide(run).changes
    assert (close.to, close.why) == (StepRunState.FAILED, "the orchestrator was refused")
    run = apply(run, close)
    assert decide(run) == Finish(RunState.FAILED, "the orchestrator was refused")
    run = apply(run, MoveRun(RunState.FAILED, "the orchestrator was refused"))
    assert (decide(run), run.failing) == (None, None)
