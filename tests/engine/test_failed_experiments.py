"""Failed experiments of a step: how many may fail, and what follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Block, ExperimentData, Loop, Pipeline, Step, datagenerator
from orchestrator.db import moves
from orchestrator.db.status import run_status
from orchestrator.engine import commands
from orchestrator.errors import DefinitionError, RunFailed
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
    assert rows("SELECT count(*) FROM step_run WHERE kept_after IS NOT NULL") == [0]


def test_retry_after_a_failed_step_evaluates_what_failed_and_continues(workspace, rows):
    pipeline = Pipeline(steps=[Step(store_numbers(6)), Step(needs_licence, name="solve", max_failed=0), Step(note)])
    with pytest.raises(RunFailed):
        pipeline.run(project_job="r")
    evaluated(workspace)
    (workspace / "licence").touch()
    commands.retry(Workspace.at(workspace), "r")
    assert evaluated(workspace) == [3]
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
    assert not (workspace / "evaluated").exists()
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
