"""What a run has requested and used, and what to request next time."""

from __future__ import annotations

import json

import pytest
from cli_records import T0, Records, documented, on_slurm
from click.testing import CliRunner

from orchestrator import Pipeline, SlurmResources, Step
from orchestrator.cli.main import cli
from orchestrator.cli.reports.usage import Request, TaskUsage, usage_of
from orchestrator.cli.workspace import TypedOptions
from orchestrator.machine.plan import Plan, PlannedStep
from tests.studies import square, store_numbers


def task(number=0, seconds=100.0, memory=900.0, cpus=1.0, first=None, step="solve"):
    return TaskUsage(
        *(f"{step}@0", step, "0", number, 1, 0.0, seconds, cpus * seconds, memory, first, "node07", 1, 0, False)
    )


def advice(*tasks, memory=1024.0, seconds=180.0, cpus=1, failures=()):
    """Return the fields that should change, and the sentences."""
    [usage] = usage_of(tasks, {"solve": Request(memory, seconds, cpus)}, {"solve": failures})
    return dict(usage.resources), usage.advice


def test_requests_that_fit_need_no_advice():
    assert advice(task()) == ({}, ())


def test_too_much_is_reduced_with_a_margin():
    assert advice(task(memory=900), memory=16384.0)[0] == {"mem": "1280M"}
    assert advice(task(memory=20), memory=4096.0)[0] == {"mem": "512M"}
    assert advice(task(memory=3500), memory=65536.0)[0] == {"mem": "5G"}
    assert advice(task(seconds=1000), seconds=86400.0)[0] == {"time": "00:25:00"}
    assert advice(task(seconds=100_000), seconds=864_000.0)[0] == {"time": "1-18:00:00"}


def test_what_is_close_to_its_limit_gets_more():
    assert advice(task(memory=1000))[0] == {"mem": "1280M"}
    assert advice(task(seconds=175))[0] == {"time": "00:05:00"}


def test_what_was_over_its_limit_and_not_killed_gets_more():
    changes, [memory, time] = advice(task(memory=2000, seconds=600))
    assert changes == {"mem": "2560M", "time": "00:15:00"}
    assert memory == "A task used 1.95 GB of memory, but requested 1 GB: a cluster that enforces the limit kills it."
    assert time == "The longest task took 10 min 00 s, but requested 3 min 00 s: a cluster ends it then."


def test_what_was_killed_at_its_limit_gets_twice_as_much():
    assert advice(task(), failures=["out_of_memory"])[0] == {"mem": "2G"}
    assert advice(task(), failures=["timeout"])[0] == {"time": "00:06:00"}


def test_a_step_whose_tasks_were_all_killed_gets_advice_and_slurm_says_its_memory():
    requests = {"solve": Request(1024.0, 180.0, 1)}
    [usage] = usage_of([], requests, {"solve": ["out_of_memory"]}, {"solve": 1020.0})
    assert (usage.n_tasks, usage.memory, dict(usage.resources)) == (0, 1020.0, {"mem": "2G"})
    [usage] = usage_of([task(memory=100)], requests, {}, {"solve": 1000.0})
    assert dict(usage.resources) == {"mem": "1280M"}
    assert usage_of([], requests, {"solve": ["exception"]}) == ()


def test_cpus_that_waited_are_not_requested_again():
    assert advice(task(cpus=1.02), cpus=8)[0] == {"cpus_per_task": 1}
    assert advice(task(cpus=7.5), cpus=8)[0] == {}
    assert advice(task(cpus=3.9), cpus=1)[0] == {"cpus_per_task": 4}


def test_unlimited_is_not_judged():
    assert advice(task(), memory=None, seconds=None) == ({}, ())


def test_memory_that_grows_is_reported():
    changes, [why] = advice(task(memory=800, first=790), task(1, memory=323, first=218))
    assert changes == {}
    assert "grew from 218 MB after its first experiment to 323 MB" in why
    assert advice(task(memory=900, first=850))[1] == ()


def test_many_short_tasks_are_reported():
    _, [why] = advice(*(task(number, seconds=4) for number in range(40)), seconds=None)
    assert "40 tasks took less than 4.0 s" in why


def test_what_a_run_on_this_machine_does_not_request_is_suggested_and_not_criticized():
    request = Request(None, None, None, frozenset({"mem", "time", "cpus_per_task"}))
    [usage] = usage_of([task(cpus=3.9)] * 40, {"solve": request}, {})
    assert usage.advice == ()
    assert usage.resources == {"mem": "1280M", "time": "00:05:00", "cpus_per_task": 4}
    [usage] = usage_of([task()], {"solve": Request(16384.0, None, None, frozenset({"time", "cpus_per_task"}))}, {})
    assert usage.resources == {"mem": "1280M", "time": "00:05:00"}
    [why] = usage.advice
    assert "900 MB of the requested 16 GB" in why


def test_the_time_of_each_task_in_the_queue_is_reported():
    waited = [task(number)._replace(queue_seconds=float(number)) for number in range(1, 6)]
    [usage] = usage_of(waited, {"solve": Request(None, None, 1)}, {})
    assert usage.queue_seconds == (3.0, 5.0)
    assert advice(task()) == ({}, ())


@pytest.fixture
def run(workspace):
    """A real run of two steps on this machine."""
    resources = SlurmResources(mem="64G", time="1-00:00:00")
    steps = [Step(store_numbers(12), name="create"), Step(square, name="solve", parallel=True, resources=resources)]
    return Pipeline("beam", steps).run(mode="local", project_job="r")


def output(*arguments):
    done = CliRunner().invoke(cli, ["efficiency", *arguments], obj=TypedOptions(), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_tasks_of_a_real_run_say_what_they_used(run):
    found = json.loads(output("--json"))
    assert list(found) == documented("Efficiency")
    assert [step["step"] for step in found["steps"]] == ["create", "solve"]
    solve = found["steps"][1]
    assert list(solve) == documented("Step usage")
    assert (solve["memory_requested"], solve["seconds_requested"]) == (65536, 86400)
    assert 5 < solve["memory"] < 2000
    assert solve["resources"] == {"mem": "512M", "time": "00:05:00"}
    assert found["steps"][0]["advice"] == []
    text = output("r")
    assert "Step create" not in text
    assert "At most" in text.partition("Step solve:")[2]
    nothing, _, enough = text.partition("On a cluster, this would be enough:\n")
    assert nothing.endswith("This machine sets no limits. ")
    # Linux counts the memory of the process that has started a step as that of the step: here it is that of the tests.
    memory = found["steps"][0]["resources"]["mem"]
    steps = ["create, solve"] if memory == "512M" else ["create", "solve"]
    shown = [f'  {step}:\n    SlurmResources(mem="{{}}", time="00:05:00")\n' for step in steps]
    assert enough == "".join(shown).format(*[memory, "512M"][-len(steps) :])
    assert max(map(len, text.splitlines())) <= 80


def test_a_limit_that_was_changed_after_a_task_reached_it_is_not_taken_for_the_one_that_it_reached(workspace):
    plan = Plan((PlannedStep("0", "solve", label="solve", resources={"time": "00:05:00"}),))
    records = Records(workspace, plan)
    records.add_run("r", "failed", **on_slurm())
    records.add_step_run(0, "failed")
    records.add_job("failed", kind="timeout", seconds=20)
    assert "ended after its time limit of 5 min 00 s" in " ".join(output("r").split())
    records.add_event("resources", at=T0 + 60, why="solve: time=00:05:00")
    assert "time limit" not in output("r")
    records.add_job("failed", kind="timeout", begin=100, attempt=2)
    assert "ended after its time limit of 5 min 00 s" in " ".join(output("r").split())


def test_a_run_without_ended_tasks_has_no_advice(workspace):
    Records(workspace).add_run("r", "active")
    assert output() == "Run r (cantilever): no task has ended yet\n"
