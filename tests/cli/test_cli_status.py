"""What `status`, `list` and `logs` say of a run, at each stage that a user may look at."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_records import PLAN, T0, Records
from click.testing import CliRunner

from orchestrator.cli.main import cli
from orchestrator.cli.workspace import Place
from orchestrator.db.lease import Holder
from orchestrator.db.queries import run_status
from orchestrator.handoff.folder import RunFolder, write_aside

ROOT = Path(__file__).resolve().parents[2]
DEAD = Holder("login1", "another boot", 4242, "1")


@pytest.fixture
def records(workspace, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    # A dead process of this machine: another boot's.
    monkeypatch.setattr("orchestrator.db.lease._host", lambda: "login1")
    yield Records(workspace)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def ask(monkeypatch, records):
    """Run a command in this process, as many seconds after the run began as are given."""

    def ask(*arguments, after=600.0):
        for name in ("status", "list"):
            monkeypatch.setattr(f"orchestrator.cli.{name}.time", SimpleNamespace(time=lambda: T0 + after))
        done = CliRunner().invoke(cli, arguments, obj=Place(), catch_exceptions=False)
        assert done.exit_code == 0
        assert all(len(line) <= 80 for line in done.stdout.splitlines()) or "--json" in arguments
        return done.stdout

    return ask


def test_a_batch_that_runs(records, ask, workspace):
    records.add_run(holder=Holder.me()._replace(scheduler_id="77"))
    records.add_step_run(0, "succeeded", seconds=1.25)
    records.add_job("succeeded")
    records.add_step_run(1, "active", begin=2, n_experiments=500, n_tasks=20, batch_size=20)
    token = records.add_job("running", begin=2, role="batch", tasks="0-19", n_tasks=20)
    for task in (0, 3, 11):
        write_aside(RunFolder(workspace, "1795500000").job(token).receipt(task), b"{}")
    assert ask("status", after=187) == (
        "Run 1795500000 (cantilever): active\n"
        "  began 06:00:00, for 3 min 07 s\n"
        f"  by process {os.getpid()} on login1 (job 77)\n"
        "  study /home/me/study.py\n"
        "\n"
        "STEP      STATE      ITERATIONS  FINISHED  FAILED        TIME\n"
        "create    succeeded                                     1.2 s\n"
        "evaluate  active                                   3 min 05 s\n"
        "  look    waiting     0 of 1000\n"
        "  refine  waiting     0 of 1000\n"
        "report    waiting\n"
        "\n"
        "Now:  evaluate, for 3 min 05 s\n"
        "      job 4242.2 running, 3 of 20 tasks ended\n"
        "Next: look@0\n"
    )


def test_a_thousand_iterations_take_a_line_per_step(records, ask):
    records.add_run("r", "succeeded")
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "succeeded", begin=1, seconds=59, n_finished=95, n_failed=5)
    records.add_job("succeeded", role="batch")
    for row in range(5):
        records.add_failed_experiments(f"ValueError: x = {row}.5 is too large", [10 * row])
    records.add_many(1000, begin=60)
    records.add_step_run(PLAN.size - 1, "succeeded", begin=2060)
    assert ask("status", after=90000) == (
        "Run r (cantilever): succeeded\n"
        "  began 2026-11-24 06:00, took 1 h 00 min\n"
        "  study /home/me/study.py\n"
        "\n"
        "STEP      STATE        ITERATIONS  FINISHED  FAILED         TIME\n"
        "create    succeeded                                        1.0 s\n"
        "evaluate  succeeded                      95       5       59.0 s\n"
        "  look    succeeded  1000 of 1000                     8 min 20 s\n"
        "  refine  succeeded  1000 of 1000     10000          25 min 00 s\n"
        "report    succeeded                                        1.0 s\n"
        "\n"
        "Failures:\n"
        "  evaluate: 5 experiments failed (0, 10, 20, 30, 40)\n"
        "    first: ValueError: x = 0.5 is too large\n"
        "  Tracebacks: orchestrator logs r evaluate\n"
    )


def test_a_run_whose_process_died(records, ask):
    records.add_run("r", holder=DEAD)
    records.add_step_run(0, "succeeded", seconds=2)
    records.add_step_run(1, "active", begin=2)
    records.add_job("running", begin=2, role="batch")
    records.add_event("job", at=T0 + 62, new="running", job_id=records.job_id)
    text = ask("status", after=5000)
    # The clock stopped with its last word; what it had open is where it goes on.
    assert text.startswith(
        "Run r (cantilever): stalled\n"
        "  process 4242 on login1, which advanced it, has died\n"
        "  began 06:00:00, last change 06:01:02 (after 1 min 02 s)\n"
    )
    assert "\nevaluate  active" in text
    assert "1 min 00 s\n" in text
    assert "Now:" not in text
    assert text.endswith("\n\nTo go on from evaluate: orchestrator resume r\n")


def test_a_run_that_failed_in_an_iteration(records, ask):
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
    assert ask("status", after=5000) == (
        "Run r (cantilever): failed\n"
        "  step look@1 failed: ValueError: singular\n"
        "  began 06:00:00, took 1 h 00 min\n"
        "  study /home/my self/study.py\n"
        "\n"
        "STEP      STATE      ITERATIONS  FINISHED  FAILED   TIME\n"
        "create    succeeded                                1.0 s\n"
        "evaluate  skipped\n"
        "  look    failed      2 of 1000                    1.5 s\n"
        "  refine  succeeded   1 of 1000                    1.0 s\n"
        "report    waiting\n"
        "\n"
        "Failures:\n"
        "  look@1: failed, exception\n"
        "    ValueError: singular\n"
        "  Tracebacks: orchestrator logs r look@1\n"
        "\n"
        "To go on from look@1, once what failed is mended: orchestrator resume r\n"
        "If you mended the study for that:\n"
        "  orchestrator resume r --update '/home/my self/study.py:second'\n"
    )


def test_counts_say_when_they_are_not_of_the_whole_step(records, ask):
    records.add_run("r", "succeeded")
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "cancelled", withdrawn_at=T0 + 5)
    records.add_step_run(1, "succeeded", epoch=1, n_finished=14)
    assert "\nCounted since a resume began there anew: evaluate\n" in ask("status")


def failures_of(text):
    return text.partition("Failures:\n")[2].partition("  Tracebacks:")[0]


def test_what_was_tried_again_comes_after_what_has_to_be_mended(records, ask):
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
    assert failures_of(ask("status")) == (
        "  evaluate: 2 tasks failed, out_of_memory (3, 7)\n"
        "    killed at 4 GB\n"
        "  evaluate: 1 task failed, infrastructure (3), tried again\n"
        "    its worker was killed by SIGKILL\n"
    )


def test_what_was_asked_for_is_no_failure(records, ask):
    records.add_run("r", "cancelled", reason="cancelled by the user")
    records.add_step_run(1, "cancelled", reason="cancelled by the user", n_tasks=20)
    records.add_job("cancelled", role="batch", tasks="0-19", n_tasks=20, kind="cancelled")
    records.add_failed_task(4, "cancelled by the user", "cancelled")
    text = ask("status")
    assert text.startswith("Run r (cantilever): cancelled\n  cancelled by the user\n")
    assert "Failures" not in text
    assert text.endswith("\n\nTo go on from evaluate: orchestrator resume r\n")


def test_a_task_that_somebody_else_cancelled_is_named(records, ask):
    records.add_run("r", "failed", reason="step evaluate failed: 1 of 20 tasks failed (cancelled): job 7 CANCELLED")
    records.add_step_run(1, "failed", reason="1 of 20 tasks failed", n_tasks=20)
    records.add_job("cancelled", role="batch", tasks="0-19", n_tasks=20, kind="cancelled")
    records.add_failed_task(4, "job 7 CANCELLED", "cancelled")
    text = ask("status")
    assert "Failures:\n  evaluate: 1 task failed, cancelled (4)\n    job 7 CANCELLED\n" in text


def test_a_refusal_keeps_the_words_of_who_refused(records, ask):
    records.add_run("r", "failed")
    records.add_step_run(1, "failed", reason="20 of 20 tasks failed (refused): invalid partition")
    records.add_job("failed", role="batch", kind="refused", reason="sbatch: error: invalid partition specified: bath")
    assert failures_of(ask("status")) == (
        "  evaluate: failed, refused\n    sbatch: error: invalid partition specified: bath\n"
    )


def test_a_step_that_no_job_explains_says_why_itself(records, ask):
    records.add_run("r", "failed")
    records.add_step_run(1, "failed", reason="domain.json is not JSON")
    assert failures_of(ask("status")) == "  evaluate: failed\n    domain.json is not JSON\n"


def test_the_same_cause_in_many_iterations_is_one(records, ask):
    records.add_run("r", "active", holder=Holder.me())
    for iteration in range(3):
        records.add_step_run(3 + 3 * iteration, "succeeded", n_finished=8, n_failed=2)
        records.add_job("succeeded", role="batch")
        records.add_failed_experiments(f"RuntimeError: no convergence after {iteration} steps of 1e-3", [1, 2])
    assert failures_of(ask("status")) == (
        "  refine@0 and 2 more iterations: 6 experiments failed\n"
        "    first: RuntimeError: no convergence after 0 steps of 1e-3\n"
    )


def test_long_texts_are_cut_and_commands_are_not(records, ask):
    name = "a step whose name goes on and on and on, for reasons of its own"
    records.plan = type(PLAN)((PLAN.elements[0].__class__("0", name, label="long"),))
    key = "a-key-that-a-careful-person-has-chosen-to-say-everything-2026-11-24"
    records.add_run(key, "failed", reason="because " * 40, name="name " * 20, study=None)
    records.add_step_run(0, "failed", reason="because " * 40)
    records.add_job("failed", kind="exception", reason="because " * 40)
    lines = CliRunner().invoke(cli, ["status"], obj=Place()).stdout.splitlines()
    commands = [line for line in lines if "orchestrator " in line]
    assert commands == [f"    orchestrator logs {key} '{name}'", f"  orchestrator resume {key}"]
    assert all(len(line) <= 80 for line in lines[1:] if line not in commands)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [([], "create"), ([0], "evaluate"), ([0, 1], "look@0"), ([0, 1, 2], "refine@0"), ([0, 1, 2, 3], "look@1")],
)
def test_what_comes_next(records, ended, expected):
    records.add_run("r", holder=Holder.me())
    for position in ended:
        records.add_step_run(position, "succeeded", until=False if position == 3 else None)
    assert run_status(records.path, "r")["next"] == expected


def test_a_resume_begins_where_status_says_that_it_begins(records):
    """A failure that an afterany step passed over long ago is not gone back to."""
    records.add_run("r", "failed", reason="step evaluate failed: x")
    records.add_step_run(0, "failed", reason="passed over")
    records.add_step_run(1, "failed", reason="x")
    assert run_status(records.path, "r")["resume_from"] == "evaluate"
    records.add_run("at its end", "succeeded")
    records.add_step_run(0, "failed", reason="passed over")
    records.add_step_run(1, "succeeded")
    assert run_status(records.path, "at its end")["resume_from"] == "create"


def test_the_batches_that_have_ended_are_counted_while_others_go_on(records, ask):
    records.add_run("r", holder=Holder.me())
    records.add_step_run(1, "active", n_experiments=40, n_tasks=40, batch_size=20)
    records.add_job("succeeded", role="batch", n_tasks=20, n_finished=18, n_failed=2)
    records.add_job("running", role="batch", batch=1, n_tasks=20)
    [line] = [line for line in ask("status").splitlines() if line.startswith("evaluate")]
    assert line.split()[:4] == ["evaluate", "active", "18", "2"]
    assert ask("list").splitlines()[1].split()[-2:] == ["18", "2"]


def test_what_comes_after_a_loop_that_ended_early(records):
    records.add_run("r", holder=Holder.me())
    records.add_step_run(3, "succeeded", until=True)
    assert run_status(records.path, None)["next"] == "report"


def test_what_comes_next_where_the_first_steps_are_left_out(records):
    records.add_run("r", holder=Holder.me(), first_position=2)
    records.add_step_run(0, "skipped", reason="from_step")
    assert run_status(records.path, None)["next"] == "look@0"


def test_what_comes_after_a_loop_that_ended_early_is_not_its_next_iteration(records, ask):
    records.add_run("r", "cancelled")
    records.add_step_run(0, "succeeded")
    records.add_step_run(1, "succeeded")
    records.add_step_run(3, "succeeded", until=True)
    assert run_status(records.path, "r")["resume_from"] == "report"
    assert ask("status").endswith("To go on from report: orchestrator resume r\n")


def test_json_tells_all(records, ask):
    records.add_run("r", "failed")
    records.add_step_run(0, "failed", seconds=2.5, withdrawn_at=T0 + 3, reason="ValueError: no")
    records.add_job("failed", seconds=2.5, kind="exception", reason="ValueError: no")
    records.add_step_run(0, "succeeded", epoch=1, begin=4, seconds=0.25)
    records.add_job("succeeded", begin=4, seconds=0.25, attempt=1)
    records.add_step_run(1, "succeeded", begin=5, n_finished=1, n_failed=2)
    records.add_job("succeeded", begin=5, role="batch")
    records.add_failed_experiments("KeyError: 'E'", [3, 9], traceback="Traceback of E\n")
    records.add_event("withdrawn", at=T0 + 3, why="resume from create", detail={"position": 0})
    told = json.loads(ask("status", "--json"))
    assert set(told) == {
        *("run", "steps", "step_runs", "failures", "now", "next", "resume_from", "orchestrators", "provenance"),
        "history",
        "notes",
    }
    documented = (ROOT / "docs/reference/cli.md").read_text().partition("## JSON")[2]
    names = [*told, *told["steps"][0], "stalled", "holder", "withdrawn_at", *told["failures"][0]]
    plain = {"name", "path", "address", "depth", "state", "run"}
    assert not [name for name in names if f"`{name}`" not in documented and name not in plain]
    assert told["run"]["started_at"] == "2026-11-24T06:00:00.000Z"
    assert told["run"]["seconds"] == 3600.0
    seen = [(s["address"], s["epoch"], s["state"], s["withdrawn_at"]) for s in told["step_runs"]]
    assert seen == [
        ("create", 0, "failed", "2026-11-24T06:00:03.000Z"),
        ("create", 1, "succeeded", None),
        ("evaluate", 0, "succeeded", None),
    ]
    assert [[job["state"] for job in s["jobs"]] for s in told["step_runs"]] == [
        ["failed"],
        ["succeeded"],
        ["succeeded"],
    ]
    assert told["step_runs"][1]["jobs"][0]["started_at"] == "2026-11-24T06:00:04.000Z"
    # What was put back failed once; it is no failure of the run as it stands.
    [failure] = told["failures"]
    assert (failure["address"], failure["why"], failure["n"], failure["rows"]) == (
        "evaluate",
        "KeyError: 'E'",
        2,
        [3, 9],
    )
    assert failure["traceback"] == "Traceback of E\n"
    assert [(e["what"], e["why"]) for e in told["history"]] == [("run", None), ("withdrawn", "resume from create")]
    assert told["provenance"] == {"python": "3.12"}


def test_the_cost_of_a_status_does_not_grow_with_the_run(records):
    def calls(key):
        with cProfile.Profile() as profile:
            run_status(records.path, key)
        return pstats.Stats(profile).total_calls

    records.add_run("few", holder=Holder.me())
    calls("few")  # statements are compiled once
    records.add_many(10, begin=0)
    few = calls("few")
    records.add_run("many", holder=Holder.me())
    records.add_many(1000, begin=0)
    assert calls("many") < 1.5 * few


def test_list_shows_runs_side_by_side(records, ask):
    records.add_run("first", "succeeded", name="a name that says a lot about a study, and much more than is needed")
    records.add_step_run(1, "succeeded", n_finished=990, n_failed=10)
    records.add_run("1795500001", holder=DEAD, created_at=T0 + 100, started_at=T0 + 100, name="")
    records.add_event("run", at=T0 + 130)
    records.add_run("third", holder=Holder.me(), created_at=T0 + 200, started_at=T0 + 200)
    assert ask("list", after=300) == (
        "RUN         STATE      NAME               BEGAN           TIME  FINISHED  FAILED\n"
        "third       active     cantilever         06:03:20  1 min 40 s         0       0\n"
        "1795500001  stalled                       06:01:40      30.0 s         0       0\n"
        "first       succeeded  a name that sa...  06:00:00  1 h 00 min       990      10\n"
    )
    listed = json.loads(ask("list", "--json"))
    assert [run["stalled"] is not None for run in listed] == [False, True, False]
    assert listed[1]["seconds"] == 30.0


def test_list_of_an_empty_workspace(ask):
    assert ask("list") == "No runs yet. Start one: orchestrator run STUDY.py\n"
