"""A run continues with a longer or shorter loop, or with another `until`."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Block, ExperimentData, Loop, Pipeline, Step, datagenerator
from orchestrator.errors import RunFailed, StudyChanged
from tests.studies import store_numbers

pytestmark = pytest.mark.slow


@datagenerator(output_names="y")
def evaluate(x):
    with Path("evaluated").open("a") as file:
        file.write(f"{x:g}\n")
    if x == 12 and Path("fail").exists():
        raise ValueError("no licence")
    return x


class Add(Block):
    def call(self, data):
        first = 10.0 + len(data)
        return data + ExperimentData(domain=data.domain, input_data=[{"x": first}])


def report(project_dir):
    with Path("reported").open("a") as file:
        file.write(f"{len(ExperimentData.from_file(project_dir))}\n")


def study(n, until=None, after=None, inner=1):
    after = [Step(report)] if after is None else after
    steps = [Step(Add(), name="add"), Step(evaluate, name="evaluate", max_failed=0)]
    if inner > 1:
        steps = [Loop(inner, steps), Step(report, name="each")]
    return Pipeline(steps=[Step(store_numbers(1)), Loop(n, steps, until=until), *after])


def lines(workspace, name):
    return [int(line) for line in (workspace / name).read_text().split()]


def test_a_finished_loop_becomes_longer_and_the_steps_after_it_run_again(workspace, rows):
    study(2).run(project_job="r")
    study(4).resume("r", update=True)
    # Row 0 of the table is open until the first evaluation.
    assert lines(workspace, "evaluated") == [0, 11, 12, 13, 14]
    assert lines(workspace, "reported") == [3, 5]
    assert rows("SELECT state FROM run") == ["succeeded"]
    assert rows("SELECT name || iteration FROM step_run WHERE withdrawn_at IS NULL ORDER BY position")[-3:] == [
        "add3",
        "evaluate3",
        "report",
    ]


def test_the_results_of_a_step_after_a_loop_that_became_longer_are_counted_as_in_the_table(workspace, table):
    def pipeline(n):
        loop = Loop(n, [Step(evaluate, name="evaluate"), Step(Add(), name="add")])
        return Pipeline(steps=[Step(store_numbers(2)), loop, Step(evaluate, name="last")])

    for n in (2, 4, 3, 5):
        pipeline(n).run(project_job="r") if n == 2 else pipeline(n).resume("r", update=True)
        finished = sum(status.name == "FINISHED" for status in table("r").statuses())
        if n != 3:  # what a shorter loop leaves out is counted by no step
            assert pipeline(n).status("r").run.n_finished == finished


def test_a_finished_loop_becomes_shorter_and_its_experiments_stay(workspace, rows, table):
    study(3).run(project_job="r")
    study(1).resume("r", update=True)
    assert lines(workspace, "reported") == [4, 4]
    assert len(table("r")) == 4
    assert rows("SELECT count(*) FROM step_run WHERE withdrawn_at IS NULL AND name = 'evaluate'") == [1]
    study(4).resume("r", update=True)
    assert lines(workspace, "evaluated") == [0, 11, 12, 13, 14, 15, 16]
    assert rows("SELECT state FROM run") == ["succeeded"]


def test_a_loop_that_failed_continues_with_another_length(workspace, rows):
    (workspace / "fail").touch()
    with pytest.raises(RunFailed):
        study(5).run(project_job="r")
    (workspace / "fail").unlink()
    study(2).run(project_job="r")
    assert lines(workspace, "evaluated") == [0, 11, 12, 12]
    assert lines(workspace, "reported") == [3]


def test_a_loop_inside_a_loop_becomes_longer(workspace, rows):
    study(2, inner=2).run(project_job="r")
    study(3, inner=2).resume("r", update=True)
    assert lines(workspace, "evaluated") == [0, 11, 12, 13, 14, 15, 16]
    study(3, inner=3).resume("r", update=True)
    # The first iteration of the outer loop continues; those after it run again.
    assert lines(workspace, "evaluated")[7:] == [17, 18, 19, 20, 21, 22, 23]
    assert rows("SELECT state FROM run") == ["succeeded"]


@pytest.mark.parametrize("as_job", [False, True])
def test_another_until_is_called_again(workspace, rows, as_job):
    # An `until` is called by the process of the last step, or by a job of its own after a parallel one.
    def pipeline(limit):
        ended = study(9, until=lambda data: len(data) > limit)
        if not as_job:
            ended.steps[1].steps.append(Step(lambda project_dir: None, name="look"))
        return ended

    pipeline(2).run(project_job="r")
    pipeline(2).resume("r", update=True)
    assert lines(workspace, "evaluated") == [0, 11, 12]
    assert lines(workspace, "reported") == [3]
    pipeline(4).resume("r", update=True)
    assert lines(workspace, "evaluated") == [0, 11, 12, 13, 14]
    assert lines(workspace, "reported") == [3, 5]


def until_study(n, until, as_job, inner=1):
    """A study whose `until` is called by a job of its own, or by the process of the last step."""
    changed = study(n, until=until, inner=inner)
    if not as_job:
        changed.steps[1].steps.append(Step(lambda project_dir: None, name="look"))
    return changed


@pytest.mark.parametrize("as_job", [False, True])
def test_a_loop_gets_an_until_and_loses_it(workspace, rows, as_job):
    until_study(2, None, as_job).run(project_job="r")
    # It has not ended early, so nothing runs again.
    until_study(2, lambda data: len(data) > 4, as_job).resume("r", update=True)
    assert (lines(workspace, "evaluated"), lines(workspace, "reported")) == ([0, 11, 12], [3])
    until_study(9, lambda data: len(data) > 4, as_job).resume("r", update=True)
    assert (lines(workspace, "evaluated"), lines(workspace, "reported")) == ([0, 11, 12, 13, 14], [3, 5])
    until_study(5, None, as_job).resume("r", update=True)
    assert (lines(workspace, "evaluated"), lines(workspace, "reported")) == ([0, 11, 12, 13, 14, 15], [3, 5, 6])
    assert rows("SELECT state FROM run") == ["succeeded"]
    # It has ended early now: after the last iteration it is called.
    until_study(9, lambda data: True, as_job).resume("r", update=True)
    assert (lines(workspace, "evaluated"), lines(workspace, "reported")) == ([0, 11, 12, 13, 14, 15], [3, 5, 6, 6])


@pytest.mark.parametrize("as_job", [False, True])
def test_a_loop_that_failed_gets_an_until(workspace, rows, as_job):
    (workspace / "fail").touch()
    with pytest.raises(RunFailed):
        until_study(5, None, as_job).run(project_job="r")
    (workspace / "fail").unlink()
    until_study(5, lambda data: len(data) > 3, as_job).run(project_job="r")
    assert (lines(workspace, "evaluated"), lines(workspace, "reported")) == ([0, 11, 12, 12, 13], [4])
    assert rows("SELECT name || iteration FROM step_run WHERE withdrawn_at IS NULL ORDER BY position")[-1] == "report"


def test_a_loop_around_a_loop_gets_an_until_and_loses_it(workspace, rows):
    until_study(2, None, True, inner=2).run(project_job="r")
    until_study(4, lambda data: len(data) > 6, True, inner=2).resume("r", update=True)
    assert lines(workspace, "evaluated") == [0, 11, 12, 13, 14, 15, 16]
    until_study(4, None, True, inner=2).resume("r", update=True)
    assert lines(workspace, "evaluated")[7:] == [17, 18]
    assert rows("SELECT state FROM run") == ["succeeded"]


def test_steps_can_be_added_at_the_end(workspace):
    study(2, after=()).run(project_job="r")
    study(2).resume("r", update=True)
    assert lines(workspace, "evaluated") == [0, 11, 12]
    assert lines(workspace, "reported") == [3]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: study(2, after=(Step(report, name="summary"),)), id="other-name"),
        pytest.param(lambda: Pipeline(steps=study(2).steps[:1]), id="no-loop"),
    ],
)
def test_a_pipeline_in_which_a_step_that_has_run_is_elsewhere_is_refused(workspace, rows, other, golden):
    study(2).run(project_job="r")
    before = rows("SELECT count(*) FROM event")
    with golden.raises(StudyChanged):
        other().resume("r", update=True)
    assert rows("SELECT count(*) FROM event") == before


def test_retry_after_a_loop_became_longer_knows_its_experiments(workspace, rows):
    (workspace / "fail").touch()
    pipeline = study(3, after=())
    for step in pipeline.steps[1].steps:
        step.max_failed = None
    pipeline.steps[1].steps[0] = Step(AddTwo(), name="add")
    pipeline.run(project_job="r")
    (workspace / "fail").unlink()
    before = len(lines(workspace, "evaluated"))
    pipeline.steps[1].n_iterations = 4
    pipeline.resume("r", update=True)
    pipeline.retry("r")
    assert lines(workspace, "evaluated")[before:] == [17, 18, 12]
    assert rows("SELECT sum(n_finished), sum(n_failed) FROM step_run WHERE withdrawn_at IS NULL") == [(9, 0)]


class AddTwo(Block):
    def call(self, data):
        first = 10.0 + len(data)
        return data + ExperimentData(domain=data.domain, input_data=[{"x": first}, {"x": first + 1}])
