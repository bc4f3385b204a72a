"""Pipelines on this machine, end to end: what is recorded, stored and printed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path

import pytest

from orchestrator import (
    Block,
    CollectArrayResults,
    DataGenerator,
    Domain,
    ExperimentData,
    Loop,
    Pipeline,
    SlurmResources,
    Step,
    create_sampler,
    datagenerator,
)
from orchestrator.cli.status import render
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.fold import FoldReport
from orchestrator.data.result_folders import result_folders
from orchestrator.data.results import ResultWriter, inputs_digest
from orchestrator.data.sample_files import read_sample_files
from orchestrator.db.status import run_status
from orchestrator.db.store import Store
from orchestrator.definition.study import Study
from orchestrator.engine import commands
from orchestrator.errors import DataError, DefinitionError, Interrupted, RunFailed, StudyChanged
from orchestrator.workspace import Workspace
from tests.studies import square, store_numbers

ROOT = Path(__file__).resolve().parents[2]


@datagenerator(output_names="y")
def odd_ones_fail(x):
    if x % 2:
        raise ValueError("odd numbers are not welcome")
    return x * x


@datagenerator(output_names="y")
def the_third_kills_its_process(x):
    if x == 3 and not Path("fixed").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def ys(data):
    return [row.get("y") for row in map(data.output_rows(), range(len(data)))]


def test_a_run_leaves_its_table_and_its_history(workspace, rows, table):
    steps = [Step(store_numbers(20)), Step(square, parallel=True), Step(CollectArrayResults())]
    key = Pipeline("squares", steps).run(jobs=2)
    assert key.isdecimal()
    assert ys(table(key)) == [float(i * i) for i in range(20)]
    assert table(key).is_all_finished()
    assert rows("SELECT state, name, mode FROM run") == [("succeeded", "squares", "local")]
    assert rows("SELECT name, state, n_experiments, n_finished, n_failed FROM step_run") == [
        ("create", "succeeded", None, 0, 0),
        ("square", "succeeded", 20, 20, 0),
        ("CollectArrayResults", "succeeded", None, 0, 0),
    ]
    assert rows("SELECT role, state, tasks FROM job") == [
        ("step", "succeeded", "0"),
        ("batch", "succeeded", "0-7"),
    ]
    # The time of what has no job is counted, too.
    assert rows("SELECT count(*) FROM step_run WHERE started_at < ended_at") == [3]
    assert rows("SELECT count(*) FROM job WHERE NOT (queued_at <= started_at AND started_at <= ended_at)") == [0]
    moves = rows("SELECT old, new FROM event JOIN job ON job.id = job_id WHERE what = 'job' AND role = 'batch'")
    states = ["planned", "submitting", "queued", "running", "succeeded"]
    assert moves == list(zip([None, *states], states, strict=False))


@datagenerator(output_names="y")
def the_last_removes_the_results(x):
    if x == 2:
        shutil.rmtree(Path("r/experiment_data/.results"))
    return x * x


@pytest.mark.parametrize("following", ["a step", "collecting", "a parallel step", "the end"])
def test_no_step_continues_without_the_results_that_its_tasks_have_reported(workspace, monkeypatch, following):
    monkeypatch.setattr("orchestrator.data.expected_results.WAIT", 0.0)
    monkeypatch.setattr("orchestrator.engine.local.run.usable_cpus", lambda: 1)
    called = []
    steps = {
        "a step": [Step(lambda project_dir: called.append(1), name="next")],
        "collecting": [Step(CollectArrayResults(), name="next")],
        "a parallel step": [Step(odd_ones_fail, name="next", parallel=True)],
        "the end": [],
    }[following]
    first = [Step(store_numbers(3)), Step(the_last_removes_the_results, name="evaluate", parallel=True)]
    with pytest.raises(
        (RunFailed, DataError), match="the receipts of the tasks count 3 experiments, but 0 can be read"
    ):
        Pipeline(steps=[*first, *steps]).run(project_job="r")
    assert not called


def leave_file(project_dir, row, x, y):
    sample = ExperimentSample({"x": x}, {"y": y}, "finished", project_dir)
    sample.store_as_json(row, project_dir)


def not_in_the_table(workspace):
    shown = render(run_status(workspace / "orchestrator.db", "r"), 0.0)
    listed = shown.partition("Results not in the table:\n  ")[2].partition("\n\n")[0]
    assert all(len(line) <= 80 for line in listed.splitlines())
    return [" ".join(line.split()) for line in re.split("\n  (?! )", listed) if line]


def test_results_of_f3dasms_tasks_are_collected_without_a_job(workspace, rows, table, golden):
    def create(project_dir):
        store_numbers(4)(project_dir)
        leave_file(project_dir, 0, 0.0, 42.0)
        for row in (1, 2, 9):
            leave_file(project_dir, row, 7.0, 43.0)

    collect = Step(CollectArrayResults(), name="collect")
    Pipeline(steps=[Step(create), Loop(2, [collect])]).run(project_job="r")
    assert ys(table("r")) == [42.0, None, None, None]
    left = sorted(path.name for path in (workspace / "r" / "experiment_sample").iterdir())
    assert left == ["1.json", "2.json", "9.json"]
    assert rows("SELECT count(*) FROM job") == [1]
    # Once for both rounds; there is no log of a job that would say it.
    golden(not_in_the_table(workspace))


def test_results_of_f3dasms_tasks_are_collected_by_a_job_if_the_step_asks_for_one(workspace, rows, table):
    def create(project_dir):
        store_numbers(2)(project_dir)
        leave_file(project_dir, 0, 0.0, 42.0)
        leave_file(project_dir, 1, 7.0, 43.0)

    collect = Step(CollectArrayResults(), name="collect", resources=SlurmResources(mem="2G"))
    Pipeline(steps=[Step(create), collect]).run(project_job="r")
    assert ys(table("r")) == [42.0, None]
    assert [path.name for path in (workspace / "r" / "experiment_sample").iterdir()] == ["1.json"]
    assert rows("SELECT role, state FROM job") == [("step", "succeeded")] * 2


def test_a_result_that_differs_from_the_table_is_not_collected_and_is_named(workspace, table, golden):
    def create(project_dir):
        store_numbers(3)(project_dir)
        for row, y in ((0, 0.0), (1, 42.0)):
            leave_file(project_dir, row, float(row), y)

    Pipeline(steps=[Step(create), Step(square), Step(CollectArrayResults(), name="collect")]).run(project_job="r")
    assert ys(table("r")) == [0.0, 1.0, 4.0]
    assert [path.name for path in (workspace / "r" / "experiment_sample").iterdir()] == ["1.json"]
    golden(not_in_the_table(workspace))


def test_results_that_cannot_be_collected_fail_the_step_and_resume_collects_them(workspace, rows, table, golden):
    pipeline = Pipeline(steps=[Step(store_numbers(1), name="create"), Step(CollectArrayResults(), name="collect")])
    folder = workspace / "r" / "experiment_sample"
    folder.mkdir(parents=True)
    (folder / "0.json").write_text('{"input_data": {')
    with golden.raises(RunFailed):
        pipeline.run(project_job="r")
    leave_file(workspace / "r", 0, 0.0, 42.0)
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [42.0]
    assert rows("SELECT name, epoch, state FROM step_run WHERE withdrawn_at IS NULL") == [
        ("create", 0, "succeeded"),
        ("collect", 1, "succeeded"),
    ]


def test_collecting_without_a_table_fails_the_step(workspace, golden):
    with golden.raises(RunFailed):
        Pipeline(steps=[Step(CollectArrayResults(), name="collect")]).run(project_job="r")


@pytest.mark.parametrize(
    ("after", "where"),
    [
        (Step(CollectArrayResults(), name="after"), "after"),
        (Step(lambda project_dir: None, name="after"), "after"),
        (Step(square, name="after"), "after"),
        (None, "forgetful"),
    ],
    ids=["collect", "call", "batch", "the end"],
)
def test_unmatched_results_are_quarantined_and_their_file_is_shown(workspace, after, where, golden):
    @datagenerator(output_names="y")
    def forgetful(x):
        # As if the user replaced the table while a task runs.
        store_numbers(2)(workspace / "r")
        return x

    steps = [Step(store_numbers(3)), Step(forgetful, name="forgetful"), *([after] if after else [])]
    Pipeline(steps=steps).run(project_job="r")
    golden(not_in_the_table(workspace))


@pytest.fixture
def loses_its_table(workspace):
    """Return a generator whose results have no table to go to, until the user restores it."""

    @datagenerator(output_names="y")
    def evaluate(x):
        domain = workspace / "r" / "experiment_data" / "domain.json"
        if domain.exists():
            domain.rename(workspace / "kept.json")
        return 2 * x

    return evaluate


def bring_the_table_back(workspace):
    (workspace / "kept.json").rename(workspace / "r" / "experiment_data" / "domain.json")


def test_a_run_without_its_table_fails_and_its_results_remain(workspace, rows, table, loses_its_table, golden):
    steps = [Step(store_numbers(3)), Step(loses_its_table), Step(CollectArrayResults(), name="collect")]
    with golden.raises(RunFailed):
        Pipeline(steps=steps).run(project_job="r")
    assert rows("SELECT state FROM run") == ["failed"]
    [line] = not_in_the_table(workspace)
    golden(line)
    bring_the_table_back(workspace)
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [0.0, 2.0, 4.0]
    assert not_in_the_table(workspace) == []


def test_a_run_that_ends_without_a_table_for_its_results_has_failed(workspace, rows, table, loses_its_table, golden):
    with golden.raises(RunFailed):
        Pipeline(steps=[Step(store_numbers(3)), Step(loses_its_table)]).run(project_job="r")
    # The last step succeeded: its log has no traceback.
    shown = render(run_status(workspace / "orchestrator.db", "r"), 0.0)
    [reason] = rows("SELECT reason FROM run")
    assert reason in " ".join(shown.split())
    bring_the_table_back(workspace)
    commands.resume(Workspace.at(workspace), "r")
    assert rows("SELECT state FROM run") == ["succeeded"]
    assert ys(table("r")) == [0.0, 2.0, 4.0]


def test_an_unusable_table_does_not_prevent_others_from_getting_their_results(workspace, rows, golden):
    def lose(project_dir):
        (workspace / "r" / "experiment_data" / "domain.json").unlink()

    steps = [
        Step(store_numbers(2)),
        Step(store_numbers(2), name="create too", project_dir="too"),
        Step(square),
        Step(lose, name="lose", project_dir="too"),
        Step(square, name="square too", project_dir="too"),
    ]
    with golden.raises(RunFailed):
        Pipeline(steps=steps).run(project_job="r")
    assert "FINISHED" in (workspace / "r" / "too" / "experiment_data" / "jobs.csv").read_text()


def test_a_failing_run_ends_though_its_results_cannot_be_collected_now(workspace, rows, table, monkeypatch, golden):
    def stale(project_dir, expected=()):
        if result_folders(project_dir):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return FoldReport()

    steps = [Step(store_numbers(2)), Step(odd_ones_fail, name="evaluate", max_failed=0)]
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.worker.table_work.fold", stale)
        with golden.raises(RunFailed):
            Pipeline(steps=steps).run(project_job="r")
    assert rows("SELECT state FROM run") == ["failed"]
    [line] = not_in_the_table(workspace)
    golden(line)
    assert ys(table("r"))[0] == 0.0


def test_a_run_waits_while_a_table_cannot_be_reached_and_then_continues(rows, table, monkeypatch, golden):
    reads = []

    def stale_at_first(project_dir, *arguments):
        reads.append(project_dir)
        if len(reads) < 3:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read_sample_files(project_dir, *arguments)

    monkeypatch.setattr("orchestrator.data.sample_files.read_sample_files", stale_at_first)
    monkeypatch.setattr("orchestrator.engine.local.run.FIRST_PAUSE", 0.01)
    said = []
    monkeypatch.setattr("orchestrator.engine.progress.Silent.say", lambda self, text: said.append(text))
    monkeypatch.setattr("orchestrator.engine.progress.Lines.say", lambda self, text: said.append(text))
    steps = [Step(store_numbers(2)), Step(square), Step(CollectArrayResults(), name="collect")]
    Pipeline(steps=steps).run(project_job="r")
    assert len(reads) == 3
    golden(next(line for line in said if "continues when" in line))
    assert ys(table("r")) == [0.0, 1.0]
    assert rows("SELECT state FROM run") == ["succeeded"]


def test_a_run_waits_while_another_process_locks_its_table_and_then_continues(workspace, rows, table, monkeypatch):
    held = []

    def hold(project_dir):
        file = (project_dir / "experiment_data" / ".lock").open()
        fcntl.flock(file, fcntl.LOCK_EX)
        held.append(file)

    def release(seconds):
        held.pop().close()

    monkeypatch.setattr("orchestrator.data.table_lock._LOCK_SECONDS", 0.05)
    monkeypatch.setattr("orchestrator.engine.local.run.time.sleep", lambda seconds: release(seconds) if held else None)
    Pipeline(steps=[Step(store_numbers(2)), Step(hold), Step(square, parallel=True)]).run(project_job="r")
    assert not held
    assert ys(table("r")) == [0.0, 1.0]


def test_an_unusable_table_fails_the_step_that_needs_it(workspace, golden):
    def damage(project_dir):
        jobs = Path(project_dir) / "experiment_data" / "jobs.csv"
        jobs.write_text(jobs.read_text().replace("OPEN", "DOUBTFUL"))

    for step in (Step(CollectArrayResults(), name="next"), Step(square, name="next")):
        with golden.raises(RunFailed, exact=False):
            Pipeline(steps=[Step(store_numbers(1)), Step(damage), step]).run()


def test_a_full_disk_names_no_step_to_repeat_and_a_resume_continues(workspace, monkeypatch, golden, table):
    def grow(project_dir):
        data = ExperimentData.from_file(project_dir)
        (data + ExperimentData(domain=data.domain, input_data=[{"x": 7.0}])).store(project_dir)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.worker.table_work.write_manifest", full)
        with golden.raises(RunFailed, exact=False):
            Pipeline(steps=[Step(store_numbers(2)), Step(grow), Step(square, name="next")]).run(project_job="r")
    shown = render(run_status(workspace / "orchestrator.db", "r"), 0.0)
    assert shown.endswith("Make room, then continue from next: orchestrator resume r")
    assert "--from-step" not in shown
    commands.resume(Workspace.at(workspace), "r")
    assert [status.name for status in table("r").statuses()] == ["FINISHED"] * 3


def test_a_step_accepts_its_name_as_the_first_argument(workspace, rows):
    Pipeline(steps=[Step("make", block=store_numbers(1)), Step("run", block=square)]).run()
    assert rows("SELECT name FROM step_run") == ["make", "run"]


def test_a_step_that_raises_fails_the_run_with_its_own_exception(workspace, rows, golden):
    def broken(project_dir):
        raise KeyError("temperature")

    with pytest.raises(RunFailed) as raised:
        Pipeline(steps=[Step(broken), Step(lambda project_dir: None, name="after")]).run(project_job="r")
    assert isinstance(raised.value.__cause__, KeyError)
    assert raised.value.__cause__.__traceback__ is not None
    golden(raised.value)
    assert rows("SELECT name, state, reason FROM step_run") == [("broken", "failed", "KeyError: 'temperature'")]
    [detail] = rows("SELECT json_extract(detail, '$.error.traceback') FROM job")
    assert 'raise KeyError("temperature")' in detail
    assert "orchestrator/worker" not in detail


def test_a_failed_experiment_does_not_fail_its_step(workspace, rows, table):
    key = Pipeline(steps=[Step(store_numbers(10)), Step(odd_ones_fail, parallel=True)]).run(jobs=2)
    assert [status.name for status in table(key).statuses()] == ["FINISHED", "ERROR"] * 5
    assert rows("SELECT state, n_finished, n_failed, reason FROM step_run WHERE kind = 'batch'") == [
        ("succeeded", 5, 5, "5 of 10 experiments failed")
    ]
    why, trace, failed = rows(
        "SELECT why, json_extract(detail, '$.traceback'), json_extract(detail, '$.rows') FROM event "
        "WHERE what = 'experiments failed'"
    )[0]
    assert why == "ValueError: odd numbers are not welcome"
    assert 'raise ValueError("odd numbers are not welcome")' in trace
    assert failed == "[1,3,5,7,9]"


@pytest.mark.parametrize(
    ("limit", "state"), [(5, "succeeded"), (4, "failed"), (0.5, "succeeded"), (0.4, "failed"), (0, "failed")]
)
def test_max_failed_is_a_count_or_a_share(workspace, rows, limit, state, golden):
    pipeline = Pipeline(steps=[Step(store_numbers(10)), Step(odd_ones_fail, max_failed=limit)])
    if state == "failed":
        with golden.raises(RunFailed, exact=False):
            pipeline.run()
    else:
        pipeline.run()
    assert rows("SELECT state FROM step_run WHERE kind = 'batch'") == [state]


def test_resume_evaluates_only_failed_experiments_again(workspace, rows, table):
    evaluated = workspace / "evaluated"
    evaluated.mkdir()

    @datagenerator(output_names="y")
    def needs_licence(x):
        with (evaluated / f"{x}").open("a") as file:
            file.write("x")
        if x % 2 and not Path("licence").exists():
            raise RuntimeError("no licence")
        return x

    pipeline = Pipeline(steps=[Step(store_numbers(6)), Step(needs_licence, max_failed=2)])
    with pytest.raises(RunFailed):
        pipeline.run(project_job="r")
    (workspace / "licence").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert {path.name: len(path.read_text()) for path in evaluated.iterdir()} == {
        f"{float(x)}": 1 + x % 2 for x in range(6)
    }
    assert rows("SELECT position, epoch, state FROM step_run WHERE withdrawn_at IS NULL") == [
        (0, 0, "succeeded"),
        (1, 1, "succeeded"),
    ]
    assert rows("SELECT attempt FROM job WHERE role = 'batch'") == [1, 2]


class Tenfold(Block):
    """A block that must not be called on its own result; it may fail once after the table is stored."""

    def __init__(self, fails=False):
        self.fails = fails

    def call(self, data):
        for label, y in enumerate(ys(data)):
            sample = data.get_experiment_sample(label)
            sample.store("y", 10 * (sample.get("x") if y is None else y))
            data.store_experimentsample(sample, label)
        return data

    def after_store(self, project_dir):
        if self.fails and not Path("failed").exists():
            Path("failed").touch()
            raise RuntimeError("the disk is full")


def test_a_block_is_not_called_on_its_own_result_though_a_result_came_late(workspace, table):
    with pytest.raises(RunFailed):
        Pipeline(steps=[Step(store_numbers(3)), Step(Tenfold(fails=True))]).run(project_job="r")
    assert ys(table("r")) == [0.0, 10.0, 20.0]
    line = {"row": 0, "inputs": inputs_digest({"x": 0.0}), "status": "FINISHED", "outputs": {"y": 7.0}, "error": None}
    with ResultWriter(workspace / "r/experiment_data/.results/late/0.0.jsonl") as writer:
        writer.write({**line, "started": 0.0})
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [7.0, 10.0, 20.0]


def test_a_block_after_a_repeated_step_is_called_again(workspace, table):
    @datagenerator(output_names="y")
    def needs_licence(x):
        if not Path("licence").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return x + 1

    steps = [Step(store_numbers(3)), Step(needs_licence, parallel=True), Step(Tenfold(), dependency="afterany")]
    Pipeline(steps=steps).run(project_job="r")
    (workspace / "licence").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [10.0, 20.0, 30.0]


def test_an_experiment_that_kills_its_process_fails_alone(workspace, rows, table):
    Pipeline(steps=[Step(store_numbers(16)), Step(the_third_kills_its_process, parallel=True)]).run("local", None, "r")
    statuses = [status.name for status in table("r").statuses()]
    assert statuses.pop(3) == "ERROR"
    assert statuses == ["FINISHED"] * 15
    assert rows("SELECT why FROM event WHERE what = 'experiments failed'") == [
        "crashed: its process was killed by SIGKILL, 2 times"
    ]
    (workspace / "fixed").touch()
    commands.retry(Workspace.at(workspace), "r")
    assert ys(table("r")) == [float(i * i) for i in range(16)]


def test_retries_run_only_the_tasks_that_need_it(workspace, rows, table):
    @datagenerator(output_names="y")
    def dies_once(x):
        if x == 3 and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getppid(), signal.SIGKILL)  # the worker
            time.sleep(600)
        return x * x

    key = Pipeline(steps=[Step(store_numbers(16)), Step(dies_once, parallel=True, retries=1)]).run(jobs=1)
    assert ys(table(key)) == [float(i * i) for i in range(16)]
    # Experiments are distributed in turn: the fourth is in the fourth task, and the first three tasks have ended.
    assert rows("SELECT attempt, state, tasks FROM job WHERE role = 'batch'") == [
        (1, "failed", "0-3"),
        (2, "succeeded", "3"),
    ]


def test_a_loop_ends_when_its_until_function_returns_true(workspace, rows, table):
    class Grow(Block):
        def call(self, data, iteration):
            return data + ExperimentData(domain=data.domain, input_data=[{"x": 100.0 + iteration}])

    def enough(data):
        return len(data) >= 5

    loop = Loop(10, steps=[Step(Grow(), name="grow")], until=enough)
    key = Pipeline(steps=[Step(store_numbers(2)), loop]).run()
    assert rows("SELECT iteration, until FROM step_run WHERE name = 'grow'") == [("0", 0), ("1", 0), ("2", 1)]
    assert len(table(key)) == 5


def test_a_question_after_a_batch_is_a_step_of_its_own(workspace, rows):
    loop = Loop(5, steps=[Step(square, parallel=True)], until=lambda data: data.is_all_finished())
    Pipeline(steps=[Step(store_numbers(4)), loop]).run(jobs=2)
    assert rows("SELECT name, iteration, state, until FROM step_run") == [
        ("create", "", "succeeded", None),
        ("square", "0", "succeeded", None),
        ("until", "0", "succeeded", 1),
    ]


def test_a_question_that_raises_fails_as_its_own_step(workspace, rows, golden):
    def broken(data):
        raise ZeroDivisionError("division by zero")

    grown = workspace / "grown"

    class Grow(Block):
        def call(self, data):
            with grown.open("a") as file:
                file.write("x")
            return data

    with golden.raises(RunFailed, exact=False):
        Pipeline(steps=[Step(store_numbers(1)), Loop(3, steps=[Step(Grow(), name="grow")], until=broken)]).run()
    assert rows("SELECT name, state FROM step_run") == [
        ("create", "succeeded"),
        ("grow", "succeeded"),
        ("until", "failed"),
    ]
    assert grown.read_text() == "x"


def test_a_question_without_an_answer_fails(workspace, rows, golden):
    """A forgotten `return` would otherwise let all iterations run."""

    def forgets(data):
        len(data)

    loop = Loop(3, steps=[Step(square, parallel=True)], until=forgets)
    with golden.raises(RunFailed, exact=False):
        Pipeline(steps=[Step(store_numbers(1)), loop]).run(jobs=1)
    assert rows("SELECT name, state FROM step_run")[-1] == ("until", "failed")


def test_a_step_without_open_experiments_says_so(workspace, rows):
    Pipeline(steps=[Step(store_numbers(0)), Step(square, parallel=True)]).run()
    assert rows("SELECT state, reason FROM step_run WHERE kind = 'batch'") == [("skipped", "no open experiments")]


def test_a_batch_without_a_table_fails_with_a_message(workspace, rows, golden):
    with golden.raises(RunFailed, exact=False):
        Pipeline(steps=[Step(square, parallel=True)]).run()
    assert rows("SELECT state FROM run") == ["failed"]
    assert rows("SELECT state FROM step_run") == ["failed"]


def test_a_second_run_with_the_same_key_continues_the_first(workspace, rows, table):
    blocked = workspace / "blocked"
    blocked.touch()

    def gate(project_dir):
        if blocked.exists():
            raise RuntimeError("blocked")

    pipeline = Pipeline(steps=[Step(store_numbers(3)), Step(gate), Step(square)])
    with pytest.raises(RunFailed):
        pipeline.run(project_job="mine")
    blocked.unlink()
    assert pipeline.run(project_job="mine") == "mine"
    assert rows("SELECT count(*) FROM run") == [1]
    assert rows("SELECT name, state FROM step_run WHERE withdrawn_at IS NULL") == [
        ("create", "succeeded"),
        ("gate", "succeeded"),
        ("square", "succeeded"),
    ]
    before = rows("SELECT count(*) FROM event")
    pipeline.run(project_job="mine")
    assert rows("SELECT count(*) FROM event") == before


def test_a_finished_run_of_other_steps_does_not_count_as_finished(workspace, rows, table, golden):
    steps = [Step(store_numbers(3)), Loop(1, [Step(square)])]
    Pipeline(steps=steps).run(project_job="r")
    before = rows("SELECT count(*) FROM event")
    longer = Pipeline(steps=[*steps, Step(CollectArrayResults())])
    for other in (longer, Pipeline(steps=steps[:1]), Pipeline(steps=[steps[0], Loop(2, steps[1].steps)])):
        with golden.raises(StudyChanged):
            other.run(project_job="r")
    assert rows("SELECT count(*) FROM event") == before
    Pipeline("renamed", [Step(steps[0].block, retries=2), steps[1]]).run(project_job="r")
    assert rows("SELECT count(*) FROM event") == before
    study = Study(longer, workspace / "study.py", str(workspace), "study", "pipeline")
    study.path.touch()
    commands.resume(Workspace.at(workspace), "r", update=study)
    longer.from_step(2).run(project_job="r")
    assert rows("SELECT name, state FROM step_run WHERE withdrawn_at IS NULL") == [
        ("create", "succeeded"),
        ("square", "succeeded"),
        ("CollectArrayResults", "succeeded"),
    ]


def test_a_run_folder_without_records_is_used(workspace, table):
    store_numbers(3)(workspace / "old")
    Pipeline(steps=[Step(square, parallel=True)]).run(project_job="old")
    assert ys(table("old")) == [0.0, 1.0, 4.0]


def test_a_run_folder_without_records_evaluates_only_new_experiments(workspace, table):
    Pipeline(steps=[Step(store_numbers(3)), Step(square, parallel=True)]).run(project_job="r")
    for file in workspace.glob("orchestrator.db*"):
        file.unlink()
    Pipeline(steps=[Step(store_numbers(3, first=100)), Step(square, parallel=True)]).run(project_job="r")
    assert table("r").is_all_finished()
    assert ys(table("r")) == [10000.0, 10201.0, 10404.0]


def test_a_run_in_a_copied_folder_evaluates_its_open_experiments(workspace, rows, table):
    class Grow(Block):
        def call(self, data):
            return data + ExperimentData(domain=data.domain, input_data=[{"x": 10.0 + len(data)}])

    pipeline = Pipeline(steps=[Step(store_numbers(2)), Step(Grow(), name="grow"), Step(square, parallel=True)])
    pipeline.run(project_job="r")
    shutil.copytree(workspace / "r", workspace / "fork")
    pipeline.from_step("grow").run(project_job="fork")
    assert ys(table("fork")) == [0.0, 1.0, 144.0, 169.0]
    assert rows("SELECT n_experiments FROM step_run WHERE name = 'square'") == [3, 1]
    assert len(table("r")) == 3


def test_from_step_skips_steps_of_a_new_run_and_resumes_an_old_one(workspace, rows, table):
    store_numbers(3)(workspace / "r")
    pipeline = Pipeline(steps=[Step(store_numbers(9), name="create"), Step(square), Step(CollectArrayResults())])
    pipeline.from_step("square").run(project_job="r")
    assert ys(table("r")) == [0.0, 1.0, 4.0]
    assert rows("SELECT name, state, reason FROM step_run") == [
        ("create", "skipped", "from_step"),
        ("square", "succeeded", None),
        ("CollectArrayResults", "succeeded", None),
    ]
    pipeline.from_step(-1).run(project_job="r")
    assert rows("SELECT name, epoch FROM step_run WHERE withdrawn_at IS NULL") == [
        ("create", 0),
        ("square", 0),
        ("CollectArrayResults", 1),
    ]


def test_a_run_can_be_resumed_from_an_iteration(workspace, rows, golden):
    done = workspace / "done"

    def note(project_dir, iteration):
        with done.open("a") as file:
            file.write(str(iteration))

    Pipeline(steps=[Loop(4, steps=[Step(note)])]).run(project_job="r")
    commands.resume(Workspace.at(workspace), "r", from_step="note@2")
    assert done.read_text() == "012323"
    commands.resume(Workspace.at(workspace), "r", from_step="note")
    assert done.read_text() == "0123230123"
    with golden.raises(DefinitionError):
        commands.resume(Workspace.at(workspace), "r", from_step="nota")


def test_afterany_continues_after_a_failure_and_the_run_reports_it(workspace, rows):
    def broken(project_dir):
        raise ValueError("no")

    def clean_up(project_dir):
        (project_dir / "clean").touch()

    key = Pipeline(steps=[Step(broken), Step(clean_up, dependency="afterany")]).run()
    assert (workspace / key / "clean").exists()
    assert rows("SELECT state, reason FROM run") == [("succeeded", "1 step did not succeed")]


def test_a_block_that_rearranges_rows_moves_no_result(workspace, table):
    class Rearrange(Block):
        """Drops a row, reverses the order and renumbers the rows, while results wait beside the table."""

        def call(self, data):
            inputs = data.to_pandas()[0]["x"].tolist()
            kept = [{"x": x} for x in reversed(inputs) if x != 3.0]
            return ExperimentData(domain=data.domain, input_data=kept, project_dir=data.project_dir)

    class Evaluate(DataGenerator):
        def execute(self, experiment_sample):
            experiment_sample.store("y", experiment_sample.input_data["x"] * 10)
            return experiment_sample

    def rearrange_unfolded(project_dir):
        # As a user's own script would, at the same time: the results are not yet in the table.
        data = ExperimentData.from_file(project_dir)
        Rearrange().call(data).store(project_dir)

    key = Pipeline(
        steps=[
            Step(store_numbers(6)),
            Step(Evaluate(), name="evaluate", parallel=True),
            Step(rearrange_unfolded),
            Step(Evaluate(), name="again", parallel=True),
            Step(Rearrange(), name="rearrange"),
            Step(Evaluate(), name="last", parallel=True),
            Step(CollectArrayResults()),
        ]
    ).run(jobs=2)
    data = table(key)
    xs = [row["x"] for row in map(data.input_rows(), range(len(data)))]
    assert sorted(xs) == [0.0, 1.0, 2.0, 4.0, 5.0]
    assert ys(data) == [x * 10 for x in xs]


def test_a_generator_with_arm_gets_the_table(workspace, table):
    class Relative(DataGenerator):
        def arm(self, data):
            self.n = len(data)

        def execute(self, experiment_sample):
            experiment_sample.store("y", experiment_sample.input_data["x"] / self.n)

    key = Pipeline(steps=[Step(store_numbers(4)), Step(Relative(), parallel=True)]).run(jobs=2)
    assert ys(table(key)) == [0.0, 0.25, 0.5, 0.75]


def test_a_generator_with_its_own_call_evaluates_its_part(workspace, table):
    class Vectorised(DataGenerator):
        def execute(self, experiment_sample):
            raise AssertionError("call is overridden")

        def call(self, data, **kwargs):
            for _, sample in data:
                sample.store("y", sample.input_data["x"] + 1)
                sample.mark("finished")
            return data

    key = Pipeline(steps=[Step(store_numbers(5)), Step(Vectorised(), parallel=True)]).run(jobs=2)
    assert ys(table(key)) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_seed_iteration_and_key_are_passed_to_steps_that_take_them(workspace):
    seen = []

    def ask(project_dir, iteration, seed, project_job):
        seen.append((iteration, seed, project_job))

    def ask_not(project_dir, iteration=7):
        seen.append(iteration)

    Pipeline(steps=[Loop(2, steps=[Step(ask), Step(ask_not)])]).run(project_job="r")
    assert [entry if entry == 7 else (entry[0], entry[2]) for entry in seen] == [(0, "r"), 7, (1, "r"), 7]
    assert seen[0][1] != seen[2][1]
    assert 0 <= seen[0][1] < 2**31


def test_a_pipeline_with_a_seed_repeats_whatever_its_key_also_when_it_is_resumed(workspace, table):
    def ask(project_dir, seed):
        with Path("seen").open("a") as file:
            file.write(f"{seed}\n")
        if Path("fails").exists():
            Path("fails").unlink()
            raise ValueError("stops here")

    def pipeline(seed):
        sampler = create_sampler("random") >> create_sampler("latin").loop(2)
        steps = [Step(store_numbers(1)), Step(sampler, name="sample", kwargs={"n_samples": 3}), Step(ask), Step(square)]
        return Pipeline(steps=steps, seed=seed)

    Path("fails").touch()
    with pytest.raises(RunFailed):
        pipeline(7).run(project_job="a")
    pipeline(7).resume("a")
    pipeline(7).run(project_job="b")
    pipeline(8).run(project_job="c")
    pipeline(None).run(project_job="d")
    seen = Path("seen").read_text().split()
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen)) == 3
    a, b, c, d = (tuple(table(key).to_pandas()[0]["x"]) for key in "abcd")
    assert len(set(a)) == 10
    assert a == b
    assert len({a, c, d}) == 3


def test_a_new_seed_holds_for_a_run_that_continues_with_the_new_pipeline(workspace):
    seen = []

    def ask(project_dir, seed):
        seen.append(seed)
        if len(seen) == 1:
            raise ValueError("stops here")

    with pytest.raises(RunFailed):
        Pipeline(steps=[Step(ask)], seed=1).run(project_job="a")
    Pipeline(steps=[Step(ask)], seed=2).run(project_job="a")
    Pipeline(steps=[Step(ask)], seed=2).run(project_job="b")
    assert seen[0] != seen[1] == seen[2]


class Solver(str, Enum):  # noqa: UP042 - as users write it
    CG = "cg"
    LU = "lu"


@pytest.mark.parametrize("parallel", [True, False])
def test_an_experiment_gets_the_choice_of_its_row(workspace, table, parallel):
    penalties = ["l1", None, "None", ""]
    solvers = [*Solver, *Solver]

    def create(project_dir):
        domain = Domain()
        domain.add_category("penalty", penalties)
        domain.add_category("solver", list(Solver))
        rows = [{"penalty": p, "solver": s} for p, s in zip(penalties, solvers, strict=True)]
        ExperimentData(domain, rows).store(project_dir)

    @datagenerator(output_names=["seen", "is_cg", "best"])
    def evaluate(penalty, solver):
        return repr(penalty), solver == "cg" == Solver.CG, Solver.LU

    key = Pipeline(steps=[Step(create), Step(evaluate, parallel=parallel)]).run(jobs=2)
    _, outputs = table(key).to_pandas()
    assert list(outputs["seen"]) == list(map(repr, penalties))
    assert list(outputs["is_cg"]) == [True, False, True, False]
    assert list(outputs["best"]) == ["lu"] * 4


@pytest.mark.parametrize("console", ["nothing", "progress", "output"])
def test_what_a_step_prints_is_in_its_log_and_only_on_request_on_the_console(workspace, capfd, console):
    def talk(project_dir):
        print("by print")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
        print("to stderr", file=sys.stderr)

    @datagenerator(output_names="y")
    def chatty(x):
        print(f"evaluating {x}")
        return x

    key = Pipeline(steps=[Step(store_numbers(2)), Step(talk), Step(chatty, parallel=True)]).run(jobs=1, console=console)
    log = (workspace / "logs" / key / "talk.log").read_text()
    assert sorted(log.splitlines()) == ["by a child", "by print", "to stderr"]
    printed = capfd.readouterr()
    assert printed.out.splitlines() == (["by print", "by a child"] if console == "output" else [])
    assert ("to stderr" in printed.err) == (console == "output")
    tasks = [path.read_text() for path in sorted((workspace / "logs" / key).glob("chatty.*.log"))]
    assert tasks == ["evaluating 0.0\n", "evaluating 1.0\n"]


def test_an_unpicklable_parallel_step_is_refused_before_anything_is_written(workspace, golden):
    class Locked(DataGenerator):
        def __init__(self):
            import threading

            self.lock = threading.Lock()

        def execute(self, experiment_sample):
            return experiment_sample

    with golden.raises(DefinitionError, exact=False):
        Pipeline(steps=[Step(store_numbers(1)), Step(Locked(), parallel=True)]).run()
    assert list(workspace.iterdir()) == []


def test_resume_refuses_a_step_that_cannot_be_loaded_in_a_new_process(workspace, golden):
    import threading

    lock = threading.Lock()
    (workspace / "blocked").touch()

    def guarded(project_dir):
        with lock:
            if Path("blocked").exists():
                raise RuntimeError("blocked")

    pipeline = Pipeline(steps=[Step(guarded)])
    with pytest.raises(RunFailed):
        pipeline.run(project_job="r")
    (workspace / "blocked").unlink()
    with golden.raises(DataError):
        commands.resume(Workspace.at(workspace), "r")
    pipeline.run(project_job="r")


def test_new_code_for_other_steps_is_refused(workspace, golden):
    Pipeline(steps=[Step(store_numbers(1)), Step(square)]).run(project_job="r")
    with golden.raises(StudyChanged):
        Pipeline(steps=[Step(store_numbers(1)), Step(odd_ones_fail, max_failed=1)]).from_step(1).run(project_job="r")


def test_a_block_is_not_called_twice_on_its_own_result(workspace, table, monkeypatch):
    """The process dies after the table was stored and before the receipt was written."""
    from orchestrator.worker import receipt_writer

    class Grow(Block):
        def call(self, data):
            return data + ExperimentData(domain=data.domain, input_data=[{"x": 100.0}])

    class PowerCutError(BaseException):
        pass

    written = receipt_writer.write_receipt
    pipeline = Pipeline(steps=[Step(store_numbers(2)), Step(Grow(), name="grow")])

    def write(path, receipt):
        if len(ExperimentData.from_file(workspace / "r")) == 3:
            raise PowerCutError
        written(path, receipt)

    monkeypatch.setattr(receipt_writer, "write_receipt", write)
    with pytest.raises(PowerCutError):
        pipeline.run(project_job="r")
    monkeypatch.setattr(receipt_writer, "write_receipt", written)
    pipeline.run(project_job="r")
    assert len(table("r")) == 3


@pytest.fixture
def grown(workspace, table, monkeypatch):
    """Return a pipeline whose block adds a row; its run was cancelled between table and receipt."""
    from orchestrator.worker import receipt_writer

    written = receipt_writer.write_receipt

    class Grow(Block):
        def call(self, data):
            return data + ExperimentData(domain=data.domain, input_data=[{"x": 100.0}])

    def write(path, receipt):
        if len(table("r")) == 3:
            Store(workspace / "orchestrator.db").request_cancel("r", time.time())
            raise KeyboardInterrupt
        written(path, receipt)

    pipeline = Pipeline(steps=[Step(store_numbers(2)), Step(Grow(), name="grow")])
    with monkeypatch.context() as patch:
        patch.setattr(receipt_writer, "write_receipt", write)
        with pytest.raises(Interrupted):
            pipeline.run(project_job="r")
    return pipeline


def test_a_block_is_not_called_on_its_own_result_when_its_step_is_reopened(grown, rows, table):
    grown.run(project_job="r")
    assert rows("SELECT epoch, state FROM step_run WHERE name = 'grow'") == [(0, "cancelled"), (1, "succeeded")]
    assert len(table("r")) == 3


def test_a_block_is_called_on_its_own_result_where_the_user_names_its_step(grown, table):
    grown.from_step("grow").run(project_job="r")
    assert len(table("r")) == 4


AS_FIRST_PROCESS = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*AS_FIRST_PROCESS, "true"], capture_output=True).returncode != 0,
    reason="no process can be the first of a container here",
)
def test_workers_run_though_their_parent_is_the_first_process_of_a_container(workspace, table):
    (workspace / "study.py").write_text(
        """
from orchestrator import Pipeline, Step
from tests.studies import square, store_numbers
pipeline = Pipeline(steps=[Step(store_numbers(4)), Step(square, parallel=True)])
"""
    )
    command = [*AS_FIRST_PROCESS, sys.executable, "-m", "orchestrator", "run", "study.py", "--project-job", "r"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert ys(table("r")) == [0.0, 1.0, 4.0, 9.0]


def test_a_pipeline_and_a_loop_may_be_empty(workspace):
    key = Pipeline("empty", []).run()
    assert str(Pipeline().status(key).run.state) == "succeeded"
    steps = [Step(lambda project_dir: None, name="a"), Loop(3, []), Step(lambda project_dir: None, name="b")]
    key = Pipeline("empty", steps).run()
    assert [str(each.state) for each in Pipeline().status(key).step_runs] == ["succeeded", "succeeded"]
