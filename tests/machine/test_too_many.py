"""With how many failed experiments a step stops."""

from __future__ import annotations

import pytest

from orchestrator.machine.model import StepRun
from orchestrator.machine.plan import PlannedStep
from orchestrator.machine.too_many import stop_after, stop_if_first_fail, too_many_failed


@pytest.mark.parametrize(
    ("limit", "n", "expected"),
    [
        (None, 100, None),
        (0, 100, 1),
        (10, 100, 11),
        (100, 100, None),
        (0.1, 100, 11),
        (0.29, 100, 30),
        (1.0, 100, None),
        (0.0, 5, 1),
    ],
)
def test_a_step_stops_with_the_first_failure_that_exceeds_max_failed(limit, n, expected):
    step = PlannedStep("0", "s", max_failed=limit)
    assert stop_after(StepRun(0, n_experiments=n), step) == expected
    if expected is not None:
        assert too_many_failed(limit, 0, expected, n) is not None
        assert too_many_failed(limit, n - expected + 1, expected - 1, n) is None


def test_experiments_of_earlier_attempts_count():
    step = PlannedStep("0", "s", max_failed=10, abort_early=5)
    before = StepRun(0, n_experiments=20, n_finished_before=180, n_failed_before=4)
    assert stop_after(before, step) == 7
    assert stop_if_first_fail(before, step) is None
    assert stop_after(before._replace(accepts_failed=True), step) is None


@pytest.mark.parametrize(
    ("first", "limit", "expected"),
    [(5, None, 5), (None, None, None), (5, 0.5, 5), (5, 1.0, None), (5, 4, 5), (5, 5, None), (3, 2, 3)],
)
def test_the_first_experiments_may_fail_if_max_failed_allows_so_many(first, limit, expected):
    step = PlannedStep("0", "s", max_failed=limit, abort_early=first)
    assert stop_if_first_fail(StepRun(0, n_experiments=100), step) == expected
