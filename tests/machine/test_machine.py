"""What the pure machine decides: by example, and for ten thousands of histories by chance."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import Busy, DefinitionError
from orchestrator.indexes import format_indexes, parse_indexes
from orchestrator.machine.batches import Limits, batch_size, tasks_of, tasks_of_batch
from orchestrator.machine.changes import (
    AddJob,
    AddStepRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordFreeze,
    RecordJob,
    Withdraw,
    apply,
)
from orchestrator.machine.decide import CancelJobs, Finish, Freeze, Record, Submit, decide
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.model import Job, Run, StepRun, token_for
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.rewind import rewind, where_to_resume
from orchestrator.machine.states import MOVES, FailureKind, JobState, RunState, StepRunState, may_move

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
                if element.until is not None:
                    yield "until", inner


names = st.integers(0, 9).map(lambda n: f"step{n}")
steps = st.builds(
    PlannedStep,
    path=st.uuids().map(str),
    name=names,
    kind=st.sampled_from(["call", "batch"]),
    parallel=st.just(True),
    dependency=st.sampled_from(["afterok", "afterok", "afterany"]),
    retries=st.integers(0, 2),
    resources=st.builds(lambda n: {"max_array_size": n}, st.integers(1, 4)),
)
untils = st.none() | st.builds(PlannedStep, path=st.uuids().map(str), name=st.just("until"), kind=st.just("until"))


def loops(bodies):
    return st.builds(
        PlannedLoop,
        path=st.uuids().map(str),
        n_iterations=st.integers(0, 3),
        body=st.lists(bodies, min_size=1, max_size=3).map(tuple),
        until=untils,
    )


plans = st.lists(steps | loops(steps | loops(steps)), min_size=1, max_size=4).map(lambda e: Plan(tuple(e)))


@given(plans)
def test_positions_are_the_flattened_pipeline(plan):
    expected = list(flattened(plan.elements))
    found = [plan.slot(position) for position in range(plan.size)]
    assert [(slot.step.name, slot.iteration) for slot in found] == expected
    with pytest.raises(IndexError):
        plan.slot(plan.size)


@given(plans)
def test_a_plan_survives_json(plan):
    import json

    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(plans)
def test_an_address_leads_to_its_name_and_iteration(plan):
    for position in range(plan.size):
        slot = plan.slot(position)
        found = plan.slot(plan.find(slot.address))
        if slot.iteration:
            assert (found.step.name, found.iteration) == (slot.step.name, slot.iteration)
    assert plan.find("nobody") is None
    assert plan.find("step0@99") in (None, plan.find("step0"))


def test_a_bare_name_in_a_loop_means_the_whole_loop():
    plan = Plan((PlannedStep("0", "a"), PlannedLoop("1", 3, (PlannedStep("1.0", "b"), PlannedStep("1.1", "c")))))
    assert plan.find("c") == 1
    assert plan.find("c@2") == 6
    assert plan.slot(6).address == "c@2"


def test_a_million_iterations_cost_nothing_until_they_are_entered():
    plan = Plan((PlannedLoop("0", 10**6, (PlannedStep("0.0", "a"),)),))
    assert plan.size == 10**6
    assert plan.slot(999_999).iteration == "999999"


def test_who_may_answer_the_question():
    until = PlannedStep("0.until", "until", kind="until")
    plan = Plan((PlannedLoop("0", 2, (PlannedStep("0.0", "a"), PlannedStep("0.1", "b")), until),))
    assert [plan.slot(position).until for position in range(3)] == [None, until, None]
    assert [plan.slot(position).loop_end for position in range(3)] == [6, 6, 6]


# --- indexes and batches -------------------------------------------------------------------------


@given(st.sets(st.integers(0, 60)))
def test_index_lists(indexes):
    assert parse_indexes(format_indexes(indexes)) == sorted(indexes)


def test_index_lists_are_short():
    assert format_indexes([3, 0, 1, 2, 12, 12]) == "0-3,12"
    assert parse_indexes("") == []


@given(st.integers(0, 300), st.integers(1, 50))
def test_batches_cover_every_task_once(n_tasks, size):
    batches = [tasks_of_batch(batch, size, n_tasks) for batch in range(-(-n_tasks // size) + 1)]
    assert [task for batch in batches for task in batch] == list(range(n_tasks))
    assert len(batches[-1]) == 0


@pytest.mark.parametrize(
    ("n", "per_task", "size", "expected"), [(10, 1, 900, 10), (10, 3, 900, 4), (10, None, 4, 4), (3, None, 900, 3)]
)
def test_tasks_of_the_open_experiments(n, per_task, size, expected):
    step = PlannedStep(
        "0", "a", kind="batch", parallel=True, resources={"max_jobs_per_task": per_task, "max_array_size": size}
    )
    assert tasks_of(n, step, Limits()) == expected
    assert tasks_of(n, replace(step, parallel=False), Limits()) == 1
    assert tasks_of(0, replace(step, parallel=False), Limits()) == 0
    assert batch_size(step, Limits(tasks_at_once=2)) == 2


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


def test_moves_between_different_machines_are_none():
    assert may_move(RunState.ACTIVE, RunState.FAILED)
    assert not may_move(JobState.PLANNED, JobState.RUNNING)
    assert not may_move(RunState.ACTIVE, JobState.FAILED)
    with pytest.raises(ValueError, match="no arrow"):
        apply(Run("r", "", Plan(()), RunState.FAILED), MoveRun(RunState.SUCCEEDED))


# --- decide --------------------------------------------------------------------------------------

CALL = PlannedStep("0", "a")
BATCH = PlannedStep("0", "a", kind="batch", parallel=True, resources={"max_array_size": 3})


def run_with(step, *jobs, state=StepRunState.ACTIVE, n_tasks=None, after=(), **fields):
    plan = Plan((step, *after))
    step_run = StepRun(0, state=state, n_tasks=n_tasks, n_experiments=n_tasks, batch_size=3, jobs=jobs)
    return Run("r", "salt", plan, step_run=step_run, **fields)


def job(state, **fields):
    return Job("t", fields.pop("role", "step"), state=state, **fields)


def only(intent):
    assert isinstance(intent, Record)
    [change] = intent.changes
    return change


def test_a_new_run_enters_its_first_position():
    assert only(decide(Run("r", "s", Plan((CALL,))))) == AddStepRun(0, "", "a", "call")


def test_an_empty_plan_is_done():
    assert decide(Run("r", "s", Plan(()))) == Finish(RunState.SUCCEEDED, None)


def test_a_batch_is_frozen_before_it_is_submitted():
    run = run_with(BATCH, state=StepRunState.PENDING)
    assert decide(run) == Freeze(0)
    run = apply(run, RecordFreeze(0, 7, 7, 3))
    intent = decide(run)
    assert intent.changes[0] == MoveStepRun(0, StepRunState.ACTIVE)
    assert (intent.changes[1].tasks, intent.changes[1].n_tasks) == ("0-2", 3)


def test_no_open_experiments_is_an_explicit_skip():
    run = apply(run_with(BATCH, state=StepRunState.PENDING), RecordFreeze(0, 0, 0, 3))
    assert only(decide(run)) == MoveStepRun(0, StepRunState.SKIPPED, "no open experiments")


def test_batches_follow_each_other_also_after_a_failed_task():
    failed = job(JobState.FAILED, role="batch", tasks="0-2", kind="timeout", failed_tasks="1")
    change = only(decide(run_with(BATCH, failed, n_tasks=7)))
    assert (change.batch, change.tasks) == (1, "3-5")


def test_a_retry_holds_only_the_tasks_that_need_it():
    failed = job(JobState.FAILED, role="batch", tasks="0-2", kind="timeout", failed_tasks="1", attempt=4)
    change = only(decide(run_with(replace(BATCH, retries=1), failed, n_tasks=7)))
    assert (change.batch, change.tasks, change.attempt, change.why) == (0, "1", 5, "again after timeout")


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
def test_which_failures_are_tried_again(kind, retries, n_failures, again):
    jobs = [job(JobState.FAILED, kind=kind, attempt=n + 1) for n in range(n_failures)]
    change = only(decide(run_with(replace(CALL, retries=retries), *jobs)))
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
    ],
)
def test_how_a_batch_is_judged(n_finished, n_failed, limit, state):
    done = job(JobState.SUCCEEDED, role="batch", n_finished=n_finished, n_failed=n_failed)
    change = only(decide(run_with(replace(BATCH, max_failed=limit), done, n_tasks=1)))
    assert change.to == state
    assert (change.n_finished, change.n_failed) == (n_finished, n_failed)


def test_a_failure_ends_the_run_unless_the_next_step_bears_it():
    failed = run_with(CALL, state=StepRunState.FAILED, after=[PlannedStep("1", "b")])
    failed = replace(failed, step_run=replace(failed.step_run, reason="no luck"))
    assert decide(failed) == Finish(RunState.FAILED, "step a failed: no luck")
    bears = replace(failed, plan=Plan((CALL, PlannedStep("1", "b", dependency="afterany"))))
    assert only(decide(bears)).position == 1
    last = replace(failed, plan=Plan((CALL,)))
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
        if run.step_run.ended:
            seen.append(plan.slot(run.step_run.position).address)
    assert seen == ["a", "b@0", "c@0"]
    assert run.step_run.position == plan.start_of(2)


@pytest.mark.parametrize(("answer", "position"), [(True, 6), (False, 3), (None, 2)])
def test_what_the_loop_answered(answer, position):
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


def test_what_waits_is_waited_for():
    assert decide(run_with(CALL, job(JobState.RUNNING))) is None
    assert decide(run_with(CALL, job(JobState.PLANNED))) == Submit("t")
    assert decide(replace(run_with(CALL, job(JobState.PLANNED)), state=RunState.FAILED)) is None


def test_tokens_are_the_same_for_whoever_decides_again():
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


def test_no_answer_concludes_nothing():
    assert seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.UNANSWERED))[1] == []


def test_absence_counts_after_two_answers_the_grace_apart():
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.ABSENT), now=1000.0)
    assert run.step_run.jobs[0].absent_since == 1000.0
    run, changes = seen(run, JobFact(Seen.ABSENT), now=1089.0)
    assert changes == []
    back, _ = seen(run, JobFact(Seen.RUNNING), now=1089.5)
    assert back.step_run.jobs[0].absent_since is None
    run, _ = seen(run, JobFact(Seen.ABSENT), now=1090.0)
    assert run.step_run.jobs[0].state is JobState.LOST
    assert "does not know the job" in run.step_run.jobs[0].reason


def test_an_intent_that_never_arrived_is_planned_again_and_one_that_did_is_adopted():
    run = run_with(CALL, job(JobState.SUBMITTING))
    adopted, _ = seen(run, JobFact(Seen.QUEUED, "77"))
    assert (adopted.step_run.jobs[0].state, adopted.step_run.jobs[0].scheduler_id) == (JobState.QUEUED, "77")
    run, _ = seen(run, JobFact(Seen.ABSENT), now=1000.0)
    run, _ = seen(run, JobFact(Seen.ABSENT), now=1090.0)
    assert run.step_run.jobs[0].state is JobState.PLANNED
    assert run.step_run.jobs[0].token == "t"


def test_over_without_a_receipt_is_a_failure_with_the_schedulers_reason():
    fact = JobFact(Seen.OVER, kind="timeout", reason="ran 60 min of 60")
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), fact)
    [ended] = run.step_run.jobs
    assert (ended.state, ended.kind, ended.reason, ended.failed_tasks) == ("failed", "timeout", "ran 60 min of 60", "0")


def test_each_task_that_failed_is_an_event_with_its_kind():
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


def test_a_requeued_job_waits_again():
    run, _ = seen(run_with(CALL, job(JobState.RUNNING)), JobFact(Seen.QUEUED, "77"))
    assert run.step_run.jobs[0].state is JobState.QUEUED


def test_an_orchestrator_job_is_judged_by_no_receipt():
    orchestrator = Job("t", "orchestrator", state=JobState.QUEUED, scheduler_id="5")
    run = Run("r", "s", Plan((CALL,)), orchestrators=(orchestrator,))
    after, _ = seen(run, JobFact(Seen.OVER))
    assert after.orchestrators[0].state is JobState.SUCCEEDED


# --- rewind --------------------------------------------------------------------------------------


def test_resume_begins_where_it_failed():
    run = run_with(CALL, state=StepRunState.FAILED)
    ended = replace(run, state=RunState.FAILED)
    assert where_to_resume(run, None) is None
    assert where_to_resume(ended, 0) == 0
    assert where_to_resume(replace(run, state=RunState.SUCCEEDED), None) is None
    assert rewind(ended, 0, "resume") == [Withdraw(0, "resume"), MoveRun(RunState.ACTIVE, "resume")]


def test_what_lives_is_not_put_back():
    with pytest.raises(Busy, match="still has live jobs"):
        rewind(run_with(CALL, job(JobState.RUNNING, scheduler_id="77")), 0, "resume")
    with pytest.raises(DefinitionError, match="has not come as far as"):
        rewind(run_with(CALL, after=[CALL, CALL]), 2, "resume")


def test_an_open_step_is_cancelled_before_it_is_put_back():
    run = run_with(CALL, job(JobState.FAILED))
    assert rewind(run, 0, "why") == [MoveStepRun(0, StepRunState.CANCELLED, "why"), Withdraw(0, "why")]


# --- histories by chance -------------------------------------------------------------------------


class World:
    """A cluster whose answers, failures and crashes are drawn by chance; the records are a value."""

    def __init__(self, plan, chance):
        self.run = Run("r", "salt", plan)
        self.chance = chance
        self.now = 0.0
        self.known: dict[str, str] = {}  # token -> queued, running, over
        self.receipts: dict[str, dict[int, ReceiptFact]] = {}
        self.ran: dict[tuple[str, int], int] = {}
        self.entered: list[int] = []

    def draw(self, percent):
        return self.chance.randrange(100) < percent

    def record(self, changes):
        for change in changes:
            self.run = apply(self.run, change)
            if isinstance(change, AddStepRun):
                self.entered.append(change.position)
            if isinstance(change, MoveStepRun) and change.to is StepRunState.SUCCEEDED:
                self.check_succeeded()

    def check_succeeded(self):
        """Every task of a step run that succeeded has left a receipt of success in some attempt."""
        step_run = self.run.step_run
        tasks = {(job.batch, task) for job in step_run.jobs for task in parse_indexes(job.tasks)}
        good = {
            (job.batch, task)
            for job in step_run.jobs
            for task, found in self.receipts.get(job.token, {}).items()
            if found.succeeded
        }
        assert tasks <= good
        if step_run.n_tasks is not None:
            assert {task for _, task in tasks} == set(range(step_run.n_tasks))

    def facts(self):
        jobs = {}
        for job in self.run.live_jobs:
            answer = self.known.get(job.token, "absent")
            if self.draw(10):
                answer = self.chance.choice(["absent", "unanswered"])
            receipts = self.receipts.get(job.token, {}) if answer == "over" or self.draw(50) else {}
            kind = "infrastructure" if answer == "over" else None
            jobs[job.token] = JobFact(Seen(answer), "77", receipts=receipts, kind=kind, reason="why")
        return Facts(self.now, 90.0, jobs)

    def advance(self):
        """One advance; it may die before any commit, and after the effect of any intent."""
        self.record(reconcile(self.run, self.facts()))
        while (intent := decide(self.run)) is not None:
            assert decide(self.run) == intent
            if self.draw(5):
                return  # it dies before it does it
            match intent:
                case Record(changes):
                    self.record(changes)
                case Freeze(position):
                    n = self.chance.randrange(6)
                    self.record([RecordFreeze(position, n, n, self.size(position))])
                case Submit(token):
                    self.record([MoveJob(token, JobState.SUBMITTING)])
                    if self.draw(10):
                        return  # it dies before sbatch
                    assert self.known.setdefault(token, "queued") == "queued"
                    if self.draw(10):
                        return  # it dies after sbatch
                    self.record([MoveJob(token, JobState.QUEUED, scheduler_id="77")])
                case Finish(to, why):
                    self.record([MoveRun(to, why)])
                case CancelJobs():
                    raise AssertionError("nobody asked")

    def size(self, position):
        return self.run.plan.slot(position).step.resources["max_array_size"]

    def pass_time(self):
        self.now += 60.0
        for token, state in self.known.items():
            if state == "queued":
                self.execute(token)
                self.known[token] = "over"

    def execute(self, token):
        job = next((job for job in self.run.live_jobs if job.token == token), None)
        assert job is not None, "a job ran whose row had ended"
        left = {}
        for task in parse_indexes(job.tasks):
            self.ran[token, task] = self.ran.get((token, task), 0) + 1
            if not self.draw(10):
                good = not self.draw(5)
                left[task] = ReceiptFact(good, self.now, self.now, n_finished=1, reason=None if good else "it raised")
        self.receipts[token] = left


@settings(max_examples=500, deadline=None)
@given(plans, st.integers(0, 2**32))
def test_whatever_happens_the_run_ends_and_nothing_runs_twice(plan, seed):
    for offset in range(20):
        live_through(plan, random.Random(seed + offset))


def live_through(plan, chance):
    world = World(plan, chance)
    for _ in range(3000):
        world.advance()
        if world.run.state is not RunState.ACTIVE:
            break
        world.pass_time()
    assert world.run.state in (RunState.SUCCEEDED, RunState.FAILED)
    assert set(world.ran.values()) <= {1}
    assert world.entered == sorted(set(world.entered))
    if world.run.state is RunState.SUCCEEDED and not any(e.until for e in plan.elements if hasattr(e, "until")):
        assert world.run.live_jobs == ()


def test_kinds_of_failure_that_count_are_kinds():
    assert {str(kind) for kind in FailureKind} >= {"refused", "interrupted", "exception"}
    assert isinstance(RecordJob("t", None), RecordJob)
