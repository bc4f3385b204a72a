"""Where a run goes on: past skipped loops, after failures that were passed over, and not where it has never been."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import pytest

from orchestrator.errors import DefinitionError
from orchestrator.machine.changes import Withdraw, apply
from orchestrator.machine.decide import decide
from orchestrator.machine.facts import Facts, JobFact, Seen
from orchestrator.machine.model import Job, Run, StepRun
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.rewind import rewind, where_to_resume
from orchestrator.machine.states import JobState, RunState, StepRunState

A, B, C = PlannedStep("0", "a"), PlannedStep("1", "b", dependency="afterany"), PlannedStep("2", "c")


def test_skipped_steps_of_nested_loops_are_recorded_once():
    inner = PlannedLoop("0.1", 4, (PlannedStep("0.1.0", "inner"),))
    plan = Plan((PlannedLoop("0", 5, (PlannedStep("0.0", "outer"), inner, PlannedStep("0.2", "last"))), A))
    run, seen = Run("r", "s", plan, first_position=plan.start_of(1)), []
    while run.step_run is None or run.step_run.state is not StepRunState.ACTIVE:
        run = reduce(apply, decide(run).changes, run)
        if run.step_run.state is StepRunState.SKIPPED:
            seen.append(plan.slot(run.step_run.position).address)
    assert seen == ["outer@0", "inner@0.0", "last@0"]
    assert run.step_run.position == plan.start_of(1)


def test_a_failure_that_was_passed_over_stays_so_until_the_run_has_come_to_its_end():
    run = Run("r", "s", Plan((A, B, C)), RunState.FAILED, step_run=StepRun(2, state=StepRunState.FAILED))
    assert where_to_resume(run, 0) == 2
    ended = replace(run, state=RunState.SUCCEEDED, step_run=StepRun(2, state=StepRunState.SUCCEEDED))
    assert where_to_resume(ended, 0) == 0


def test_a_place_that_is_no_part_of_the_run_is_refused():
    run = Run("r", "s", Plan((A, B, C)), RunState.SUCCEEDED, 1, step_run=StepRun(2, state=StepRunState.SUCCEEDED))
    with pytest.raises(DefinitionError, match="was begun with from_step at b; a is not part of it"):
        rewind(run, 0, "why")
    assert rewind(run, 1, "why")[0] == Withdraw(1, "why")
    with pytest.raises(DefinitionError, match="never ran b"):
        rewind(run, 1, "why", recorded={0, 2})


def test_the_kind_that_is_tried_again_speaks_for_a_job_whose_tasks_failed_in_several_ways():
    job = Job("t", "batch", tasks="0-1", state=JobState.RUNNING, scheduler_id="7")
    batch = PlannedStep("0", "a", kind="batch", parallel=True)
    step_run = StepRun(0, state=StepRunState.ACTIVE, n_tasks=2, batch_size=2, jobs=(job,))
    failed = {0: ("exception", "it raised"), 1: ("node_failure", "the node died")}
    facts = Facts(0.0, 0.0, {"t": JobFact(Seen.OVER, failed_tasks=failed)})
    changes = reconcile(Run("r", "s", Plan((batch,)), step_run=step_run), facts)
    assert (changes[-1].kind, changes[-1].why, changes[-1].failed_tasks) == ("node_failure", "the node died", "0-1")


def test_a_job_that_was_cancelled_while_it_waited_has_never_run():
    job = Job("t", "step", state=JobState.QUEUED, scheduler_id="7")
    run = Run("r", "s", Plan((A,)), step_run=StepRun(0, state=StepRunState.ACTIVE, jobs=(job,)))
    fact = JobFact(Seen.OVER, kind="cancelled", reason="cancelled by the user")
    assert [change.to for change in reconcile(run, Facts(0.0, 0.0, {"t": fact}))] == [JobState.CANCELLED]
