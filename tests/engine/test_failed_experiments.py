"""Failed experiments of a step: how many may fail, and what follows from them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator import Block, ExperimentData, Loop, Pipeline, Step, datagenerator
from orchestrator.db import moves
from orchestrator.db.status import run_status
from orchestrator.engine import commands
from orchestrator.errors import DefinitionError, RunFailed
from orchestrator.workspace import Workspace
from tests.studies import store_numbers

pytestmark = pytest.mark.slow


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
    # The four fail again; with the six that the stop had left open they would be too many.
    study(40, 4).run(project_job="r")
    assert evaluated(workspace) == [3, 13, 23, *range(33, 40)]
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


# --- retry and accept ----------------------------------------------------------------------------


@datagenerator(output_names="y")
def needs_licence(x, iteration):
    with Path("evaluated").open("a") as file:
        file.write(f"{x:g}\n")
    if x % 5 == 3 and not Path("licence").exists():
        raise RuntimeError("no licence")
    return x + 100 * iteration


class Add(Block):
    """Add two experiments; a second call would add others."""

    def call(self, data, iteration):
        with Path("added").open("a") as file:
            file.write(f"{iteration}\n")
        first = 10.0 * (iteration + 1)
        inputs = [{"x": first + 2}, {"x": first + 3}]
        return data + ExperimentData(domain=data.domain, input_data=inputs)


def search(**fields):
    step = Step(needs_licence, name="evaluate", **fields)
    loop = Loop(3, [Step(Add(), name="add"), step], until=lambda data: False)
    return Pipeline(steps=[Step(store_numbers(6)), Step(needs_licence, name="first", **fields), loop, Step(note)])


def test_retry_evaluates_only_failed_experiments_each_in_its_iteration(workspace, rows, table):
    search().run(project_job="r")
    before = rows("SELECT id FROM step_run WHERE withdrawn_at IS NULL AND n_failed = 0 AND name != 'note' ORDER BY id")
    assert rows("SELECT sum(n_failed) FROM step_run") == [4]
    evaluated(workspace)
    (workspace / "licence").touch()
    commands.retry(Workspace.at(workspace), "r")
    assert evaluated(workspace) == [3, 13, 23, 33]
    assert (workspace / "added").read_text().split() == ["0", "1", "2"]
    assert (workspace / "noted").read_text() == "xx"
    assert rows("SELECT state FROM run") == ["succeeded"]
    live = rows("SELECT id FROM step_run WHERE withdrawn_at IS NULL ORDER BY position")
    assert set(before) - set(live) <= set(rows("SELECT id FROM step_run WHERE kind = 'until'"))
    counts = rows("SELECT n_finished, n_failed FROM step_run WHERE withdrawn_at IS NULL AND kind = 'batch'")
    assert sorted(counts) == [(2, 0), (2, 0), (2, 0), (6, 0)]
    data = table("r")
    assert data.is_all_finished()
    # In its own iteration: the last one adds 200.
    assert [row["y"] for row in map(data.output_rows(), range(len(data)))][-2:] == [232.0, 233.0]


def test_retry_in_vain_leaves_a_run_succeeded(workspace, rows):
    search(max_failed=0.5).run(project_job="r")
    evaluated(workspace)
    commands.retry(Workspace.at(workspace), "r")
    assert evaluated(workspace) == [3, 13, 23, 33]
    assert rows("SELECT state FROM run") == ["succeeded"]
    assert rows("SELECT sum(n_finished), sum(n_failed) FROM step_run WHERE withdrawn_at IS NULL") == [(8, 4)]


def test_a_retry_that_was_cut_is_continued_by_a_resume(workspace, rows, monkeypatch):
    search().run(project_job="r")
    evaluated(workspace)
    (workspace / "licence").touch()

    class PowerCutError(BaseException):
        pass

    restored = moves._restore

    def cut(target, position):
        monkeypatch.setattr(moves, "_restore", restored)
        raise PowerCutError

    monkeypatch.setattr(moves, "_restore", cut)
    with pytest.raises(PowerCutError):
        commands.retry(Workspace.at(workspace), "r")
    status = run_status(workspace / "orchestrator.db", "r")
    assert {step.name: step.n for step in status.steps}["add"] == 3
    commands.resume(Workspace.at(workspace), "r")
    assert evaluated(workspace) == [3, 13, 23, 33]
    assert (workspace / "added").read_text().split() == ["0", "1", "2"]
    assert rows("SELECT state FROM run") == ["succeeded"]
    assert rows("SELECT count(*) FROM step_run WHERE suspended_after IS NOT NULL") == [0]


def test_retry_after_a_failed_step_evaluates_what_failed_and_continues(workspace, rows):
    pipeline = Pipeline(steps=[Step(store_numbers(6)), Step(needs_licence, name="solve", max_failed=0), Step(note)])
    with pytest.raises(RunFailed):
        pipeline.run(project_job="r")
    evaluated(workspace)
    (workspace / "licence").touch()
    commands.retry(Workspace.at(workspace), "r")
    # The others were left open when the step stopped.
    assert evaluated(workspace) == [3, 4, 5]
    assert rows(COUNTS) == [("succeeded", 6, 0)]
    assert (workspace / "noted").exists()


def test_retry_without_a_failed_experiment_says_so(workspace, golden):
    (workspace / "licence").touch()
    search().run(project_job="r")
    with golden.raises(DefinitionError):
        commands.retry(Workspace.at(workspace), "r")


def test_accepted_failures_are_not_evaluated_again(workspace, rows, golden):
    with pytest.raises(RunFailed):
        study(40, 3).run(project_job="r")
    evaluated(workspace)
    commands.resume(Workspace.at(workspace), "r", accepts_failed=True)
    assert evaluated(workspace) == [34, 35, 36, 37, 38, 39]
    assert rows(COUNTS) == [("succeeded", 36, 4)]
    assert (workspace / "noted").read_text() == "x"
    status = run_status(workspace / "orchestrator.db", "r")
    assert [(failure.n, failure.why) for failure in status.failures] == [(4, "ValueError: stiffness too large")]
    # They may be evaluated again later, and stay accepted.
    commands.retry(Workspace.at(workspace), "r")
    assert evaluated(workspace) == [3, 13, 23, 33]
    assert rows("SELECT state FROM run") == ["succeeded"]
    with golden.raises(DefinitionError):
        commands.resume(Workspace.at(workspace), "r", accepts_failed=True)


# --- stopping early ------------------------------------------------------------------------------


@datagenerator(output_names="y")
def slowly_fails(x):
    with Path("evaluated").open("a") as file:
        file.write(f"{x:g}\n")
    time.sleep(0.02)
    if Path("fixed").exists():
        return x
    raise ValueError(f"{x} is not welcome")


@datagenerator(output_names="y")
def half_fails(x):
    with Path("evaluated").open("a") as file:
        file.write(f"{x:g}\n")
    time.sleep(0.02)
    if x % 2 and not Path("fixed").exists():
        raise ValueError(f"{x} is not welcome")
    return x


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_a_step_stops_when_its_first_experiments_all_fail_in_the_same_way(workspace, rows, golden, parallel):
    step = Step(slowly_fails, name="solve", parallel=parallel)
    pipeline = Pipeline(steps=[Step(store_numbers(200)), step, Step(note)])
    with pytest.raises(RunFailed):
        pipeline.run(project_job="r", jobs=2)
    n_failed = rows(COUNTS)[0][2]
    assert 5 <= n_failed <= len(evaluated(workspace)) <= 40
    reason = rows("SELECT reason FROM step_run WHERE name = 'solve'")[0]
    assert reason == (
        f"the first {n_failed} experiments all failed with the same exception; {200 - n_failed} not evaluated"
    )
    assert rows("SELECT state, kind FROM job WHERE role = 'batch'") == [("failed", "stopped")]
    status = run_status(workspace / "orchestrator.db", "r")
    assert {failure.why.partition(":")[0] for failure in status.failures if failure.rows} == {"ValueError"}
    # After a fix everything is evaluated, and nothing is lost.
    (workspace / "fixed").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert evaluated(workspace) == list(range(200))
    assert rows(COUNTS) == [("succeeded", 200, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_a_step_stops_as_soon_as_max_failed_is_exceeded(workspace, rows, parallel):
    step = Step(half_fails, name="solve", parallel=parallel, max_failed=0.04)
    with pytest.raises(RunFailed):
        Pipeline(steps=[Step(store_numbers(200)), step, Step(note)]).run(project_job="r", jobs=2)
    n = len(evaluated(workspace))
    _, n_finished, n_failed = rows(COUNTS)[0]
    assert 9 <= n_failed <= 14
    assert n_finished + n_failed <= n <= 60
    reason = rows("SELECT reason FROM step_run WHERE name = 'solve'")[0]
    assert reason.startswith(f"{n_failed} of 200 experiments failed, more than max_failed=0.04; ")
    # What is accepted is not evaluated again, the rest is.
    (workspace / "fixed").touch()
    commands.resume(Workspace.at(workspace), "r", accepts_failed=True)
    assert len(evaluated(workspace)) == 200 - n_finished - n_failed
    assert rows(COUNTS) == [("succeeded", 200 - n_failed, n_failed)]


@pytest.mark.parametrize("more", [{"abort_early": False}, {"max_failed": 1.0}, {"max_failed": 12}, {"abort_early": 13}])
def test_a_step_evaluates_all_experiments_if_all_may_fail(workspace, rows, more):
    pipeline = Pipeline(steps=[Step(store_numbers(12)), Step(slowly_fails, name="solve", **more)])
    if "max_failed" in more:
        pipeline.run(project_job="r")
    else:
        with pytest.raises(RunFailed):
            pipeline.run(project_job="r")
    assert rows(COUNTS)[0][1:] == (0, 12)


def test_experiments_that_fail_in_different_ways_do_not_stop_a_step(workspace, rows):
    @datagenerator(output_names="y")
    def fails(x):
        if x % 2:
            raise ValueError("odd")
        raise ValueError("even")

    with pytest.raises(RunFailed):
        Pipeline(steps=[Step(store_numbers(12)), Step(fails, name="solve")]).run(project_job="r")
    assert rows(COUNTS) == [("failed", 0, 12)]


def test_a_retry_of_experiments_that_fail_again_is_not_stopped(workspace, rows):
    Pipeline(steps=[Step(store_numbers(40)), Step(half_fails, name="solve")]).run(project_job="r")
    evaluated(workspace)
    commands.retry(Workspace.at(workspace), "r")
    assert evaluated(workspace) == list(range(1, 40, 2))
    assert rows(COUNTS) == [("succeeded", 20, 20)]
