"""What the pure machine decides, by example."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plans, used

from orchestrator.definition.resources import SlurmResources
from orchestrator.errors import Busy, DefinitionError
from orchestrator.indexes import format_indexes, parse_indexes
from orchestrator.machine.batches import Division, Limits, batch_size, divide, tasks_of_batch
from orchestrator.machine.changes import (
    AddJob,
    AddStepRun,
    FailRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordDoubt,
    RecordFreeze,
    Withdraw,
    apply,
)
from orchestrator.machine.decide import decide
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.intents import CancelJobs, CancelWaiting, Finish, Freeze, Record, Submit
from orchestrator.machine.kinds import Role, StepKind, Stopping
from orchestrator.machine.model import Job, Run, StepRun, token_for
from orchestrator.machine.outcomes import waiting_cancelled
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.resume_point import where_to_resume
from orchestrator.machine.rewind import after_takeover, rewind
from orchestrator.machine.states import MOVES, FailureKind, JobState, RunState, StepRunState, may_move
from orchestrator.machine.wakeup import why_poll_again

# --- plans ---------------------------------------------------------------------------------------


def flattened(elements, iteration=""):
    """Every position in order, the slow and obvious way: (step's name, iteration)."""
    for element in elements:
        if isinstance(element, PlannedStep):
            yield element.name, iteration
        else:
            for index in range(element.n_iterations):
                inner = f"{iteration}.{index}" if iteration else str(index)
                yield from flattened(element.body, inner)
                if element.until is not None or any(True for _ in flattened(element.body)):
                    yield "until", inner


@given(plans)
def test_a_walk_visits_each_step_once_at_its_first_position(plan):
    slots = [plan.slot(position) for position in range(plan.size)]
    paths = [slot.step.path for slot in slots if slot.is_used]
    visits = list(plan.walk())
    assert len({visit.step.path for visit in visits}) == len(visits)
    assert [visit.n_runs for visit in visits] == [paths.count(visit.step.path) for visit in visits]
    for visit in visits:
        if visit.n_runs:
            slot = slots[visit.position]
            assert slot.step == visit.step
            assert slot.iteration == ".".join("0" * visit.depth)


@given(plans)
def test_positions_are_the_flattened_pipeline(plan):
    expected = list(flattened(plan.elements))
    found = [plan.slot(position) for position in range(plan.size)]
    assert [(slot.step.name, slot.iteration) for slot in found] == expected
    with pytest.raises(IndexError):
        plan.slot(plan.size)


@given(plans)
def test_a_plan_is_read_from_json_as_it_was_written(plan):
    import json

    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(plans)
def test_an_address_is_found_by_its_name_and_iteration(plan):
    for position in used(plan):
        slot = plan.slot(position)
        found = plan.slot(plan.find(slot.address))
        if slot.iteration:
            assert (found.step.name, found.iteration) == (slot.step.name, slot.iteration)
    assert plan.find("missing") is None
    assert plan.find("step0@99") in (None, plan.find("step0"))


def test_a_bare_name_in_a_loop_means_the_whole_loop():
    plan = Plan((PlannedStep("0", "a"), PlannedLoop("1", 3, (PlannedStep("1.0", "b"), PlannedStep("1.1", "c")))))
    assert plan.find("c") == 1
    assert plan.find("c@2") == 8
    assert plan.slot(8).address == "c@2"


def test_iterations_are_computed_when_they_are_needed():
    plan = Plan((PlannedLoop("0", 10**6, (PlannedStep("0.0", "a"),)),))
    assert plan.size == 2 * 10**6
    assert plan.slot(2 * 999_999).iteration == "999999"


def test_only_the_last_step_of_an_iteration_may_answer_the_question():
    until = PlannedStep("0.until", "until", kind="until")
    plan = Plan((PlannedLoop("0", 2, (PlannedStep("0.0", "a"), PlannedStep("0.1", "b")), until),))
    assert [plan.slot(position).until for position in range(3)] == [None, until, None]
    assert [plan.slot(position).loop_end for position in range(3)] == [6, 6, 6]


# --- indexes and batches -------------------------------------------------------------------------


@given(st.sets(st.integers(0, 60)))
def test_a_list_of_indexes_is_read_as_it_was_written(indexes):
    assert parse_indexes(format_indexes(indexes)) == sorted(indexes)


def test_a_list_of_indexes_is_written_in_ranges():
    assert format_indexes([3, 0, 1, 2, 12, 12]) == "0-3,12"
    assert parse_indexes("") == []


@given(st.integers(0, 300), st.integers(1, 50))
def test_batches_cover_every_task_once(n_tasks, size):
    batches = [tasks_of_batch(batch, size, n_tasks) for batch in range(-(-n_tasks // size) + 1)]
    assert [task for batch in batches for task in batch] == list(range(n_tasks))
    assert len(batches[-1]) == 0


@pytest.mark.parametrize(
    ("per_task", "size", "expected"), [(1, 900, Division(1)), (3, 900, Division(3)), (None, 4, Division(max_tasks=4))]
)
def test_how_open_experiments_are_cut_into_tasks(per_task, size, expected):
    step = PlannedStep(
        "0", "a", kind="batch", parallel=True, resources={"max_jobs_per_task": per_task, "max_array_size": size}
    )
    assert divide(step, Limits()) == expected
    assert divide(step, Limits(n_tasks=8)) == Division(max_tasks=8)
    assert divide(step._replace(parallel=False), Limits()) == Division(max_tasks=1)
    assert batch_size(step, Limits(max_batch_size=2)) == 2


# --- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", MOVES)
def test_every_state_can_be_reached(states):
    moves = MOVES[states]
    assert set(moves) == {str(state) for state in states}
    reached, new = set(), {next(iter(moves))}
    while new:
        reached |= new
        new = {target for state in new for target in moves[state]} - reached
    assert reached == set(moves)


def test_a_move_to_a_state_of_another_machine_is_refused(golden):
    assert may_move(RunState.ACTIVE, RunState.FAILED)
    assert not may_move(JobState.PLANNED, JobState.RUNNING)
    assert not may_move(RunState.ACTIVE, JobState.FAILED)
    with golden.raises(ValueError):
        apply(Run("r", "", Plan(()), RunState.FAILED), MoveRun(RunState.SUCCEEDED))


def test_a_plan_without_sizes_has_the_defaults_of_the_resources():
    plain, planned = (PlannedStep("0", "a", parallel=True, resources=each) for each in ({}, SlurmResources().to_json()))
    sizes = [(divide(step, Limits()), batch_size(step, Limits())) for step in (plain, planned)]
    assert sizes[0] == sizes[1]


# --- decide --------------------------------------------------------------------------------------

CALL = PlannedStep("0", "a")
BATCH = PlannedStep("0", "a", kind="batch", parallel=True, resources={"max_array_size": 3})


def run_with(step, *jobs, state=StepRunState.ACTIVE, n_tasks=None, after=(), **fields):
    plan = Plan((step, *after))
    step_run = StepRun(0, state=state, n_tasks=n_tasks, n_experiments=n_tasks, batch_size=3, jobs=jobs)
    return Run("r", "salt", plan, step_run=step_run, **fields)


def job(state, **fields):
    return Job("t", Role(fields.pop("role", "step")), state=state, **fields)


def only(intent):
    assert isinstance(intent, Record)
    [change] = intent.changes
    return change


@pytest.mark.parametrize("state", [JobState.PLANNED, JobState.SUBMITTING, JobState.QUEUED, JobState.RUNNING])
def test_a_run_that_was_taken_over_needs_no_job_and_no_manifest_of_its_former_owner(state):
    known = {"scheduler_id": "7"} if state in (JobState.QUEUED, JobState.RUNNING) else {}
    orchestrator = Job("o", Role.ORCHESTRATOR, state=state, **known)
    run = run_with(BATCH, job(state, role="batch", **known), n_tasks=3, orchestrators=(orchestrator,))
    changes = after_takeover(run, "taken over")
    after = reduce(apply, changes, run)
    assert not after.live_jobs
    assert not after.orchestrators
    assert changes[-1] == Withdraw(0, "taken over", False)
    assert after.state is RunState.ACTIVE


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
def test_the_steps_of_an_ended_run_that_was_taken_over_are_kept(state):
    assert after_takeover(run_with(CALL, state=StepRunState.SUCCEEDED)._replace(state=state), "taken over") == []


def test_a_new_run_enters_its_first_position():
    assert only(decide(Run("r", "s", Plan((CALL,))))) == AddStepRun(0, "", "a", "call")


def test_a_run_with_an_empty_plan_has_succeeded():
    assert decide(Run("r", "s", Plan(()))) == Finish(RunState.SUCCEEDED, None)


def test_a_batch_is_frozen_before_it_is_submitted():
    run = run_with(BATCH, state=StepRunState.PENDING)
    assert decide(run) == Freeze(0)
    run = apply(run, RecordFreeze(0, 7, 7, 3))
    intent = decide(run)
    assert intent.changes[0] == MoveStepRun(0, StepRunState.ACTIVE)
    assert (intent.changes[1].tasks, intent.changes[1].n_tasks) == ("0-2", 3)


def test_a_batch_without_open_experiments_is_recorded_as_skipped(golden):
    run = apply(run_with(BATCH, state=StepRunState.PENDING), RecordFreeze(0, 0, 0, 3))
    change = only(decide(run))
    assert change.to is StepRunState.SKIPPED
    golden(change.why)


def test_batches_follow_each_other_also_after_a_failed_task():
    failed = job(JobState.FAILED, role="batch", tasks="0-2", kind="timeout", failed_tasks="1")
    change = only(decide(run_with(BATCH, failed, n_tasks=7)))
    assert (change.batch, change.tasks) == (1, "3-5")


def test_a_retry_contains_only_the_tasks_that_need_it(golden):
    failed = job(JobState.FAILED, role="batch", tasks="0-2", kind="timeout", failed_tasks="1", attempt=4)
    change = only(decide(run_with(BATCH._replace(retries=1), failed, n_tasks=7)))
    assert (change.batch, change.tasks, change.attempt) == (0, "1", 5)
    golden(change.why)


@pytest.mark.parametrize(
    ("kind", "retries", "n_failures", "again"),
    [
        ("timeout", 0, 1, False),
        ("timeout", 1, 1, True),
        ("timeout", 1, 2, False),
        ("out_of_memory", 2, 2, True),
        ("exception", 5, 1, False),
        ("cancelled", 5, 1, False),
        ("refused", 5, 1, False),
        ("node_failure", 0, 3, True),
        ("node_failure", 0, 4, False),
        ("preempted", 9, 4, False),
        ("interrupted", 0, 50, True),
    ],
)
def test_the_kind_and_number_of_failures_decide_whether_a_job_is_retried(kind, retries, n_failures, again):
    jobs = [job(JobState.FAILED, kind=kind, attempt=n + 1) for n in range(n_failures)]
    change = only(decide(run_with(CALL._replace(retries=retries), *jobs)))
    assert isinstance(change, AddJob) == again
    if not again:
        assert change.to is StepRunState.FAILED


@pytest.mark.parametrize(
    ("n_finished", "n_failed", "limit", "state"),
    [
        (9, 1, None, "succeeded"),
        (0, 10, None, "failed"),
        (9, 1, 0, "failed"),
        (9, 1, 1, "succeeded"),
        (9, 1, 0.1, "succeeded"),
        (8, 2, 0.1, "failed"),
        (10, 0, 0, "succeeded"),
        (0, 3, 1.0, "succeeded"),
        (0, 3, 3, "succeeded"),
        (0, 3, 0.9, "failed"),
    ],
)
def test_the_number_of_failed_experiments_decides_whether_a_batch_succeeds(n_finished, n_failed, limit, state):
    done = job(JobState.SUCCEEDED, role="batch", n_finished=n_finished, n_failed=n_failed)
    change = only(decide(run_with(BATCH._replace(max_failed=limit), done, n_tasks=1)))
    assert change.to == state
    assert (change.n_finished, change.n_failed) == (n_finished, n_failed)


def test_a_batch_that_leaves_experiments_open_has_not_succeeded(golden):
    done = job(JobState.SUCCEEDED, role="batch", tasks="0-2", n_finished=4, n_failed=1)
    run = run_with(BATCH, done, n_tasks=3)
    change = only(decide(run._replace(step_run=run.step_run._replace(n_experiments=7))))
    assert (change.to, change.n_finished, change.n_failed) == (StepRunState.FAILED, 4, 1)
    golden(change.why)


def test_a_failure_ends_the_run_unless_the_next_step_accepts_it(golden):
    failed = run_with(CALL, state=StepRunState.FAILED, after=[PlannedStep("1", "b")])
    failed = failed._replace(step_run=failed.step_run._replace(reason="no luck"))
    finish = decide(failed)
    assert finish == Finish(RunState.FAILED, finish.why)
    golden(finish.why)
    accepting = failed._replace(plan=Plan((CALL, PlannedStep("1", "b", dependency="afterany"))))
    assert only(decide(accepting)).position == 1
    last = failed._replace(plan=Plan((CALL,)))
    assert decide(last).to is RunState.FAILED


def test_steps_before_from_step_are_skipped_once_per_loop():
    plan = Plan((CALL, PlannedLoop("1", 50, (PlannedStep("1.0", "b"), PlannedStep("1.1", "c"))), PlannedStep("2", "d")))
    run, seen = Run("r", "s", plan, first_position=plan.start_of(2)), []
    while True:
        intent = decide(run)
        assert isinstance(intent, Record)
        run = reduce(apply, intent.changes, run)
        if run.step_run.state is StepRunState.ACTIVE:
            break
        if run.step_run.has_ended:
            seen.append(plan.slot(run.step_run.position).address)
    assert seen == ["a", "b@0", "c@0"]
    assert run.step_run.position == plan.start_of(2)


@pytest.mark.parametrize(("answer", "position"), [(True, 6), (False, 3), (None, 2)])
def test_the_answer_decides_whether_a_loop_continues(answer, position):
    until = PlannedStep("0.until", "until", kind="until")
    body = (PlannedStep("0.0", "a"), PlannedStep("0.1", "b"))
    plan = Plan((PlannedLoop("0", 2, body, until), PlannedStep("1", "end")))
    run = Run("r", "s", plan, step_run=StepRun(1, state=StepRunState.SUCCEEDED, until=answer))
    assert only(decide(run)).position == position


def test_cancelling_ends_jobs_first_then_records():
    live = run_with(CALL, job(JobState.RUNNING), cancel_requested=True)
    assert decide(live) == CancelJobs(("t",))
    ended = apply(live, MoveJob("t", JobState.CANCELLED, kind="cancelled"))
    change = only(decide(ended))
    assert change.to is StepRunState.CANCELLED
    assert decide(apply(ended, change)).to is RunState.CANCELLED
    planned = run_with(CALL, job(JobState.PLANNED), cancel_requested=True)
    assert [type(change) for change in decide(planned).changes] == [MoveJob, MoveStepRun]


def test_a_step_that_is_cancelled_keeps_the_count_of_what_it_did():
    done = job(JobState.SUCCEEDED, role="batch", tasks="0-2", n_finished=5, n_failed=1)
    stopped = job(JobState.CANCELLED, role="batch", batch=1, tasks="3-5", kind="cancelled", n_finished=2)
    change = only(decide(run_with(BATCH, done, stopped, n_tasks=6, cancel_requested=True)))
    assert (change.to, change.n_finished, change.n_failed) == (StepRunState.CANCELLED, 7, 1)


@pytest.mark.parametrize("stopped", [{"cancel_requested": True}, {"failing": "its orchestrator job was refused"}])
def test_a_finished_step_has_succeeded_though_the_run_is_cancelled_at_that_moment(stopped):
    called = run_with(CALL, job(JobState.SUCCEEDED, until=True), **stopped)
    assert only(decide(called)) == MoveStepRun(0, StepRunState.SUCCEEDED, until=True)
    done = job(JobState.SUCCEEDED, role="batch", tasks="0-2", n_finished=5, n_failed=1)
    evaluated = run_with(BATCH, done, n_tasks=3, **stopped)
    change = only(decide(evaluated))
    assert (change.to, change.n_finished, change.n_failed) == (StepRunState.SUCCEEDED, 5, 1)
    ended = apply(evaluated, change)
    assert isinstance(decide(ended), Finish)
    assert decide(ended).to is not RunState.SUCCEEDED
    # A resume starts after it.
    assert where_to_resume(ended._replace(state=RunState.CANCELLED), None) == 1


def test_a_running_job_is_waited_for():
    assert decide(run_with(CALL, job(JobState.RUNNING))) is None
    assert decide(run_with(CALL, job(JobState.PLANNED))) == Submit("t")
    assert decide(run_with(CALL, job(JobState.PLANNED))._replace(state=RunState.FAILED)) is None


def test_tokens_depend_only_on_the_records():
    assert token_for("salt", "step", 3, 0, 1) == token_for("salt", "step", 3, 0, 1)
    assert len({token_for("salt", "step", p, b, a) for p in range(9) for b in range(9) for a in range(9)}) == 729
    assert token_for("a", "step", 0, 0, 1) != token_for("b", "step", 0, 0, 1)
    assert len(token_for("salt", "step", 0, 0, 1)) == 10


# --- reconcile -----------------------------------------------------------------------------------


def seen(run, fact, now=1000.0, grace=90.0):
    changes = reconcile(run, Facts(now, grace, {"t": fact}))
    after = reduce(apply, changes, run)
    if fact.seen is not Seen.ABSENT:
        assert reconcile(after, Facts(now, grace, {"t": fact})) == []
    return after, changes


def receipt(succeeded=True, **fields):
    return ReceiptFact(succeeded, 10.0, 20.0, **fields)


def test_a_receipt_outweighs_what_the_scheduler_says():
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.RUNNING, receipts={0: receipt(n_finished=3)}))
    assert run.step_run.jobs[0].state is JobState.SUCCEEDED
    assert run.step_run.jobs[0].n_finished == 3


def test_without_an_answer_nothing_changes():
    assert seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.UNANSWERED))[1] == []


def test_absence_counts_after_two_answers_the_grace_apart(golden):
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.ABSENT), now=1000.0)
    assert run.step_run.jobs[0].doubt_since == 1000.0
    run, changes = seen(run, JobFact(Seen.ABSENT), now=1089.0)
    assert changes == []
    back, _ = seen(run, JobFact(Seen.RUNNING), now=1089.5)
    assert back.step_run.jobs[0].doubt is None
    run, _ = seen(run, JobFact(Seen.ABSENT), now=1090.0)
    assert run.step_run.jobs[0].state is JobState.LOST
    golden(run.step_run.jobs[0].reason)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUBMITTING])
def test_receipts_that_may_follow_are_awaited_and_the_failure_keeps_its_kind(state, golden):
    """On a shared file system a receipt appears late: that it is missing now proves nothing."""
    over = JobFact(Seen.OVER, "7", 10.0, 20.0, "timeout", failed_tasks={0: ("timeout", "its time was up")})
    late = over._replace(receipts_may_follow=True)
    run, _ = seen(run_with(CALL, job(state)), late, now=1000.0)
    assert not run.step_run.jobs[0].has_ended
    golden(why_poll_again(run))
    came, _ = seen(run, late._replace(receipts={0: receipt()}), now=1050.0)
    assert came.step_run.jobs[0].state is JobState.SUCCEEDED
    run, _ = seen(run, late, now=1090.0)
    assert (run.step_run.jobs[0].state, run.step_run.jobs[0].kind) == (JobState.FAILED, "timeout")
    assert run.step_run.jobs[0].reason == "its time was up"


LATE = JobFact(Seen.OVER, "7", kind="timeout", reason="ran 60 min of 60", receipts_may_follow=True)


@pytest.mark.parametrize(("first", "then"), [(LATE, JobFact(Seen.ABSENT)), (JobFact(Seen.ABSENT), LATE)])
def test_each_doubt_must_last_for_its_own_grace(first, then):
    run, _ = seen(run_with(CALL, job(JobState.RUNNING, scheduler_id="7")), first, now=1000.0)
    run, _ = seen(run, then, now=1095.0)
    assert (run.step_run.jobs[0].state, run.step_run.jobs[0].doubt_since) == (JobState.RUNNING, 1095.0)
    run, _ = seen(run, then, now=1185.0)
    assert run.step_run.jobs[0].has_ended


def test_a_submission_that_is_found_after_its_end_is_not_submitted_again():
    run, _ = seen(run_with(CALL, job(JobState.SUBMITTING)), LATE, now=1000.0)
    assert (run.step_run.jobs[0].state, run.step_run.jobs[0].scheduler_id) == (JobState.QUEUED, "7")
    for now in (1090.0, 1180.0):
        run, _ = seen(run, JobFact(Seen.ABSENT), now=now)
    assert run.step_run.jobs[0].state is JobState.LOST


def test_an_unknown_submission_is_planned_again_and_a_known_one_is_adopted():
    run = run_with(CALL, job(JobState.SUBMITTING))
    adopted, _ = seen(run, JobFact(Seen.QUEUED, "77"))
    assert (adopted.step_run.jobs[0].state, adopted.step_run.jobs[0].scheduler_id) == (JobState.QUEUED, "77")
    run, _ = seen(run, JobFact(Seen.ABSENT), now=1000.0)
    run, _ = seen(run, JobFact(Seen.ABSENT), now=1090.0)
    assert run.step_run.jobs[0].state is JobState.PLANNED
    assert run.step_run.jobs[0].token == "t"


def test_a_job_that_ended_without_a_receipt_has_failed_with_the_schedulers_reason():
    fact = JobFact(Seen.OVER, kind="timeout", reason="ran 60 min of 60")
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), fact)
    [ended] = run.step_run.jobs
    assert (ended.state, ended.kind, ended.reason, ended.failed_tasks) == ("failed", "timeout", "ran 60 min of 60", "0")


def test_each_failed_task_is_recorded_as_an_event_with_its_kind():
    batch = job(JobState.RUNNING, role="batch", tasks="0-3")
    receipts = {0: receipt(), 2: receipt(n_finished=1)}
    fact = JobFact(Seen.OVER, receipts=receipts, failed_tasks={1: ("out_of_memory", "used 5 of 4 GB")})
    run, changes = seen(run_with(BATCH, batch, n_tasks=4), fact)
    notes = [(note.task, note.detail["kind"]) for note in changes if isinstance(note, Note)]
    assert notes == [(1, "out_of_memory"), (3, "infrastructure")]
    assert run.step_run.jobs[0].failed_tasks == "1,3"


def test_failed_experiments_are_grouped_by_cause():
    failure = {"type": "ValueError", "message": "m", "traceback": "t", "rows": [1, 2], "n": 2}
    receipts = {0: receipt(failures=(failure,)), 1: receipt(failures=({**failure, "rows": [7], "n": 1},))}
    batch = job(JobState.RUNNING, role="batch", tasks="0-1")
    _, changes = seen(run_with(BATCH, batch, n_tasks=2), JobFact(Seen.OVER, receipts=receipts))
    [note] = [change for change in changes if isinstance(change, Note)]
    assert (note.why, note.detail["n"], note.detail["rows"]) == ("ValueError: m", 3, [1, 2, 7])


def test_of_two_submissions_the_one_that_runs_is_recorded():
    first = job(JobState.RUNNING)._replace(scheduler_id="77")
    run, changes = seen(run_with(CALL, first), JobFact(Seen.RUNNING, "99"))
    assert [change.scheduler_id for change in changes] == ["99"]
    assert run.step_run.jobs[0].scheduler_id == "99"


def test_a_requeued_job_waits_again():
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.QUEUED, "77"))
    assert run.step_run.jobs[0].state is JobState.QUEUED


def test_an_orchestrator_job_is_judged_by_no_receipt():
    orchestrator = Job("t", Role.ORCHESTRATOR, state=JobState.QUEUED, scheduler_id="5")
    run = Run("r", "s", Plan((CALL,)), orchestrators=(orchestrator,))
    after, changes = seen(run, JobFact(Seen.OVER))
    assert [change.to for change in changes] == [JobState.RUNNING, JobState.SUCCEEDED]
    assert after.orchestrators == ()


# --- rewind --------------------------------------------------------------------------------------


def test_resume_starts_at_the_failed_step():
    run = run_with(CALL, state=StepRunState.FAILED)
    ended = run._replace(state=RunState.FAILED)
    assert where_to_resume(run, None) is None
    assert where_to_resume(ended, 0) == 0
    assert where_to_resume(run._replace(state=RunState.SUCCEEDED), None) is None
    assert rewind(ended, 0, "resume") == [Withdraw(0, "resume"), MoveRun(RunState.ACTIVE, "resume")]


@pytest.mark.parametrize(
    ("state", "kind", "position"),
    [
        (JobState.LOST, "infrastructure", 0),
        (JobState.CANCELLED, "cancelled", 0),
        (JobState.FAILED, "timeout", 0),
        (JobState.FAILED, "exception", None),
        (JobState.FAILED, "refused", None),
        (JobState.CANCELLED, "interrupted", None),
        (JobState.SUCCEEDED, None, None),
        (JobState.RUNNING, None, None),
    ],
)
def test_resume_starts_at_a_step_whose_job_died_unseen(state, kind, position):
    assert where_to_resume(run_with(CALL, job(state, kind=kind)), None) == position


def test_a_step_with_a_live_job_is_not_reopened(golden):
    with golden.raises(Busy):
        rewind(run_with(CALL, job(JobState.RUNNING, scheduler_id="77")), 0, "resume")
    with golden.raises(DefinitionError):
        rewind(run_with(CALL, after=[CALL, CALL]), 2, "resume")


def test_an_open_step_is_cancelled_before_it_is_reopened():
    run = run_with(CALL, job(JobState.FAILED))
    assert rewind(run, 0, "why") == [MoveStepRun(0, StepRunState.CANCELLED, "why"), Withdraw(0, "why")]


def test_a_finished_open_step_has_succeeded_before_it_is_reopened():
    run = run_with(CALL, job(JobState.SUCCEEDED))
    assert rewind(run, 0, "why") == [MoveStepRun(0, StepRunState.SUCCEEDED), Withdraw(0, "why")]


@pytest.mark.parametrize("position", [0, 1])
def test_only_a_named_step_loses_its_finished_work(position):
    run = ended_at(Plan((CALL, CALL)), 0, run_state="failed")
    assert Withdraw(position, "why", forgets=True) in rewind(run, position, "why", forgets=True)
    assert all(not getattr(change, "forgets", False) for change in rewind(run, position, "why"))


# --- loops, and what follows a failure -----------------------------------------------------------

UNTIL = PlannedStep("0.until", "until", kind="until")


def ended_at(plan, position, state="succeeded", run_state="active", **fields):
    step_run = StepRun(
        position, state=StepRunState(state), reason=fields.pop("why", None), until=fields.pop("until", None)
    )
    return Run("r", "s", plan, RunState(run_state), step_run=step_run, **fields)


def nested():
    """Positions: a@0 0, b@0.0 1, b@0.1 3, c@0 5, until@0 6; a@1 7, ...; end 14. The inner loop does not use 2 and 4."""
    inner = PlannedLoop("0.1", 2, (PlannedStep("0.1.0", "b"),))
    body = (PlannedStep("0.0", "a"), inner, PlannedStep("0.2", "c"))
    return Plan((PlannedLoop("0", 2, body, UNTIL), PlannedStep("1", "end")))


def test_a_loop_that_ends_with_a_loop_asks_its_question_in_its_own_job():
    inner = PlannedLoop("0.1", 2, (PlannedStep("0.1.0", "b"),), UNTIL._replace(path="0.1.until"))
    plan = Plan((PlannedLoop("0", 2, (PlannedStep("0.0", "a"), inner), UNTIL), PlannedStep("1", "end")))
    slots = [plan.slot(position) for position in range(6)]
    assert [slot.address for slot in slots] == ["a@0", "b@0.0", "until@0.0", "b@0.1", "until@0.1", "until@0"]
    assert [slot.until and slot.until.path for slot in slots] == [None, "0.1.until", None, "0.1.until", None, None]
    # The inner loop is over early: the outer one's question follows.
    assert only(decide(ended_at(plan, 1, until=True))).position == 5
    assert only(decide(ended_at(plan, 5, until=True))).position == 12


def test_a_loop_without_iterations_has_no_positions():
    empty = PlannedLoop("0.1", 0, (PlannedStep("0.1.0", "b"),), UNTIL)
    plan = Plan((PlannedLoop("0", 2, (PlannedStep("0.0", "a"), empty), UNTIL), PlannedLoop("1", 0, (CALL,))))
    assert [plan.slot(position).address for position in range(plan.size)] == ["a@0", "until@0", "a@1", "until@1"]
    assert plan.slot(0).until == UNTIL
    assert plan.find("b") == 0
    assert Plan((PlannedLoop("0", 0, (CALL,)),)).find("a") is None


def test_every_step_of_a_skipped_loop_is_recorded_once():
    plan = nested()
    assert list(plan.first_pass()) == [0, 1, 5, 6, 14]
    run, seen = Run("r", "s", plan, first_position=plan.start_of(1)), []
    while (intent := decide(run)).changes[0] != MoveStepRun(14, StepRunState.ACTIVE):
        run = reduce(apply, intent.changes, run)
        seen += [plan.slot(run.step_run.position).address] if run.step_run.has_ended else []
    assert seen == ["a@0", "b@0.0", "c@0", "until@0"]


def test_afterany_ignores_a_failure_within_a_loop(golden):
    steps = (PlannedStep("0.0", "a"), PlannedStep("0.1", "b", dependency="afterany"))
    plan = Plan((PlannedLoop("0", 2, steps),))
    assert only(decide(ended_at(plan, 0, "failed"))).position == 1
    # The next iteration starts with a step that does not accept it.
    finish = decide(ended_at(plan, 1, "failed", why="no luck"))
    assert finish == Finish(RunState.FAILED, finish.why)
    golden(finish.why)


def test_a_skipped_step_is_not_a_failure():
    plan = Plan((BATCH, PlannedStep("1", "b")))
    assert only(decide(ended_at(plan, 0, "skipped"))).position == 1


def test_a_question_is_asked_also_after_a_skipped_last_step():
    plan = Plan((PlannedLoop("0", 2, (BATCH._replace(path="0.0"),), UNTIL),))
    assert only(decide(ended_at(plan, 0, "skipped"))) == AddStepRun(1, "0", "until", "until")


def test_ignored_failures_are_counted_at_the_end(golden):
    for n in (0, 1, 2):
        finish = decide(ended_at(Plan((CALL,)), 0, n_failed_step_runs=n))
        assert finish == Finish(RunState.SUCCEEDED, finish.why)
        golden(finish.why or "nothing", str(n))


def test_a_step_run_is_judged_by_the_last_attempt_of_each_batch(golden):
    first = job(JobState.FAILED, role="batch", tasks="0-2", kind="timeout", failed_tasks="1", n_finished=2)
    again = job(JobState.SUCCEEDED, role="batch", tasks="1", attempt=2, n_finished=1)
    assert only(decide(run_with(BATCH._replace(retries=1), first, again, n_tasks=3))).to is StepRunState.SUCCEEDED
    still = again._replace(state=JobState.FAILED, kind="timeout", failed_tasks="1", reason="60 of 60 min")
    change = only(decide(run_with(BATCH._replace(retries=1), first, still, n_tasks=3)))
    assert change.to is StepRunState.FAILED
    golden(change.why)


def test_retries_are_counted_for_each_batch():
    first = job(JobState.FAILED, role="batch", batch=0, tasks="0-2", kind="timeout", failed_tasks="0")
    fine = job(JobState.SUCCEEDED, role="batch", batch=0, tasks="0", attempt=2)
    second = job(JobState.FAILED, role="batch", batch=1, tasks="3-5", kind="timeout", failed_tasks="4")
    change = only(decide(run_with(BATCH._replace(retries=1), first, fine, second, n_tasks=6)))
    assert (change.batch, change.tasks) == (1, "4")


def test_a_step_that_has_not_started_is_cancelled():
    run = run_with(BATCH, state=StepRunState.PENDING, cancel_requested=True)
    assert only(decide(run)).to is StepRunState.CANCELLED


# --- several causes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "kind", "state"),
    [
        (("exception", "interrupted"), "interrupted", "cancelled"),
        (("infrastructure", "interrupted"), "interrupted", "cancelled"),
        (("exception", "node_failure"), "node_failure", "failed"),
        (("timeout", "preempted"), "preempted", "failed"),
        (("exception", "timeout"), "timeout", "failed"),
        (("cancelled", "out_of_memory"), "out_of_memory", "failed"),
        (("cancelled", "exception"), "exception", "failed"),
        (("cancelled", "cancelled"), "cancelled", "cancelled"),
    ],
)
def test_of_several_kinds_of_failure_the_one_that_is_retried_decides(kinds, kind, state):
    """Ctrl-C or a node failure after a task has failed: the other tasks are still retried."""
    batch = job(JobState.RUNNING, role="batch", tasks="0-1")
    failed = {task: (one, f"because of {one}") for task, one in enumerate(kinds)}
    run, _ = seen(run_with(BATCH, batch, n_tasks=2), JobFact(Seen.OVER, failed_tasks=failed))
    [ended] = run.step_run.jobs
    assert (ended.kind, ended.state, ended.reason, ended.failed_tasks) == (kind, state, f"because of {kind}", "0-1")


def test_a_job_that_was_cancelled_while_it_waited_never_ran():
    waiting = job(JobState.QUEUED, scheduler_id="77")
    _, changes = seen(run_with(CALL, waiting), JobFact(Seen.OVER, kind="cancelled", reason="by root", ended_at=5.0))
    assert [(change.to, change.at) for change in changes] == [(JobState.CANCELLED, 5.0)]
    _, changes = seen(run_with(CALL, waiting), JobFact(Seen.OVER, kind="cancelled", started_at=1.0, ended_at=5.0))
    assert [(change.to, change.at) for change in changes] == [(JobState.RUNNING, 1.0), (JobState.CANCELLED, 5.0)]


@pytest.mark.parametrize(
    ("n_receipts", "ended_at", "at"),
    [
        (1, 500.0, 500.0),  # the other task was killed later
        (1, 15.0, 20.0),  # the clock of the node is ahead
        (1, None, 20.0),
        (0, 500.0, 500.0),
        (2, 500.0, 20.0),  # the scheduler needs some time for the end of a job
    ],
)
def test_a_job_ends_with_its_last_task_also_if_that_left_no_receipt(n_receipts, ended_at, at):
    batch = job(JobState.RUNNING, role="batch", tasks="0-1")
    fact = JobFact(
        Seen.OVER, kind="timeout", ended_at=ended_at, receipts={task: receipt() for task in range(n_receipts)}
    )
    _, changes = seen(run_with(BATCH, batch, n_tasks=2), fact)
    assert [change.at for change in changes if isinstance(change, MoveJob)] == [at]


def test_a_submission_that_left_receipts_was_accepted():
    batch = job(JobState.SUBMITTING, role="batch", tasks="0-1")
    run, _ = seen(run_with(BATCH, batch, n_tasks=2), JobFact(Seen.ABSENT, receipts={0: receipt(n_finished=1)}), grace=0)
    [ended] = run.step_run.jobs
    assert (ended.state, ended.failed_tasks, ended.n_finished) == (JobState.LOST, "1", 1)


def test_a_receipt_of_failure_names_the_users_exception():
    bad = receipt(False, kind="exception", reason="ValueError: no")
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.RUNNING, receipts={0: bad}))
    [ended] = run.step_run.jobs
    assert (ended.state, ended.kind, ended.reason) == (JobState.FAILED, "exception", "ValueError: no")


def test_a_batch_does_not_end_with_a_part_of_its_receipts():
    batch = job(JobState.RUNNING, role="batch", tasks="0-1")
    assert seen(run_with(BATCH, batch, n_tasks=2), JobFact(Seen.RUNNING, receipts={0: receipt()}))[1] == []


def test_the_answer_of_a_question_is_read_from_its_receipt():
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.OVER, receipts={0: receipt(until=False)}))
    assert only(decide(run)).until is False


def test_a_job_without_facts_does_not_change():
    assert reconcile(run_with(CALL, job(JobState.RUNNING)), Facts(1.0, 90.0, {})) == []
    assert reconcile(run_with(CALL, job(JobState.PLANNED)), Facts(1.0, 90.0, {"t": JobFact(Seen.ABSENT)})) == []


# --- where to resume -----------------------------------------------------------------------------


def test_an_ignored_failure_stays_ignored_when_a_later_step_is_resumed():
    plan = Plan((CALL, PlannedStep("1", "b", dependency="afterany"), PlannedStep("2", "c")))
    assert where_to_resume(ended_at(plan, 2, "failed", "failed"), first_failed=0) == 2
    assert where_to_resume(ended_at(plan, 1, "succeeded", "cancelled"), first_failed=0) == 2
    assert where_to_resume(ended_at(plan, 2, "succeeded", "succeeded"), first_failed=0) == 0
    assert where_to_resume(Run("r", "s", plan, RunState.CANCELLED), None) == 0
    assert where_to_resume(ended_at(plan, 2, "failed", "active"), first_failed=0) is None


def test_a_step_that_never_ran_is_refused(golden):
    plan = nested()
    run = ended_at(plan, 14, "failed", "failed")
    with golden.raises(DefinitionError):
        rewind(run, 7, "why", valid={0, 1, 3, 5, 6, 14})
    assert rewind(run, 6, "why", valid={0, 1, 3, 5, 6, 14})[0] == Withdraw(6, "why")


def test_a_step_before_from_step_is_refused(golden):
    run = ended_at(Plan((CALL, PlannedStep("1", "b"))), 1, "succeeded", "succeeded", first_position=1)
    with golden.raises(DefinitionError):
        rewind(run, 0, "why")
    assert rewind(run._replace(step_run=None, state=RunState.CANCELLED), 0, "why") == [MoveRun(RunState.ACTIVE, "why")]


def test_resuming_after_a_failed_step_needs_a_step_that_accepts_it(golden):
    run = ended_at(Plan((CALL, PlannedStep("1", "b"))), 0, "failed", "failed")
    with golden.raises(DefinitionError):
        rewind(run, 1, "why")
    accepting = run._replace(plan=Plan((CALL, PlannedStep("1", "b", dependency="afterany"))))
    assert rewind(accepting, 1, "why") == [MoveRun(RunState.ACTIVE, "why")]


def test_changes_of_missing_records_are_bugs(golden):
    with golden.raises(ValueError):
        apply(run_with(CALL), RecordFreeze(3, 1, 1, 1))
    with golden.raises(ValueError):
        apply(run_with(CALL), RecordDoubt("x", None))
    assert apply(run_with(CALL), Note("what", "why")) == run_with(CALL)


def test_values_of_two_classes_are_never_equal():
    assert Submit("a") == Submit("a")
    assert hash(Submit("a")) == hash(Submit("a"))
    assert Submit("a") != Submit("b")
    assert Submit("a") != FailRun("a")
    assert FailRun("a") not in [Submit("a"), ("a",)]


STOPPED = ReceiptFact(False, 1.0, 2.0, n_failed=3, kind=FailureKind.STOPPED, reason="the batch was stopped")


def stopping(**fields):
    """Return a run with an array of four tasks that runs."""
    step = PlannedStep("0", "s", kind=StepKind.BATCH, abort_early=5)
    array = job(JobState.RUNNING, role=Role.BATCH, scheduler_id="7", tasks="0-3", **fields)
    run = run_with(step, array, n_tasks=4)
    return run._replace(step_run=run.step_run._replace(n_experiments=40, batch_size=4))


def test_the_waiting_tasks_of_a_step_that_stops_early_are_cancelled_once():
    run = stopping()
    assert decide(run) is None
    run, _ = seen(run, JobFact(Seen.RUNNING, "7", has_stopped=True))
    assert decide(run) == CancelWaiting("t")
    run = reduce(apply, waiting_cancelled("t"), run)
    assert decide(run) is None
    assert seen(run, JobFact(Seen.RUNNING, "7", has_stopped=True))[1] == []


@pytest.mark.parametrize("kind", [FailureKind.CANCELLED, FailureKind.INFRASTRUCTURE])
def test_a_task_that_was_cancelled_because_its_step_stops_is_not_to_blame(kind):
    run = stopping(stopping=Stopping.DONE)
    fact = JobFact(Seen.OVER, "7", kind=kind, reason="SLURM job 7 ended CANCELLED", receipts={0: STOPPED})
    run, changes = seen(run, fact)
    assert [type(change).__name__ for change in changes] == ["MoveJob"]
    assert (run.job("t").state, run.job("t").kind, run.job("t").failed_tasks) == ("failed", "stopped", "0-3")
    end = only(decide(run))
    assert (end.to, end.why) == (
        StepRunState.FAILED,
        "the first 3 experiments all failed with the same exception; 37 not evaluated",
    )
