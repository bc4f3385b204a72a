"""The output of `failures`: why experiments, tasks and steps have failed."""

from __future__ import annotations

import json
import os
import signal

import pytest
from cli_records import Records, documented
from click.testing import CliRunner
from run_results import Results, exception, write_job

from orchestrator import ExperimentData
from orchestrator.cli.main import cli
from orchestrator.cli.workspace import TypedOptions
from orchestrator.data.fold import fold
from orchestrator.errors import NotFound


@pytest.fixture
def records(workspace):
    return Records(workspace)


@pytest.fixture
def ask(records):
    def ask(*arguments, columns=80):
        runner = CliRunner(env={"COLUMNS": str(columns)})
        done = runner.invoke(cli, ["failures", *arguments], obj=TypedOptions(), catch_exceptions=False)
        assert done.exit_code == 0
        if "--json" in arguments:
            return json.loads(done.stdout)
        assert max(map(len, done.stdout.splitlines())) <= columns
        return done.stdout

    return ask


@pytest.fixture
def results(records, workspace):
    records.add_run("r", "succeeded")
    records.add_step_run(1, "succeeded", n_experiments=40, n_tasks=2, batch_size=2, n_finished=30, n_failed=10)
    return Results(workspace, 40)


def singular(row):
    return exception("ValueError", f"singular at x = {row / 8}", 17, 'raise ValueError(f"singular at x = {x}")')


def no_licence():
    return exception("LookupError", "no licence", 30, "licence[material]")


def test_experiments_are_grouped_by_exception_and_place_and_not_by_the_value_in_the_message(results, ask, golden):
    for row in range(40):
        error = no_licence() if row % 10 == 3 else singular(row) if row in (5, 6, 7, 25, 31, 12) else None
        results.add(row, error, task=row % 2, host=f"node{7 + row % 2:02}")
    before = ask()
    golden(before, "80")
    assert "    ValueError: singular at x = 0.625\n  orchestrator logs r evaluate --experiment 5\n" in before
    assert before.count("Traceback") == 2
    golden(ask(columns=120), "120")
    fold(results.project)
    assert ask() == before


def test_json_has_every_experiment_with_its_inputs(results, ask):
    for row in (5, 2, 9):
        results.add(row, singular(row))
    found = ask("--json")
    assert (found["key"], found["n_experiments"], found["n_failed"]) == ("r", 40, 3)
    [cause] = found["causes"]
    assert list(cause) == documented("Failure cause")
    assert [failed["experiment"] for failed in cause["experiments"]] == [2, 5, 9]
    assert list(cause["experiments"][0]) == documented("Failed experiment")
    assert [failed["inputs"]["x"] for failed in cause["experiments"]] == [0.25, 0.625, 1.125]
    assert (cause["type"], cause["place"], cause["hosts"]) == ("ValueError", "/home/me/study.py:17", {"node07": 3})
    assert cause["message"] == "singular at x = 0.25"


def test_the_same_exception_at_another_place_is_another_cause(results, ask):
    results.add(0, exception("ValueError", "no", 17, "a"))
    results.add(1, exception("ValueError", "no", 18, "b"))
    results.add(2, {**exception("ValueError", "no", 18, "b")}, step="refine", token="other")
    assert [(c["step"], c["place"][-2:], c["n"]) for c in ask("--json")["causes"]] == [
        ("evaluate", "17", 1),
        ("evaluate", "18", 1),
        ("refine", "18", 1),
    ]


def test_a_process_that_died_is_shown_with_what_its_experiment_printed_last_and_a_hint(
    results, records, ask, workspace, golden
):
    token = records.add_job("succeeded", role="batch", tasks="0-1", n_tasks=2)
    why = "its process was killed by SIGKILL, 2 times"
    results.add(4, {"type": "crashed", "message": "its process ended with exit code 3, 4 times", "traceback": ""})
    results.add(8, {"type": "crashed", "message": "its process ended with exit code 3, 2 times", "traceback": ""})
    results.add(6, {"type": "timeout", "message": "it ran longer than the timeout of 60 s", "traceback": ""})
    folder = workspace / "r/.orchestrator/jobs" / token
    folder.mkdir(parents=True)
    write_job(folder, token)
    log = workspace / f"logs/r/evaluate.{token}.0.log"
    log.parent.mkdir(parents=True)
    begin = log.write_text("of another experiment\n")
    log.write_text("of another experiment\n" + "".join(f"step {i}\n" for i in range(20)) + "meshing 10 % \r 20 %\n")
    error = {"type": "crashed", "message": why, "traceback": ""}
    results.add(3, error, memory=3100.0, token=token, log=[begin, log.stat().st_size])
    golden(ask())


def test_a_task_that_died_is_shown_with_its_log_and_the_experiment_that_it_evaluated(records, ask, workspace, golden):
    records.add_run("r", "failed", mode="slurm", reason="step evaluate failed: 1 of 2 tasks failed (out_of_memory)")
    records.add_step_run(1, "failed", n_tasks=2, batch_size=2, reason="1 of 2 tasks failed (out_of_memory)")
    token = records.add_job("failed", role="batch", tasks="0-1", n_tasks=2, kind="out_of_memory", reason="x")
    records.add_failed_task(1, "SLURM job 4242 ended OUT_OF_MEMORY, exit code 0:125", "out_of_memory")
    results = Results(workspace, 4)
    results.add(0)
    folder = workspace / "r/.orchestrator/jobs" / token
    write_job(folder, token)
    results.begin(folder, 1, row=3)
    log = workspace / f"logs/r/evaluate.{token}.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("assembling\nslurmstepd: error: Detected 1 oom_kill event in StepId=4242.0.\n")
    golden(ask())
    [cause] = ask("--json")["causes"]
    assert (cause["what"], cause["tasks"], cause["n"]) == ("task failed", [1], 1)
    assert [failed["inputs"] for failed in cause["experiments"]] == [{"x": 0.375, "material": "wood"}]


def test_a_step_that_raised_an_exception_and_no_table(records, ask, golden):
    records.add_run("r", "failed", reason="step create failed: ValueError: no")
    records.add_step_run(0, "failed", reason="ValueError: no")
    records.add_job(
        "failed", kind="exception", reason="ValueError: no", detail={"error": exception("ValueError", "no", 3, "x")}
    )
    golden(ask())


def test_a_run_without_failures_and_one_whose_failures_were_retried(results, records, ask):
    results.add(0)
    assert ask() == "Run r (cantilever): no failures\n"
    results.add(1, singular(1))
    fold(results.project)
    results.add(1, token="later", started=2.0)
    assert ask() == "Run r (cantilever): no failures\n"


def test_an_experiment_that_the_user_has_marked(results, ask, golden):
    ExperimentData.from_file(results.project).mark([5], "error").store()
    golden(ask())


def test_iterations_of_a_loop_are_named(records, workspace, ask):
    records.add_run("r", "succeeded")
    for iteration in range(3):
        records.add_step_run(3 + 3 * iteration, "succeeded")
    results = Results(workspace, 6)
    for row in range(6):
        results.add(row, singular(row), step="refine", iteration=str(row // 2), token=f"t{row // 2}")
    assert "  iterations   0-2\n" in ask()


def test_control_characters_are_shown_as_escapes_and_a_long_traceback_is_cut(results, ask):
    error = exception("ValueError", "\x1b]0;title\x07", 17, "\x1b[2J")
    results.add(0, {**error, "traceback": error["traceback"] + "deep\n" * 100})
    shown = ask()
    assert "\x1b" not in shown
    assert "74 lines left out" in shown
    assert shown.count("deep") == 28


def test_an_input_whose_name_looks_like_a_time(records, workspace, ask):
    records.add_run("r", "succeeded")
    ExperimentData(input_data=[{"started_at": "noon"}], project_dir=workspace / "r").mark([0], "error").store()
    [cause] = ask("--json")["causes"]
    assert cause["experiments"][0]["inputs"] == {"started_at": "noon"}


def test_no_such_run(results, golden):
    with golden.raises(NotFound):
        CliRunner().invoke(cli, ["failures", "s"], obj=TypedOptions(), catch_exceptions=False)


STUDY = """
import os, signal
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers
@datagenerator(output_names="y")
def evaluate(x):
    if x in (3, 7):
        raise ValueError(f"x = {x} is not welcome")
    if x == 5:
        print("allocating")
        os.kill(os.getpid(), signal.SIGKILL)
    return x
pipeline = Pipeline("batch", [Step(store_numbers(10)), Step(evaluate, parallel=True)])
"""


def test_the_failures_of_a_run(here, workspace):
    (workspace / "killed.py").write_text(STUDY)
    here("run", "killed.py", "--project-job", "r")
    found = json.loads(here("failures", "--json").out)
    assert [
        (cause["type"], [failed["experiment"] for failed in cause["experiments"]]) for cause in found["causes"]
    ] == [
        ("ValueError", [3, 7]),
        ("crashed", [5]),
    ]
    killed = found["causes"][1]
    assert killed["last_lines"] == ["allocating"]
    assert signal.SIGKILL.name in killed["message"]
    assert "memory" in killed["hint"]
    assert killed["hosts"] == {os.uname().nodename: 1}
    shown = here("failures").out
    assert "orchestrator logs r evaluate --experiment 3\n" in shown
    assert "\nTo evaluate the failed experiments again: orchestrator retry r\n" in shown
    printed = here("logs", "r", "evaluate", "--experiment", "5").out
    assert printed.endswith("allocating\n")


def test_the_log_of_a_task_that_evaluated_is_shown_and_not_that_of_one_that_waited(records, ask, workspace):
    records.add_run("r", "failed", reason="x")
    records.add_step_run(1, "failed", n_tasks=3, batch_size=3)
    token = records.add_job("failed", role="batch", tasks="0-2", n_tasks=3, kind="infrastructure", reason="x")
    for task in range(3):
        records.add_failed_task(task, "its worker was killed by SIGKILL", "infrastructure")
    results = Results(workspace, 4)
    folder = workspace / "r/.orchestrator/jobs" / token
    write_job(folder, token)
    results.begin(folder, 2, row=3)
    (workspace / "logs/r").mkdir(parents=True)
    for task in range(3):
        (workspace / f"logs/r/evaluate.{token}.{task}.log").write_text(f"this is {task}\n")
    [cause] = ask("--json")["causes"]
    assert (cause["tasks"], cause["shown_task"], cause["last_lines"]) == ([0, 1, 2], 2, ["this is 2"])
    assert "orchestrator logs r evaluate --task 2\n" in ask()


def test_without_the_result_files_the_events_of_the_run_say_why(results, records, ask):
    records.add_job("succeeded", role="batch")
    records.add_failed_experiments("ValueError: singular at x = 0.625", [5, 7], traceback=TRACEBACK)
    ExperimentData.from_file(results.project).mark([5, 7, 9], "error").store()
    first, second = ask("--json")["causes"]
    assert (first["step"], first["type"], first["message"]) == ("evaluate", "ValueError", "singular at x = 0.625")
    assert [failed["experiment"] for failed in first["experiments"]] == [5, 7]
    assert first["traceback"] == TRACEBACK
    assert (second["type"], [failed["experiment"] for failed in second["experiments"]]) == (None, [9])


TRACEBACK = "Traceback (most recent call last):\nValueError: singular at x = 0.625\n"


def test_of_a_forked_run_the_run_before_is_named(records, workspace, ask):
    records.add_run("r", "succeeded", forked_from="before", forked_step="evaluate")
    results = Results(workspace, 4)
    ExperimentData.from_file(results.project).mark([2], "error").store()
    assert "orchestrator failures before\n" in ask()
