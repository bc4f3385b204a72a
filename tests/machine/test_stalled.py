"""A run is stalled when it is active, and nothing will advance it until a user types a command."""

from __future__ import annotations

from itertools import product

import pytest

from orchestrator.db.lease_holder import STALE
from orchestrator.machine.kinds import Doubt, Role
from orchestrator.machine.model import MAX_IDLE_WAKEUPS, Job, Run, StepRun
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.stalled import ENDING_TIMEOUT, LeaseHolder, Liveness, liveness_of, why_stalled
from orchestrator.machine.states import JobState, RunState, StepRunState

LIVE = Job("step", Role.STEP, state=JobState.QUEUED, scheduler_id="7")
PLANNED = LIVE._replace(state=JobState.PLANNED, scheduler_id=None)
SUBMITTING = LIVE._replace(state=JobState.SUBMITTING, scheduler_id=None)
ABSENT = LIVE._replace(doubt=Doubt.UNLISTED, doubt_since=5.0)

HOLDERS = {
    "no process": None,
    "alive": LeaseHolder("process 42 on login1"),
    "dead": LeaseHolder("process 42 on login1", is_dead=True),
    "silent": LeaseHolder("process 42 on node7", silent_for=720.0),
}


def orchestrator(state):
    known = None if state in (JobState.PLANNED, JobState.SUBMITTING) else "8"
    return Job("wake", Role.ORCHESTRATOR, state=state, scheduler_id=known, waits_for="7")


def stalled(*orchestrators, job=LIVE, has_tail=True, **facts):
    live = (job,) if job else ()
    return why_stalled(Liveness(RunState.ACTIVE, True, None, live, orchestrators, has_tail=has_tail, **facts))


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_a_run_with_an_orchestrator_job_at_the_scheduler_is_not_stalled(state):
    for job in (None, LIVE, PLANNED, SUBMITTING):
        assert stalled(orchestrator(state), job=job, has_tail=False) is None


def test_a_run_with_a_job_that_advances_it_is_not_stalled(golden):
    assert stalled() is None
    assert stalled(orchestrator(JobState.PLANNED)) is None
    golden(stalled(orchestrator(JobState.SUBMITTING), has_tail=False))


def test_a_run_without_any_job_is_stalled(golden):
    golden(stalled(job=None))


def test_a_job_that_the_scheduler_does_not_list_does_not_count(golden):
    golden(stalled(job=ABSENT))
    assert (
        stalled(orchestrator(JobState.QUEUED)._replace(doubt=Doubt.UNLISTED, doubt_since=5.0), job=ABSENT) is not None
    )
    assert stalled(orchestrator(JobState.RUNNING), job=ABSENT) is None


def test_a_refusal_is_reported_with_the_number_of_attempts(golden):
    refused = PLANNED._replace(reason="sbatch: too many jobs")
    golden(stalled(job=refused))
    golden(stalled(job=refused, idle_wakeups=MAX_IDLE_WAKEUPS))
    golden(stalled(job=PLANNED))


def test_a_submission_whose_process_died_is_reported(golden):
    golden(stalled(job=SUBMITTING))


def test_a_job_of_a_run_that_is_ending_has_no_tail_after_the_timeout(golden):
    assert stalled(ending_for=ENDING_TIMEOUT) is None
    golden(stalled(ending_for=ENDING_TIMEOUT + 1))
    assert stalled(orchestrator(JobState.QUEUED), ending_for=ENDING_TIMEOUT + 1) is None
    assert ENDING_TIMEOUT > STALE, "a process of another machine may still be the one that ends it"


@pytest.mark.parametrize("ending", [{"failing": "refused"}, {"cancel_requested": True}])
def test_a_command_does_not_leave_a_run_that_is_ending_to_a_tail(ending, golden):
    step_run = StepRun(0, state=StepRunState.ACTIVE, jobs=(LIVE,))
    run = Run("r", "salt", Plan((PlannedStep("0", "step"),)), step_run=step_run, needs_wakeup=True)
    assert why_stalled(liveness_of(run, has_tail=True)) is None
    golden(why_stalled(liveness_of(run, has_tail=False)))
    golden(why_stalled(liveness_of(run._replace(**ending), has_tail=True)))


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_a_run_of_this_machine_is_stalled_without_a_live_process(holder):
    why = why_stalled(Liveness(RunState.ACTIVE, False, holder))
    expected = {
        None: "no process advances it",
        HOLDERS["dead"]: "process 42 on login1, which advanced it, has died",
        HOLDERS["silent"]: "process 42 on node7, which advanced it, has sent no heartbeat for 12 min",
    }
    assert why == expected.get(holder)


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_a_run_is_stalled_if_and_only_if_nothing_will_advance_it(holder):
    orchestrators = [(), *((orchestrator(state),) for state in JobState if state not in ("succeeded", "failed"))]
    orchestrators += [(orchestrator(JobState.QUEUED)._replace(doubt=Doubt.UNLISTED, doubt_since=5.0),)]
    jobs = [None, LIVE, LIVE._replace(state=JobState.RUNNING), PLANNED, SUBMITTING, ABSENT]
    times = (None, 0.0, ENDING_TIMEOUT + 1)
    for state, waiting, job, n, has_tail, ending_for in product(
        RunState, orchestrators, jobs, (0, MAX_IDLE_WAKEUPS), (True, False), times
    ):
        live = () if job is None else (job,)
        why = why_stalled(Liveness(state, True, holder, live, waiting, n, has_tail, ending_for))
        at_scheduler = [other.state in ("queued", "running") and not other.is_missing for other in (*waiting, *live)]
        is_woken = any(at_scheduler[: len(waiting)])
        is_woken |= any(at_scheduler[len(waiting) :]) and has_tail and ending_for in (None, 0.0)
        assert (why is None) == (state is not RunState.ACTIVE or holder == HOLDERS["alive"] or is_woken)
        if why is not None and holder is not None:
            assert why.startswith(holder.name)
