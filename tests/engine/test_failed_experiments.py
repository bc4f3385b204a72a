"""Failed experiments of a step: how many may fail, and what follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Pipeline, Step, datagenerator
from orchestrator.engine import commands
from orchestrator.errors import RunFailed
from orchestrator.workspace import Workspace
from tests.studies import store_numbers


@datagenerator(output_names="y")
def every_tenth_fails(x):
    with Path("evaluated").open("a") as file:
        file.write(f"{x:g}\n")
    if x % 10 == 3:
        raise ValueError("stiffness too large")
    return x


def note(project_dir):
    with Path("noted").open("a") as file:
        file.write("x")


def study(n, limit):
    return Pipeline(steps=[Step(store_numbers(n)), Step(every_tenth_fails, name="solve", max_failed=limit), Step(note)])


def evaluated(workspace):
    path = workspace / "evaluated"
    numbers = [int(line) for line in path.read_text().split()]
    path.unlink()
    return sorted(numbers)


COUNTS = "SELECT state, n_finished, n_failed FROM step_run WHERE name = 'solve' AND withdrawn_at IS NULL"


def test_a_step_is_judged_on_all_its_experiments_when_max_failed_is_raised(workspace, rows):
    with pytest.raises(RunFailed):
        study(40, 3).run(project_job="r")
    evaluated(workspace)
    # The four fail again; alone they would be every experiment.
    study(40, 4).run(project_job="r")
    assert evaluated(workspace) == [3, 13, 23, 33]
    assert rows(COUNTS) == [("succeeded", 36, 4)]
    assert rows("SELECT state FROM run") == ["succeeded"]


def test_experiments_that_fail_again_do_not_end_a_run_that_had_succeeded(workspace, rows):
    study(20, 0.1).run(project_job="r")
    evaluated(workspace)
    commands.resume(Workspace.at(workspace), "r", from_step="solve")
    assert evaluated(workspace) == [3, 13]
    assert rows(COUNTS) == [("succeeded", 18, 2)]
    assert rows("SELECT state FROM run") == ["succeeded"]


def test_all_experiments_may_fail_if_max_failed_says_so(workspace, rows):
    @datagenerator(output_names="y")
    def all_fail(x):
        raise ValueError("not feasible")

    Pipeline(steps=[Step(store_numbers(3)), Step(all_fail, name="solve", max_failed=1.0)]).run()
    assert rows(COUNTS) == [("succeeded", 0, 3)]
