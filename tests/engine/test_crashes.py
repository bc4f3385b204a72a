"""The process that advances is killed once at every commit, scheduler call and rename; the run has the same result.

On a cluster in memory, behind the scheduler for SLURM, where every advance also runs twice; and on this machine.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.engine.cluster import orchestrate
from orchestrator.engine.commands import begin_of
from tests.engine.boundaries import Boundaries, empty, sweep
from tests.engine.crashing_study import EACH_ONCE, EVALUATED, KEY, TABLE, Records, new_run, pipeline, records, table
from tests.engine.drive import by_itself, on_this_machine

N_PARTS = 4
"""A sweep is divided into parts, which several processes can share."""

in_parts = pytest.mark.parametrize(
    "part", [(k, N_PARTS) for k in range(1, N_PARTS + 1)], ids=[f"part {k} of {N_PARTS}" for k in range(1, N_PARTS + 1)]
)


class Outcome(NamedTuple):
    """The result of a run."""

    records: Records
    table: list[tuple[float, float]]
    evaluated: Counter[float]
    times_ran: frozenset[int] = frozenset({1})
    most_waiting: int = 0
    n_resumes: int = 0


def outcome(workspace: Path, **of_cluster) -> Outcome:
    return Outcome(records(workspace), table(workspace), Counter(EVALUATED), **of_cluster)


def is_as_it_would_have_been(one: Outcome, expected: Outcome, *, compared: int = 3) -> None:
    assert one.table == TABLE
    assert one.evaluated == EACH_ONCE
    assert one.records[:compared] == expected.records[:compared]
    assert one.times_ran == {1}


@in_parts
@pytest.mark.slow
def test_a_run_on_this_machine_survives_a_kill_at_every_boundary(workspace, monkeypatch, part, record_property):
    def run(boundaries: Boundaries) -> Outcome:
        on_this_machine(new_run(workspace, pipeline(is_parallel=False)), boundaries)
        return outcome(workspace)

    def check(one: Outcome, expected: Outcome) -> None:
        # A job that died with this process is replaced by another job.
        is_as_it_would_have_been(one, expected, compared=2)

    swept = sweep(workspace, monkeypatch, run, check, part)
    record_property("deaths", swept.n_deaths)
    assert swept.n_boundaries >= 116


@in_parts
@pytest.mark.parametrize(
    ("has_tail", "at_least"), [(True, 130), (False, 193)], ids=["both wake", "only the orchestrator wakes"]
)
@pytest.mark.slow
def test_a_run_that_wakes_itself_survives_a_kill_at_every_boundary(
    workspace, monkeypatch, has_tail, at_least, part, record_property
):
    advance = orchestrate.advance

    def twice(context):
        advance(context)
        return advance(context)

    monkeypatch.setattr(orchestrate, "advance", twice)

    def run(boundaries: Boundaries) -> Outcome:
        slurm, n_resumes = by_itself(new_run(workspace, pipeline(), "slurm"), boundaries, has_tail=has_tail)
        ran, waiting = frozenset(slurm.ran.values()), slurm.most_waiting
        return outcome(workspace, times_ran=ran, most_waiting=waiting, n_resumes=n_resumes)

    def check(one: Outcome, expected: Outcome) -> None:
        assert (expected.records.runs, expected.n_resumes) == ([("succeeded", None)], 0)
        is_as_it_would_have_been(one, expected)
        assert one.n_resumes <= 1
        assert one.most_waiting <= 1

    swept = sweep(workspace, monkeypatch, run, check, part)
    record_property("deaths", swept.n_deaths)
    assert swept.n_boundaries >= at_least


@in_parts
@pytest.mark.slow
def test_a_run_that_goes_back_to_a_table_of_then_survives_a_kill_at_every_boundary(
    workspace, monkeypatch, part, record_property
):
    def run(boundaries: Boundaries) -> Outcome:
        new = new_run(workspace, pipeline(is_parallel=False))
        on_this_machine(new)
        EVALUATED.clear()
        place = new.store.workspace
        on_this_machine(new, boundaries, begin=lambda: begin_of(place, KEY, None, "grow@0", puts_back=True))
        return outcome(workspace)

    def check(one: Outcome, expected: Outcome) -> None:
        assert one.table == TABLE
        assert one.evaluated == {x: 1 for x in EACH_ONCE if x >= 100.0}
        assert one.records[:1] == expected.records[:1]

    swept = sweep(workspace, monkeypatch, run, check, part)
    record_property("deaths", swept.n_deaths)
    assert swept.n_boundaries >= 60


@in_parts
@pytest.mark.slow
def test_a_run_that_is_held_and_released_survives_a_kill_at_every_boundary(
    workspace, monkeypatch, part, record_property
):
    """Until it is released; from then on it is a run that wakes itself."""

    def run(boundaries: Boundaries) -> Outcome:
        slurm, n_resumes = by_itself(new_run(workspace, pipeline(), "slurm"), boundaries, has_tail=True, is_held=True)
        ran, waiting = frozenset(slurm.ran.values()), slurm.most_waiting
        return outcome(workspace, times_ran=ran, most_waiting=waiting, n_resumes=n_resumes)

    def check(one: Outcome, expected: Outcome) -> None:
        assert (expected.records.runs, expected.n_resumes) == ([("succeeded", None)], 0)
        is_as_it_would_have_been(one, expected)
        assert one.n_resumes <= 1

    swept = sweep(workspace, monkeypatch, run, check, part)
    record_property("deaths", swept.n_deaths)
    assert swept.n_boundaries >= 79


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_survives_a_cluster_that_refuses_does_not_answer_and_accepts_jobs_twice(workspace, monkeypatch, request):
    """The run has the same result, though the user may have to resume it more than once."""
    expected = None
    for seed in range(request.config.getoption("--examples") // 10 + 1):
        with monkeypatch.context() as patch:
            lies = random.Random(seed) if seed else None
            new = new_run(workspace, pipeline(), "slurm")
            slurm, _ = by_itself(new, Boundaries(patch), has_tail=seed % 2 == 0, lies=lies)
            one = outcome(workspace, times_ran=frozenset(slurm.ran.values()))
            expected = expected or one
            try:
                is_as_it_would_have_been(one, expected)
            except AssertionError as error:
                raise AssertionError(f"lies of seed {seed}") from error
        empty(workspace)
