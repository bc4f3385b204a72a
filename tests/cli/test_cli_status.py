"""The output of `status`, `list` and `logs` for a run at each stage."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import time
from types import SimpleNamespace

import pytest
from cli_records import PLAN, T0, Records, documented, on_slurm
from click.testing import CliRunner

from orchestrator.atomic import write_atomically
from orchestrator.cli.main import cli
from orchestrator.cli.workspace import TypedOptions
from orchestrator.db.lease_holder import Holder
from orchestrator.db.status import run_status
from orchestrator.workspace import RunFolder

DEAD = Holder("login1", "another boot", 4242, "1")


@pytest.fixture
def records(workspace, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    # A dead process of this machine: another boot's.
    monkeypatch.setattr("orchestrator.db.lease_holder._host", lambda: "login1")
    yield Records(workspace)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def ask(monkeypatch, records):
    """Run a command in this process, a number of seconds after the start of the run; return its output."""

    def ask(*arguments, after=600.0):
        for name in ("status", "list"):
            monkeypatch.setattr(f"orchestrator.cli.{name}.time", SimpleNamespace(time=lambda: T0 + after))
        done = CliRunner().invoke(cli, arguments, obj=TypedOptions(), catch_exceptions=False)
        assert done.exit_code == 0
        assert all(len(line) <= 80 for line in done.stdout.splitlines()) or "--json" in arguments
        return done.stdout

    return ask


def test_a_batch_that_runs(records, ask, workspace, golden):
    golden.replace(os.getpid(), "pid")
    records.add_run(holder=Holder.this_process()._replace(scheduler_id="77"))
    records.add_step_run(0, "succeeded", seconds=1.25)
    records.add_job("succeeded")
    records.add_step_run(1, "active", begin=2, n_experiments=500, n_tasks=20, batch_size=20)
    token = records.add_job("running", begin=2, role="batch", tasks="0-19", n_tasks=20)
    for task in (0, 3, 11):
        write_atomically(RunFolder(workspace, "1795500000").job(token).receipt(task), b"{}")
    golden(ask("status", after=187))


def test_a_thousand_iterations_take_a_line_per_step(records, ask, golden):
    records.add_run("r", "succeeded")
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "succeeded", begin=1, seconds=59, n_finished=95, n_failed=5)
    records.add_job("succeeded", role="batch")
    for row in range(5):
        records.add_failed_experiments(f"ValueError: x = {row}.5 is too large", [10 * row])
    records.add_many(1000, begin=60)
    records.add_step_run(PLAN.size - 1, "succeeded", begin=2060)
    golden(ask("status", after=90000))


def test_a_run_whose_process_died(records, ask, golden):
    records.add_run("r", holder=DEAD)
    records.add_step_run(0, "succeeded", seconds=2)
    records.add_step_run(1, "active", begin=2)
    records.add_job("running", begin=2, role="batch")
    records.add_event("job", at=T0 + 62, new="running", job_id=records.job_id)
    # Its time ends with its last event; it continues with the step that was active.
    golden(ask("status", after=5000))


def test_a_run_that_was_stopped_is_not_stalled(records, ask, golden):
    records.add_run("r", stopped_at=T0 + 62, stopped_by="SIGINT")
    records.add_step_run(0, "succeeded", seconds=2)
    records.add_step_run(1, "active", begin=2)
    records.add_job("cancelled", begin=2, role="batch", kind="interrupted", reason="the run was stopped")
    records.add_event("stopped", at=T0 + 62, why="Ctrl-C")
    golden(ask("status", after=5000))
    assert "stopped" in ask("list", after=5000)
    assert json.loads(ask("status", "--json", after=5000))["run"]["stopped_at"] == "2026-11-24T06:01:02.000Z"
    waited = CliRunner().invoke(cli, ["wait", "r"], obj=TypedOptions(), catch_exceptions=False)
    assert (waited.exit_code, waited.stderr.splitlines()[0]) == (75, "Run r was stopped (Ctrl-C at 2026-11-24 06:01).")


def test_time_in_which_no_process_drove_the_run_is_not_run_time(records, ask, golden):
    records.add_run("r", "succeeded", idle_seconds=3000)
    records.add_step_run(0, "succeeded", seconds=2)
    records.add_step_run(1, "succeeded", begin=2, seconds=3590, idle_seconds=3000, n_finished=12)
    golden(ask("status", after=5000))


@pytest.mark.parametrize(("state", "started_at"), [("queued", None), ("running", T0 + 150)])
def test_time_in_the_queue_is_not_the_time_of_a_step(records, ask, golden, monkeypatch, state, started_at):
    monkeypatch.setattr("orchestrator.cli.status.ask_briefly", lambda *_: None)
    records.add_run("r", queue_seconds=60, **on_slurm())
    records.add_step_run(0, "succeeded", seconds=70, queue_seconds=60)
    records.add_step_run(1, "active", begin=80, n_experiments=9, n_tasks=9)
    batch = {"role": "batch", "tasks": "0-8", "n_tasks": 9}
    token = records.add_job(state, begin=80, **{**batch, "started_at": started_at})
    records.add_orchestrator("queued", "4300", token, queued_at=T0 + 80, started_at=None)
    golden(ask("status", after=200))
    [run] = json.loads(ask("list", "--json", after=200))
    assert (run["seconds"], run["queue_seconds"]) == (200, 60 + (120 if started_at is None else 70))


def test_a_run_that_failed_in_an_iteration(records, ask, golden):
    study = {"study": "/home/my self/study.py", "study_attr": "second"}
    records.add_run("r", "failed", reason="step look@1 failed: ValueError: singular", **study)
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "skipped", reason="no open experiments")
    records.add_step_run(2, "failed", reason="ValueError: singular", withdrawn_at=T0 + 5)
    records.add_step_run(2, "succeeded", epoch=1)
    records.add_step_run(3, "succeeded", until=False)
    records.add_step_run(5, "failed", begin=9, seconds=0.5, reason="ValueError: singular")
    error = {"type": "ValueError", "message": "singular", "traceback": "Traceback\nValueError: singular\n"}
    records.add_job("failed", begin=9, kind="exception", reason="ValueError: singular", detail={"error": error})
    golden(ask("status", after=5000))


def test_counts_of_a_repeated_step_are_those_of_all_its_experiments(records, ask, golden):
    records.add_run("r", "succeeded")
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "cancelled", withdrawn_at=T0 + 5)
    records.add_step_run(1, "succeeded", epoch=1, n_finished=14)
    golden(ask("status"))


def test_retried_failures_come_after_those_to_fix(records, ask, golden):
    records.add_run("r", "failed")
    why = "1 of 20 tasks failed (out_of_memory): killed at 4 GB"
    records.add_step_run(1, "failed", reason=why, n_tasks=20)
    records.add_job("failed", role="batch", n_tasks=20, tasks="0-19", kind="infrastructure", reason="x")
    records.add_failed_task(3, "its worker was killed by SIGKILL", "infrastructure")
    records.add_job("cancelled", role="batch", attempt=2, kind="interrupted")
    records.add_failed_task(4, "interrupted by the user", "interrupted")
    records.add_job("failed", role="batch", attempt=3, kind="out_of_memory")
    records.add_failed_task(3, "killed at 4 GB", "out_of_memory")
    records.add_failed_task(7, "killed at 4 GB", "out_of_memory")
    golden(ask("status"))


@pytest.mark.parametrize(("mode", "kind"), [("slurm", "timeout"), ("slurm", "out_of_memory"), ("local", "timeout")])
def test_a_step_on_a_cluster_that_lacked_memory_or_time_is_given_more_first(records, ask, golden, mode, kind):
    records.add_run("r", "failed", mode=mode)
    records.add_step_run(1, "failed", reason=f"1 of 20 tasks failed ({kind})", n_tasks=20)
    records.add_job("failed", role="batch", n_tasks=20, tasks="0-19", kind=kind)
    records.add_failed_task(3, "killed", kind)
    golden(ask("status"))


def test_a_requested_cancel_is_not_a_failure(records, ask, golden):
    records.add_run("r", "cancelled", reason="cancelled by the user")
    records.add_step_run(1, "cancelled", reason="cancelled by the user", n_tasks=20)
    records.add_job("cancelled", role="batch", tasks="0-19", n_tasks=20, kind="cancelled")
    records.add_failed_task(4, "cancelled by the user", "cancelled")
    golden(ask("status"))


def test_a_task_that_scancel_ended_is_shown(records, ask, golden):
    records.add_run("r", "failed", reason="step evaluate failed: 1 of 20 tasks failed (cancelled): job 7 CANCELLED")
    records.add_step_run(1, "failed", reason="1 of 20 tasks failed", n_tasks=20)
    records.add_job("cancelled", role="batch", tasks="0-19", n_tasks=20, kind="cancelled")
    records.add_failed_task(4, "job 7 CANCELLED", "cancelled")
    golden(ask("status"))


def test_a_refusal_keeps_the_message_of_sbatch(records, ask, golden):
    records.add_run("r", "failed")
    records.add_step_run(1, "failed", reason="20 of 20 tasks failed (refused): invalid partition")
    records.add_job("failed", role="batch", kind="refused", reason="sbatch: error: invalid partition specified: bath")
    golden(ask("status"))


def test_a_failed_step_without_a_failed_job_shows_its_own_reason(records, ask, golden):
    records.add_run("r", "failed")
    records.add_step_run(1, "failed", reason="domain.json is not JSON")
    golden(ask("status"))


def test_the_same_cause_in_many_iterations_is_one(records, ask, golden):
    records.add_run("r", "active", holder=Holder.this_process())
    golden.replace(os.getpid(), "pid")
    for iteration in range(3):
        records.add_step_run(3 + 3 * iteration, "succeeded", n_finished=8, n_failed=2)
        records.add_job("succeeded", role="batch")
        records.add_failed_experiments(f"RuntimeError: no convergence after {iteration} steps of 1e-3", [1, 2])
    golden(ask("status"))


def test_long_texts_are_cut_and_commands_are_not(records, ask, golden):
    name = "a step whose name goes on and on and on, for reasons of its own"
    records.plan = type(PLAN)((PLAN.elements[0].__class__("0", name, label="long"),))
    key = "a-key-that-a-careful-person-has-chosen-to-say-everything-2026-11-24"
    records.add_run(key, "failed", reason="because " * 40, name="name " * 20, study=None)
    records.add_step_run(0, "failed", reason="because " * 40)
    records.add_job("failed", kind="exception", reason="because " * 40)
    lines = CliRunner().invoke(cli, ["status"], obj=TypedOptions()).stdout.splitlines()
    commands = [line for line in lines if "orchestrator " in line]
    golden(commands)
    assert all(len(line) <= 80 for line in lines[1:] if line not in commands)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [([], "create"), ([0], "evaluate"), ([0, 1], "look@0"), ([0, 1, 2], "refine@0"), ([0, 1, 2, 3], "look@1")],
)
def test_what_comes_next(records, ended, expected):
    records.add_run("r", holder=Holder.this_process())
    for position in ended:
        records.add_step_run(position, "succeeded", until=False if position == 3 else None)
    assert run_status(records.path, "r").next == expected


def test_a_resume_starts_at_the_step_that_status_shows(records):
    """A failure that a later step accepted with afterany is not repeated."""
    records.add_run("r", "failed", reason="step evaluate failed: x")
    records.add_step_run(0, "failed", reason="passed over")
    records.add_step_run(1, "failed", reason="x")
    assert run_status(records.path, "r").resume_from == "evaluate"
    records.add_run("at its end", "succeeded")
    records.add_step_run(0, "failed", reason="passed over")
    records.add_step_run(1, "succeeded")
    assert run_status(records.path, "at its end").resume_from == "create"


def test_ended_batches_are_counted_while_others_run(records, ask):
    records.add_run("r", holder=Holder.this_process())
    records.add_step_run(1, "active", n_experiments=40, n_tasks=40, batch_size=20)
    records.add_job("succeeded", role="batch", n_tasks=20, n_finished=18, n_failed=2)
    records.add_job("running", role="batch", batch=1, n_tasks=20)
    [line] = [line for line in ask("status").splitlines() if line.startswith("evaluate")]
    assert line.split()[:4] == ["evaluate", "active", "18", "2"]
    assert ask("list").splitlines()[1].split()[-2:] == ["18", "2"]


def test_what_comes_after_a_loop_that_ended_early(records):
    records.add_run("r", holder=Holder.this_process())
    records.add_step_run(3, "succeeded", until=True)
    assert run_status(records.path, None).next == "report"


def test_what_comes_next_if_the_first_steps_are_skipped(records):
    records.add_run("r", holder=Holder.this_process(), first_position=2)
    records.add_step_run(0, "skipped", reason="from_step")
    assert run_status(records.path, None).next == "look@0"


def test_the_step_after_a_loop_that_ended_early_is_not_its_next_iteration(records, ask, golden):
    records.add_run("r", "cancelled")
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "succeeded")
    records.add_step_run(3, "succeeded", until=True)
    assert run_status(records.path, "r").resume_from == "report"
    golden(ask("status"))


def test_json_has_all_details(records, ask):
    records.add_run("r", "failed")
    records.add_step_run(0, "failed", seconds=2.5, withdrawn_at=T0 + 3, reason="ValueError: no")
    records.add_job("failed", seconds=2.5, kind="exception", reason="ValueError: no")
    records.add_step_run(0, "succeeded", epoch=1, begin=4, seconds=0.25)
    records.add_job("succeeded", begin=4, seconds=0.25, attempt=1)
    records.add_step_run(1, "succeeded", begin=5, n_finished=1, n_failed=2)
    records.add_job("succeeded", begin=5, role="batch")
    records.add_failed_experiments("KeyError: 'E'", [3, 9], traceback="Traceback of E\n")
    records.add_event("withdrawn", at=T0 + 3, why="resume from create", detail={"position": 0})
    answer = json.loads(ask("status", "--json"))
    assert list(answer) == documented("Run status")
    assert list(answer["run"]) == documented("Run")
    assert list(answer["steps"][0]) == documented("Step summary")
    assert list(answer["step_runs"][0]) == documented("Step run")
    assert list(answer["step_runs"][0]["jobs"][0]) == documented("Job")
    assert list(answer["failures"][0]) == documented("Failure")
    assert list(answer["history"][0]) == documented("Event")
    assert answer["run"]["started_at"] == "2026-11-24T06:00:00.000Z"
    assert answer["run"]["seconds"] == 3600.0
    seen = [(s["address"], s["epoch"], s["state"], s["withdrawn_at"]) for s in answer["step_runs"]]
    assert seen == [
        ("create", 0, "failed", "2026-11-24T06:00:03.000Z"),
        ("create", 1, "succeeded", None),
        ("evaluate", 0, "succeeded", None),
    ]
    assert [[job["state"] for job in s["jobs"]] for s in answer["step_runs"]] == [
        ["failed"],
        ["succeeded"],
        ["succeeded"],
    ]
    assert answer["step_runs"][1]["jobs"][0]["started_at"] == "2026-11-24T06:00:04.000Z"
    # A withdrawn step run had failed; that is not a failure of the present run.
    [failure] = answer["failures"]
    assert (failure["address"], failure["why"], failure["n"], failure["rows"]) == (
        "evaluate",
        "KeyError: 'E'",
        2,
        [3, 9],
    )
    assert failure["traceback"] == "Traceback of E\n"
    assert [(e["what"], e["why"]) for e in answer["history"]] == [("run", None), ("withdrawn", "resume from create")]
    assert answer["provenance"] == {"python": "3.12"}


def test_the_cost_of_a_status_does_not_grow_with_the_run(records):
    def calls(key):
        with cProfile.Profile() as profile:
            run_status(records.path, key)
        return pstats.Stats(profile).total_calls

    records.add_run("few", holder=Holder.this_process())
    calls("few")  # statements are compiled once
    records.add_many(10, begin=0)
    few = calls("few")
    records.add_run("many", holder=Holder.this_process())
    records.add_many(1000, begin=0)
    assert calls("many") < 1.5 * few


def test_list_shows_runs_side_by_side(records, ask, golden):
    records.add_run("first", "succeeded", name="a name that says a lot about a study, and much more than is needed")
    records.add_step_run(1, "succeeded", n_finished=990, n_failed=10)
    records.add_run("1795500001", holder=DEAD, created_at=T0 + 100, started_at=T0 + 100, name="")
    records.add_event("run", at=T0 + 130)
    records.add_run("third", holder=Holder.this_process(), created_at=T0 + 200, started_at=T0 + 200)
    golden(ask("list", after=300))
    listed = json.loads(ask("list", "--json"))
    assert [run["stalled"] is not None for run in listed] == [False, True, False]
    assert listed[1]["seconds"] == 30.0


def test_list_of_an_empty_workspace(ask, golden):
    golden(ask("list"))


def test_experiments_of_a_loop_that_became_shorter_are_said(records, ask):
    records.add_run("r", "succeeded")
    records.add_step_run(1, "succeeded", n_finished=5)
    gone = {"withdrawn_at": T0 + 9, "n_finished": 3, "n_failed": 1}
    for epoch in (0, 1):  # the second try includes what the first one has evaluated
        records.add_step_run(3, "succeeded", **gone, iteration="1000", epoch=epoch)
    # The pipeline still has this one: it is evaluated again.
    records.add_step_run(6, "succeeded", **gone)
    line = "  not counted: 3 finished, 1 failed, in iterations that are no longer in the\n  pipeline\n"
    assert line in ask("status", after=60)
    status = json.loads(ask("status", "--json", after=60))
    assert (status["n_removed_finished"], status["n_removed_failed"]) == (3, 1)
