"""Cancel a step, hold a run and release it: what is decided."""

from __future__ import annotations

from functools import reduce

import pytest

from orchestrator.errors import Busy, DefinitionError, NotYet
from orchestrator.machine.changes import AddStepRun, MoveJob, MoveStepRun, apply
from orchestrator.machine.decide import decide
from orchestrator.machine.intents import CancelJobs, Finish, Freeze, HoldJob, Record, Submit
from orchestrator.machine.kinds import Dependency, Role, StepKind
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.outcomes import job_held
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep
from orchestrator.machine.rewind import WHERE_IT_STOPPED, reopening
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.states import JobState, RunState, StepRunState
from orchestrator.machine.steering import about_cancel_step, about_hold, about_release, has_stopped_at, step_to_cancel
from orchestrator.machine.wakeup import why_poll_again

FIRST, NEXT = PlannedStep("0", "solve", kind=StepKind.BATCH), PlannedStep("1", "report")
AFTERANY = NEXT._replace(dependency=Dependency.AFTERANY)


def with_job(state, *, after=NEXT, tasks="0-3", **fields):
    """Return a run on a cluster whose first step has a job."""
    job = Job("t", Role.BATCH, state=state, scheduler_id="7", tasks=tasks, held=fields.pop("held", False))
    step_run = StepRun(0, state=StepRunState.ACTIVE, n_experiments=4, n_tasks=4, batch_size=4, jobs=(job,))
    return Run("r", "salt", Plan((FIRST, after)), step_run=step_run, needs_wakeup=True, login_only="no", **fields)


def after(run, *changes):
    return reduce(apply, changes, run)


# --- cancel --step -------------------------------------------------------------------------------


@pytest.mark.parametrize(("then", "expected"), [(NEXT, Finish), (AFTERANY, Record)])
def test_a_cancelled_step_ends_the_run_unless_the_next_one_runs_after_a_failure(then, expected):
    run = with_job(JobState.RUNNING, after=then, cancel_step=0)
    assert decide(run) == CancelJobs(("t",))
    run = after(run, MoveJob("t", JobState.CANCELLED, "cancelled", "cancelled", n_finished=2))
    [end] = decide(run).changes
    assert end == MoveStepRun(0, StepRunState.CANCELLED, "step solve was cancelled by the user", 2, 0)
    run = after(run, end)
    assert (run.cancel_step, run.n_failed_step_runs) == (None, 1)
    intent = decide(run)
    assert isinstance(intent, expected)
    if expected is Finish:
        assert intent.to is RunState.CANCELLED
    else:
        assert intent.changes == (AddStepRun(1, "", "report", StepKind.CALL),)


def test_the_request_to_cancel_a_step_does_not_reach_the_next_one():
    run = with_job(JobState.RUNNING, cancel_step=3)
    assert decide(run) is None
    assert after(run, MoveJob("t", JobState.SUCCEEDED)).cancel_step == 3


def test_a_step_without_a_live_job_is_cancelled_at_once():
    planned = with_job(JobState.PLANNED, cancel_step=0)
    job, step_run = decide(planned).changes
    assert (job.to, step_run.to) == (JobState.CANCELLED, StepRunState.CANCELLED)


def test_only_the_open_step_can_be_cancelled(golden):
    loop = PlannedLoop("0", 3, (FIRST._replace(path="0.0"),))
    run = Run("r", "salt", Plan((loop, NEXT)), step_run=StepRun(2, state=StepRunState.ACTIVE))
    assert step_to_cancel(run, "solve") == step_to_cancel(run, "solve@1") == 2
    for address, error in {"solve@2": NotYet, "report": NotYet, "nothing": DefinitionError}.items():
        with golden.raises(error):
            step_to_cancel(run, address)
    with golden.raises(NotYet):
        step_to_cancel(run._replace(state=RunState.FAILED), "solve")


@pytest.mark.parametrize(("then", "stops"), [(NEXT, False), (AFTERANY, True)])
def test_a_cancel_waits_for_the_end_of_the_run_unless_the_run_continues(then, stops):
    run = with_job(JobState.RUNNING, after=then, cancel_step=0)
    assert not has_stopped_at(run, 0)
    run = after(run, MoveJob("t", JobState.CANCELLED, "cancelled", "cancelled"))
    run = after(run, *decide(run).changes)
    assert has_stopped_at(run, 0) is stops
    assert has_stopped_at(run._replace(state=RunState.CANCELLED), 0)
    assert has_stopped_at(run._replace(step_run=StepRun(1)), 0)


def test_what_a_cancel_of_a_step_means_is_said_first(golden):
    golden("\n".join(about_cancel_step(with_job(JobState.RUNNING), 0)))
    golden("\n".join(about_cancel_step(with_job(JobState.RUNNING, after=AFTERANY), 0)))


# --- hold and release ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_what_waits_in_the_queue_is_held_and_released_once(state):
    run = with_job(state, is_held=True)
    assert decide(run) == HoldJob("t", True)
    run = after(run, *job_held("t", is_held=True))
    assert decide(run) is None
    run = run._replace(is_held=False)
    assert decide(run) == HoldJob("t", False)
    assert decide(after(run, *job_held("t", is_held=False))) is None


def test_a_held_run_begins_nothing_and_records_what_ends():
    run = with_job(JobState.PLANNED, is_held=True)
    assert decide(run) is None
    assert decide(run._replace(is_held=False)) == Submit("t")
    failed = after(run, MoveJob("t", JobState.SUBMITTING), MoveJob("t", JobState.QUEUED))
    failed = after(failed, MoveJob("t", JobState.RUNNING), MoveJob("t", JobState.SUCCEEDED, n_finished=4))
    [end] = decide(failed).changes
    ended = after(failed, end)
    assert end.to is StepRunState.SUCCEEDED
    assert decide(ended) is None
    assert isinstance(decide(ended._replace(is_held=False)), Record)
    pending = ended._replace(step_run=StepRun(0))
    assert decide(pending) is None
    assert decide(pending._replace(is_held=False)) == Freeze(0)
    # Its end is no work.
    last = ended._replace(plan=Plan((FIRST,)))
    assert decide(last) == Finish(RunState.SUCCEEDED, None)


def test_a_held_run_can_be_cancelled():
    run = with_job(JobState.QUEUED, is_held=True, held=True)
    assert decide(run._replace(cancel_requested=True)) == CancelJobs(("t",))
    assert decide(run._replace(cancel_step=0)) == CancelJobs(("t",))


def test_a_held_run_without_jobs_waits_for_the_user_and_for_no_orchestrator_job():
    run = with_job(JobState.PLANNED, is_held=True)._replace(login_only=None)
    assert decide(run) is None
    assert why_poll_again(run) is None
    assert why_stalled(liveness_of(run, has_tail=True)) == "a user holds it, and none of its jobs is left"
    with pytest.raises(Busy) as busy:
        reopening(run, [], WHERE_IT_STOPPED)
    assert busy.value.hint == "To release it: orchestrator release r"


def test_what_a_hold_means_is_said_first(golden):
    for state in (JobState.QUEUED, JobState.RUNNING, JobState.PLANNED):
        golden("\n".join(about_hold(with_job(state), is_driven=True)))
    for is_driven in (True, False):
        golden("\n".join(about_hold(with_job(JobState.RUNNING)._replace(needs_wakeup=False), is_driven=is_driven)))
    golden("\n".join(about_release(with_job(JobState.QUEUED, held=True, is_held=True))))


def test_nothing_of_a_job_of_one_task_that_runs_is_said_to_wait_in_the_queue():
    run = with_job(JobState.RUNNING, tasks="0", held=True, is_held=True)
    assert about_hold(run, is_driven=False)[1] == "Job 7 (solve) runs, and continues to its end."
    assert about_release(run) == ["Releases run r."]
