"""Random histories: whatever fails or answers wrongly, at any time, a run ends, and no work is done twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import plans, used
from world import WakingWorld, World

from orchestrator.errors import DefinitionError
from orchestrator.machine.states import RunState, StepRunState

pytestmark = pytest.mark.slow

seeds = st.integers(0, 2**32)
ENDED = (RunState.SUCCEEDED, RunState.FAILED)


@settings(max_examples=3 * settings.default.max_examples)
@given(plans, seeds, st.sampled_from([0, 10, 30]))
def test_a_run_ends_and_nothing_runs_twice(plan, seed, trouble):
    world = World(plan, seed, trouble=trouble)
    run = world.live_until_it_ends()
    assert run.state in ENDED
    world.check()
    if run.state is RunState.FAILED:
        assert run.step_run.state is StepRunState.FAILED
        assert plan.slot(run.step_run.position).address in run.reason
    if trouble == 0 and not asks(plan):
        assert list(world.records.live) == used(plan)


@given(plans, seeds)
def test_a_run_that_failed_is_resumed_until_it_succeeds(plan, seed):
    """Work that succeeded before the failure is not repeated."""
    world = World(plan, seed)
    while world.live_until_it_ends().state is RunState.FAILED:
        stopped = world.run.step_run.position
        before = {position: step_run for position, step_run in world.records.live.items() if position < stopped}
        assert world.resume() == stopped
        assert before == world.records.live
        world.trouble = max(0, world.trouble - 1)
    world.check()
    assert world.run.state is RunState.SUCCEEDED
    flawed = world.records.first_failed
    assert world.resume() == flawed
    assert (world.run.state is RunState.ACTIVE) == (flawed is not None)


@given(plans, seeds, st.integers(0, 10))
def test_a_cancelled_run_stops_and_resumes_where_it_stopped(plan, seed, when):
    world = World(plan, seed)
    for _ in range(when):
        world.advance()
        world.pass_time()
    if world.run.state is not RunState.ACTIVE:
        return
    world.cancel()
    assert world.live_until_it_ends().state is RunState.CANCELLED
    world.check()
    assert world.run.live_jobs == ()
    world.resume()
    assert world.live_until_it_ends().state in ENDED
    world.check()


@given(plans, seeds, st.data())
def test_a_run_can_be_resumed_from_any_step_that_it_has_entered(plan, seed, data):
    world = World(plan, seed)
    world.live_until_it_ends()
    position = data.draw(st.integers(0, max(0, plan.size - 1)))
    was_there = position in world.records.live
    try:
        world.resume(position)
    except (DefinitionError, IndexError):
        assert not was_there
        return
    assert position not in world.records.live
    assert world.live_until_it_ends().state in ENDED
    world.check()
    if was_there:
        assert world.records.live[position].epoch == 1
        first = world.records.live[position].jobs[:1]
        old = [job.attempt for s in world.records.history for job in s.jobs if s.position == position]
        assert all(job.attempt > attempt for job in first for attempt in old)


@given(plans, seeds, st.data())
def test_steps_before_from_step_are_skipped(plan, seed, data):
    element = data.draw(st.integers(0, len(plan.elements) - 1))
    first = plan.start_of(element)
    world = World(plan, seed, trouble=0, first_position=first)
    world.live_until_it_ends()
    skipped = {p: s for p, s in world.records.live.items() if s.reason == "from_step"}
    assert list(skipped) == [position for position in plan.first_pass() if position < first]
    assert {step_run.state for step_run in skipped.values()} <= {StepRunState.SKIPPED}
    if not asks(plan):
        assert [p for p in world.records.live if p >= first] == [p for p in used(plan) if p >= first]


@settings(max_examples=2 * settings.default.max_examples)
@given(plans, seeds, st.sampled_from([0, 10, 30]), st.booleans())
def test_a_run_that_wakes_itself_ends_and_no_orchestrator_job_remains(plan, seed, trouble, has_tail):
    world = WakingWorld(plan, seed, trouble=trouble, has_tail=has_tail)
    run = world.live_until_it_ends()
    assert run.state in ENDED
    world.check()
    world.check_that_nobody_waits()
    if trouble == 0:
        assert world.n_resumes == 0


@given(plans, seeds, st.booleans(), st.integers(0, 20))
def test_a_run_ends_by_itself_as_soon_as_nothing_fails_any_more(plan, seed, has_tail, when):
    world = WakingWorld(plan, seed, trouble=30, has_tail=has_tail)
    world.advance()
    for _ in range(when):
        world.pass_time()
    world.trouble = 0
    world.live_until_it_ends()
    assert world.n_resumes <= 1
    world.check()
    world.check_that_nobody_waits()


@given(plans, seeds, st.booleans(), st.integers(0, 20))
def test_a_run_that_wakes_itself_can_be_cancelled_and_resumed(plan, seed, has_tail, when):
    world = WakingWorld(plan, seed, trouble=10, has_tail=has_tail)
    world.advance()
    for _ in range(when):
        world.pass_time()
    if world.run.state is not RunState.ACTIVE:
        return
    world.cancel()
    while world.run.state is RunState.ACTIVE:
        world.advance()
        world.now += 60
    assert world.run.state in (RunState.CANCELLED, *ENDED)
    while world.live:
        world.pass_time()
    world.check()
    world.resume()
    assert world.live_until_it_ends().state in ENDED
    world.check()
    world.check_that_nobody_waits()


def asks(plan):
    def inside(elements):
        return any(getattr(e, "until", None) or inside(getattr(e, "body", ())) for e in elements)

    return inside(plan.elements)
