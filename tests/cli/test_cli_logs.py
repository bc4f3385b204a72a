"""The output of `logs` for steps that run, have run, have failed, or will never run."""

from __future__ import annotations

import json
import threading

import pytest
from cli_records import PLAN, Records
from click.testing import CliRunner

from orchestrator.cli.main import cli
from orchestrator.cli.workspace import TypedOptions
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder
from orchestrator.db.rows import update
from orchestrator.errors import NotFound
from orchestrator.machine.plan import Plan, PlannedStep


@pytest.fixture
def records(workspace):
    return Records(workspace)


def logs(*arguments):
    return CliRunner().invoke(cli, ["logs", *arguments], obj=TypedOptions(), catch_exceptions=False)


def write_log(workspace, name, text):
    log = workspace / "logs" / "r" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


@pytest.fixture
def batch(records, workspace):
    """20 tasks of one step run, each of which printed a line; task 13 died and was retried."""
    records.add_run("r", "succeeded")
    records.add_step_run(1, "succeeded", n_tasks=20)
    token = records.add_job("failed", role="batch", tasks="0-19", n_tasks=20, kind="infrastructure", reason="x")
    records.add_failed_task(13, "its worker was killed by SIGKILL", "infrastructure")
    for task in range(20):
        write_log(workspace, f"evaluate.{token}.{task}.log", f"this is {task}\n")
    second = records.add_job("succeeded", role="batch", tasks="13", attempt=2)
    write_log(workspace, f"evaluate.{second}.13.log", "this is 13 again\n")


def test_only_the_failed_ones_of_many_tasks_are_printed(batch, golden):
    done = logs("evaluate")
    golden(done)


def test_one_task_is_printed_as_it_is(batch, golden):
    golden(logs("r", "evaluate", "--task", "2"))
    golden(logs("r", "evaluate", "--task", "13"))
    golden(logs("r", "evaluate", "--task", "13", "-f"))


def test_a_task_that_printed_nothing_or_never_started(batch, workspace, golden):
    [log] = workspace.glob("logs/r/evaluate.*.4.log")
    log.write_text("")
    golden(logs("evaluate", "--task", "4"))
    golden(logs("evaluate", "--task", "4", "-f"))
    log.unlink()
    for follow in ((), ("-f",)):
        with golden.raises(NotFound):
            logs("evaluate", "--task", "4", *follow)


def test_an_unknown_task(batch, golden):
    with golden.raises(NotFound):
        logs("evaluate", "--task", "20")


def test_json_names_the_files(batch, workspace):
    answer = json.loads(logs("evaluate", "--task", "13", "--json").stdout)
    assert [(log["task"], log["path"].startswith(str(workspace))) for log in answer["logs"]] == [(13, True), (13, True)]
    assert answer["step_run"]["address"] == "evaluate"
    assert answer["step_run"]["failures"][0]["tasks"] == [13]


def test_names_are_not_patterns(workspace, golden):
    name = "evaluate [E, nu]*"
    records = Records(workspace, Plan((PlannedStep("0", name, kind="batch", parallel=True, label=name),)))
    records.add_run("r", "succeeded")
    records.add_step_run(0, "succeeded", n_tasks=2)
    token = records.add_job("succeeded", role="batch", n_tasks=2)
    write_log(workspace, f"{name}.{token}.1.log", "printed\n")
    golden(logs(name))


def test_a_step_that_was_skipped_has_no_log(records, golden):
    records.add_run("r", "succeeded")
    records.add_step_run(1, "skipped", reason="no open experiments")
    done = logs("evaluate")
    golden(done)


def test_a_step_that_has_not_run_yet(records, golden):
    records.add_run("r", holder=Holder.this_process())
    records.add_step_run(2, "succeeded")
    with golden.raises(NotFound):
        logs("look@1")


def test_an_unknown_step(records, golden):
    records.add_run("r", holder=Holder.this_process())
    with golden.raises(NotFound):
        logs("lok")


def test_the_latest_epoch_is_meant(records, workspace, golden):
    records.add_run("r", "succeeded")
    records.add_step_run(1, "succeeded", n_tasks=1, withdrawn_at=5.0)
    old = records.add_job("succeeded", role="batch")
    records.add_step_run(1, "succeeded", n_tasks=1, epoch=1)
    new = records.add_job("succeeded", role="batch")
    write_log(workspace, f"evaluate.{old}.0.log", "old\n")
    write_log(workspace, f"evaluate.{new}.0.log", "new\n")
    golden(logs("evaluate"))


def test_following_ends_with_the_step(records, workspace, monkeypatch, golden):
    records.add_run("r", holder=Holder.this_process())
    step_run_id = records.add_step_run(0, "active")
    log = write_log(workspace, "create.log", "one\n")
    looked = threading.Event()

    def end_the_step(seconds):
        # Runs instead of the pause between two reads; the next read sees what is written here.
        looked.set()
        with log.open("a") as file:
            file.write("two\n")
        with session(records.path) as connection:
            update(connection, "step_run", {"state": "succeeded", "ended_at": 1.0}, id=step_run_id)

    monkeypatch.setattr("orchestrator.cli.logs.time.sleep", end_the_step)
    golden(logs("create", "-f"))
    assert looked.is_set()


def test_following_waits_for_a_step_that_has_not_started(records, workspace, monkeypatch, golden):
    records.add_run("r", holder=Holder.this_process())
    records.add_step_run(0, "succeeded")
    begun = {}

    def begin():
        begun["id"] = records.add_step_run(1, "pending")
        # Meanwhile the user starts another run.
        records.add_run("other", holder=Holder.this_process())

    def end():
        values = {"state": "succeeded", "n_tasks": 6, "started_at": 1.0, "ended_at": 2.0}
        with session(records.path) as connection:
            update(connection, "step_run", values, id=begun["id"])
        records.step_run_id = begun["id"]
        token = records.add_job("succeeded", role="batch", tasks="0-5", n_tasks=6)
        write_log(workspace, f"evaluate.{token}.5.log", "this is 5\n")

    # Run instead of the pauses between reads.
    meanwhile = iter([begin, end])
    monkeypatch.setattr("orchestrator.cli.logs.time.sleep", lambda seconds: next(meanwhile)())
    done = logs("evaluate", "-f", "--task", "5")
    golden(done)


def test_following_waits_for_a_step_that_a_resume_reopens(records, workspace, monkeypatch):
    records.add_run("r", holder=Holder.this_process())
    records.add_step_run(0, "succeeded", withdrawn_at=1.0)
    log = write_log(workspace, "create.log", "before\n")

    def begin_and_end_the_step(seconds):
        log.write_text("now\n")
        records.add_step_run(0, "succeeded", epoch=1)

    monkeypatch.setattr("orchestrator.cli.logs.time.sleep", begin_and_end_the_step)
    assert logs("create", "-f").stdout == "now\n"


def test_following_does_not_wait_for_a_step_that_will_not_start(records, golden):
    records.add_run("r")
    records.add_step_run(0, "active")
    with golden.raises(NotFound):
        logs("evaluate", "-f")


def test_following_does_not_wait_for_an_unknown_step(records, golden):
    records.add_run("r", holder=Holder.this_process())
    for address in ("create@0", "look@100000"):
        with golden.raises(NotFound):
            logs(address, "-f")


def test_following_a_run_that_died_ends_with_a_message(records, workspace, golden):
    records.add_run("r")
    records.add_step_run(0, "active")
    write_log(workspace, "create.log", "one\n")
    done = logs("create", "-f", "--rootdir", str(workspace))
    golden(done)


def test_only_a_few_tracebacks_are_printed(records, golden):
    records.add_run("r", "succeeded")
    records.add_step_run(1, "succeeded", n_tasks=1)
    records.add_job("succeeded", role="batch")
    for row in range(12):
        records.add_failed_experiments(f"KeyError: {row}", [row], traceback=f"Traceback {row}\n")
    done = logs("evaluate")
    golden(done)


def test_the_command_that_shows_all_causes_can_be_pasted(workspace, golden):
    name = "evaluate [E, nu]*"
    records = Records(workspace, Plan((PlannedStep("0", name, kind="batch", parallel=True, label=name),)))
    records.add_run("r", "succeeded")
    records.add_step_run(0, "succeeded", n_tasks=1)
    records.add_job("succeeded", role="batch")
    for row in range(9):
        records.add_failed_experiments(f"KeyError: {row}", [row])
    done = logs(name)
    assert "orchestrator logs r 'evaluate [E, nu]*' --json" in done.stderr
    golden(done)


def test_a_step_that_prints_nothing(records, workspace, golden):
    records.add_run("r", "succeeded")
    records.add_step_run(PLAN.size - 1, "succeeded")
    write_log(workspace, "report.log", "")
    golden(logs("report"))
    (workspace / "logs/r/report.log").unlink()
    with golden.raises(NotFound):
        logs("report")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"held_at": 1.0}, "Run r is held.\nTo continue it: orchestrator release r"),
        ({"uid": 4242}, "To make it yours: orchestrator takeover r"),
    ],
)
def test_following_ends_with_the_command_that_is_accepted(records, workspace, values, said):
    records.add_run("r", **values)
    records.add_step_run(0, "active")
    write_log(workspace, "create.log", "one\n")
    done = logs("create", "-f", "--rootdir", str(workspace))
    assert done.stderr.endswith(f"{said} --rootdir {workspace}\n"), done.stderr
