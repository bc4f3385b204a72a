"""Random plans, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep


def planned_step(**fields):
    """Leave fields that are not given at their defaults; hypothesis would generate all fields of a NamedTuple."""
    return PlannedStep(**fields)


names = st.integers(0, 9).map(lambda n: f"step{n}")
steps = st.builds(
    planned_step,
    path=st.uuids().map(str),
    name=names,
    kind=st.sampled_from(["call", "batch"]),
    collects=st.sampled_from([False, False, False, True]),
    parallel=st.booleans(),
    dependency=st.sampled_from(["afterok", "afterok", "afterany"]),
    max_failed=st.sampled_from([None, 0, 1, 0.5]),
    retries=st.integers(0, 2),
    resources=st.builds(lambda n: {"max_array_size": n}, st.integers(1, 4)),
)
untils = st.none() | st.builds(planned_step, path=st.uuids().map(str), name=st.just("until"), kind=st.just("until"))


def used(plan):
    """Return the positions that can have a step run: not those of an `until` that a loop does not have."""
    return [position for position in range(plan.size) if plan.slot(position).is_used]


def loops(bodies):
    return st.builds(
        PlannedLoop,
        path=st.uuids().map(str),
        n_iterations=st.integers(0, 3),
        body=st.lists(bodies, min_size=1, max_size=3).map(tuple),
        until=untils,
    )


plans = st.lists(steps | loops(steps | loops(steps)), min_size=1, max_size=4).map(lambda e: Plan(tuple(e)))
