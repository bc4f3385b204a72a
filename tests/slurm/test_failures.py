"""Failures on a cluster: no job waits for ever, and every failure is reported."""

from __future__ import annotations

import json
import sys

import pytest

from orchestrator import ExperimentSample
from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slurm

STEPS = """
pipeline = Pipeline("fails", steps=[
    Step(create, name="create"),
    Step({block}, name="middle"),
    Step(double, name="run", parallel=True, dependency="{dependency}"),
    Step(nothing, name="last"),
])
"""


def test_a_step_that_raises_ends_the_run_at_once_and_resume_continues_it(studies, golden):
    key = studies.submit(STEPS.format(block="fail", dependency="afterok"))
    printed = studies.wait(key, code=1)

    golden(printed, exact=False)
    assert studies.states(key) == {"create": "succeeded", "middle": "failed"}
    # The run has ended: no job waits.
    wait_until(lambda: not studies.cluster.jobs_left(), 15)
    assert "ValueError: this step can't work" in studies.orchestrator("logs", key, "middle").stdout

    studies.write(STEPS.format(block="nothing", dependency="afterok"))
    studies.orchestrator("resume", key, "--update", "study.py")
    studies.wait(key)
    assert studies.states(key) == dict.fromkeys(["create", "middle", "run", "last"], "succeeded")
    assert studies.outputs(key) == [0, 2, 4]


def test_afterany_continues_after_a_step_that_raises(studies, golden):
    key = studies.submit(STEPS.format(block="fail", dependency="afterany"))
    printed = studies.wait(key, code=3)

    golden(printed, exact=False)
    assert studies.states(key) == {"create": "succeeded", "middle": "failed", "run": "succeeded", "last": "succeeded"}
    assert studies.status(key)["run"]["state"] == "succeeded"
    assert studies.outputs(key) == [0, 2, 4]


ONE_DIES = """
@datagenerator(output_names="y")
def risky(x):
    if x == 7 and not Path("fixed").exists():
        die()
    if x == 3:
        raise ValueError(f"no value at {{x}}")
    return 2 * x


pipeline = Pipeline("one dies", steps=[
    Step(create, name="create", kwargs={{"n": 12}}),
    Step(risky, name="run", parallel=True, {options}),
    Step(nothing, name="last"),
])
"""


def test_a_task_that_dies_fails_the_step_and_all_other_results_remain(studies, golden):
    """Submitted again by `resume`, the array holds the one index that has no result, and the one that failed."""
    key = studies.submit(ONE_DIES.format(options=""))
    printed = studies.wait(key, code=1)

    golden.replace(f"job {studies.jobs(key, 'run')[0]['scheduler_id']}", "job")
    golden(printed, exact=False)
    first = studies.jobs(key, "run")[0]
    assert (first["state"], first["kind"], first["n_finished"], first["n_failed"]) == (
        "failed",
        "infrastructure",
        10,
        1,
    )
    assert "FAILED" in first["reason"]
    assert first["failed_tasks"] == "7"
    statuses = [line.partition(",")[2] for line in studies.files(key)["jobs.csv"].splitlines()[1:]]
    assert statuses == ["FINISHED"] * 3 + ["ERROR"] + ["FINISHED"] * 3 + ["OPEN"] + ["FINISHED"] * 4
    died, raised = json.loads(studies.orchestrator("failures", key, "--json").stdout)["causes"]
    assert (died["what"], died["tasks"]) == ("task failed", [7])
    assert [failed["inputs"] for failed in died["experiments"]] == [{"x": 7.0}]
    assert (raised["type"], [failed["experiment"] for failed in raised["experiments"]]) == ("ValueError", [3])
    assert raised["place"].partition(":")[0] == str(studies.folder / "study.py")
    assert list(raised["hosts"].values()) == [1]
    shown = studies.orchestrator("failures", key).stdout
    assert f"orchestrator logs {key} run --task 7\n" in shown

    (studies.folder / "fixed").touch()
    studies.orchestrator("resume", key)
    # Of all its experiments, one has failed.
    printed = studies.wait(key, code=3)
    golden(printed, exact=False)
    (second,) = studies.jobs(key, "run")
    assert (second["n_tasks"], second["n_finished"], second["n_failed"]) == (2, 1, 1)
    assert studies.outputs(key)[7] == 14
    log = studies.orchestrator("logs", key, "run").stdout
    assert "ValueError: no value at 3.0" in log


DIES_ON_THE_WAY = """
@datagenerator(output_names="y")
def risky(x):
    if x == 4 and not Path("fixed").exists():
        die()
    return 2 * x


def count(project_dir):
    data = ExperimentData.from_file(project_dir)
    Path("counted").write_text(" ".join(str(sample.job_status.name) for _, sample in data))


pipeline = Pipeline("dies on the way", steps=[
    Step(create, name="create", kwargs={"n": 6}),
    Step(risky, name="run", parallel=True),
    Step(CollectArrayResults(), name="collect", dependency="afterany"),
    Step(count, name="count"),
])
"""


def test_afterany_continues_with_all_other_results_after_a_task_that_died(studies, golden):
    key = studies.submit(DIES_ON_THE_WAY)
    printed = studies.wait(key, code=3)

    golden(printed, exact=False)
    assert studies.status(key)["run"]["state"] == "succeeded"
    others = dict.fromkeys(["create", "collect", "count"], "succeeded")
    assert studies.states(key) == {**others, "run": "failed"}
    assert (studies.folder / "counted").read_text() == " ".join(["FINISHED"] * 4 + ["OPEN", "FINISHED"])
    assert [y for y in studies.outputs(key) if y == y] == [0, 2, 4, 6, 10]

    (studies.folder / "fixed").touch()
    studies.orchestrator("resume", key)
    studies.wait(key)
    assert studies.states(key) == {**others, "run": "succeeded"}
    # What had its result was not evaluated again.
    assert [job["n_tasks"] for job in studies.jobs(key, "run")] == [1]
    assert studies.outputs(key) == [0, 2, 4, 6, 8, 10]
    assert (studies.folder / "counted").read_text() == " ".join(["FINISHED"] * 6)


def test_a_retry_contains_only_the_task_that_needs_it(studies):
    dies_once = """
@datagenerator(output_names="y")
def risky(x):
    if x in (2, 5) and not Path(f"tried-{x}").exists():
        Path(f"tried-{x}").touch()
        die()
    return 2 * x


pipeline = Pipeline("retries", steps=[
    Step(create, name="create", kwargs={"n": 8}),
    Step(risky, name="run", parallel=True, retries=1),
])
"""
    key = studies.finish(dies_once)

    first, second = studies.jobs(key, "run")
    assert (first["tasks"], first["state"], first["failed_tasks"]) == ("0-7", "failed", "2,5")
    assert (second["tasks"], second["state"], second["n_tasks"], second["attempt"]) == ("2,5", "succeeded", 2, 2)
    assert second["scheduler_id"] != first["scheduler_id"]
    assert studies.outputs(key) == [2 * x for x in range(8)]


SLEEPS = """
@datagenerator(output_names="y")
def sleepy(x):
    import time
    while {waits}:
        time.sleep(0.1)
    return 2 * x


pipeline = Pipeline("sleeps", steps=[
    Step(create, name="create"),
    Step(sleepy, name="run", parallel=True, resources=SlurmResources(max_concurrent={at_once})),
    Step(nothing, name="last"),
])
"""


def running(studies, key, address):
    """Wait until a step's job runs; return its id."""

    # Between two tasks none runs: the id that was found once remains valid.
    found = []

    def runs():
        jobs = studies.step_runs(key).get(address, {"jobs": []})["jobs"]
        ids = {job["scheduler_id"] for job in jobs if job["ended_at"] is None}
        lines = studies.cluster.run("squeue", "--noheader", "--states=R", "--format=%F").stdout.split()
        found.extend(line for line in lines if line in ids)
        return found

    wait_until(runs, 60)
    return found[0]


def test_a_cancelled_array_fails_its_step_and_resume_evaluates_the_open_experiments(studies):
    """One at a time: the first has ended, the second runs, the third waits when the array is cancelled."""
    body = SLEEPS.format(waits='x == 1 and not Path("go").exists()', at_once=1)
    key = studies.submit(body)
    job_id = running(studies, key, "run")
    wait_until(lambda: studies.cluster.run("squeue", "-h", "-r", "-t", "R", "-o", "%K").stdout.strip() == "1")

    studies.cluster.scancel(job_id)

    printed = studies.wait(key, code=1)
    assert "CANCELLED" in printed
    (job,) = studies.jobs(key, "run")
    assert (job["state"], job["kind"], job["failed_tasks"], job["n_finished"]) == ("cancelled", "cancelled", "1-2", 1)
    (studies.folder / "go").touch()
    studies.orchestrator("resume", key)
    studies.wait(key)
    assert [job["n_tasks"] for job in studies.jobs(key, "run")] == [2]
    assert studies.outputs(key) == [0, 2, 4]


def test_a_cancelled_task_fails_the_step_and_is_named(studies):
    key = studies.submit(SLEEPS.format(waits='x == 1 and not Path("go").exists()', at_once=8))
    job_id = running(studies, key, "run")
    states = ("squeue", "--noheader", "--array", "--states=all", "--format=%T", "--jobs", job_id)
    wait_until(lambda: studies.cluster.run(*states).stdout.split().count("COMPLETED") == 2)

    studies.cluster.scancel(f"{job_id}_1")

    studies.wait(key, code=1)
    (job,) = studies.jobs(key, "run")
    assert (job["kind"], job["failed_tasks"], job["n_finished"]) == ("cancelled", "1", 2)
    assert [failure["tasks"] for failure in studies.status(key)["failures"]] == [[1]]


def test_a_step_whose_experiments_all_fail_has_failed(studies, golden):
    all_fail = """
@datagenerator(output_names="y")
def hopeless(x):
    raise RuntimeError("no licence")


pipeline = Pipeline("hopeless", steps=[
    Step(create, name="create"),
    Step(hopeless, name="run", parallel=True),
    Step(nothing, name="last"),
])
"""
    key = studies.submit(all_fail)
    printed = studies.wait(key, code=1)
    golden(printed, exact=False)
    assert studies.states(key) == {"create": "succeeded", "run": "failed"}
    assert "RuntimeError: no licence" in studies.orchestrator("status", key).stdout


ALL_FAIL = """
@datagenerator(output_names="y")
def hopeless(x):
    with open("evaluated", "a") as file:
        file.write(f"{{x}}\\n")
    if not Path("licence").exists():
        raise RuntimeError(f"no licence for {{x}}")
    return 2 * x

few = SlurmResources(max_jobs_per_task={per_task}, max_concurrent=2)
pipeline = Pipeline("hopeless", steps=[
    Step(create, name="create", kwargs={{"n": 24}}),
    Step(hopeless, name="run", parallel=True, resources=few),
])
"""


@pytest.mark.parametrize("per_task", [1, 8])
def test_an_array_stops_when_its_first_experiments_fail_in_the_same_way(studies, per_task):
    key = studies.submit(ALL_FAIL.format(per_task=per_task))
    printed = studies.wait(key, code=1)
    assert "experiments all failed with the same exception" in printed
    assert "not evaluated" in printed
    n = len((studies.folder / "evaluated").read_text().split())
    assert 5 <= n < 24
    (job,) = studies.jobs(key, "run")
    assert (job["state"], job["kind"]) == ("failed", "stopped")
    assert "no licence" in studies.orchestrator("status", key).stdout
    (studies.folder / "licence").touch()
    studies.orchestrator("retry", key)
    studies.wait(key)
    assert studies.outputs(key) == [2 * x for x in range(24)]
    assert len((studies.folder / "evaluated").read_text().split()) == n + 24


def test_a_parallel_step_without_open_experiments_is_skipped_and_one_without_a_table_fails(studies, golden):
    none_open = """
pipeline = Pipeline("none open", steps=[
    Step(create, name="create"),
    Step(double, name="run", parallel=True),
    Step(double, name="again", parallel=True),
    Step(nothing, name="last"),
])
"""
    no_table = (
        'pipeline = Pipeline("no table", steps=[Step(nothing, name="create"), Step(double, name="run", parallel=True)])'
    )
    one = studies.submit(none_open)
    other = studies.submit(no_table, name="other.py")
    studies.wait(one)
    again = studies.step_runs(one)["again"]
    assert (again["state"], again["jobs"]) == ("skipped", [])
    golden(again["reason"])
    assert "skipped" in studies.orchestrator("status", one).stdout
    golden(studies.wait(other, code=1), exact=False)


def test_an_unreadable_table_fails_the_step_and_does_not_count_as_finished(studies, golden):
    damaged = """
def damage(project_dir):
    (project_dir / "experiment_data" / "input.csv").write_bytes(b"\\xff not what it was")


pipeline = Pipeline("damaged", steps=[
    Step(create, name="create"),
    Step(damage, name="damage"),
    Step(double, name="run", parallel=True),
    Step(nothing, name="last"),
])
"""
    key = studies.submit(damaged)
    printed = studies.wait(key, code=1)
    golden(printed, exact=False)
    assert studies.states(key) == {"create": "succeeded", "damage": "succeeded", "run": "failed"}
    assert studies.jobs(key, "run") == []


CANT_COLLECT = """
pipeline = Pipeline("can't collect", steps=[
    {first}
    Step(CollectArrayResults(), name="collect"),
    Step(nothing, name="last"),
])
"""


@pytest.mark.parametrize(
    "first",
    ['Step(create, name="create"), Step(double, name="run", parallel=True),', ""],
    ids=["by a task's tail", "where it was submitted"],
)
def test_results_that_cannot_be_collected_fail_the_step_and_resume_collects_them(studies, first, golden):
    folder = studies.folder / "broken"
    (folder / "experiment_sample").mkdir(parents=True)
    left_over = folder / "experiment_sample" / "0.json"
    left_over.write_text("{")
    if not first:
        studies.write("rows(0, 3).store('broken')", name="table.py")
        studies.run(sys.executable, "table.py")
    studies.write(CANT_COLLECT.format(first=first))
    studies.orchestrator("submit", "study.py", "--project-job", "broken", code=0 if first else 1)
    printed = studies.wait("broken", code=1)

    golden(printed, exact=False)
    assert studies.step_runs("broken")["collect"]["state"] == "failed"

    # A result that differs from the array's would not be collected.
    y = 0.0 if first else 42.0
    ExperimentSample({"x": 0.0}, {"y": y}, "finished", folder).store_as_json(0, folder)
    studies.orchestrator("resume", "broken")
    studies.wait("broken")
    assert {"collect": "succeeded", "last": "succeeded"}.items() <= studies.states("broken").items()
    assert studies.jobs("broken", "collect") == []
    assert not left_over.exists()
    assert studies.outputs("broken")[0] == y


STOPS = """
@datagenerator(output_names="y")
def needs_licence(x):
    if not Path("licence").exists():
        raise ValueError("no licence")
    return 2 * x


few = SlurmResources(max_concurrent=2, max_jobs_per_task=1, max_array_size={size})
pipeline = Pipeline("stops", steps=[
    Step(create, name="create", kwargs={{"n": 24}}),
    Step(needs_licence, name="run", parallel=True, resources=few, {options}),
])
"""


@pytest.mark.parametrize(
    ("options", "why"), [("", "all failed with the same exception"), ("max_failed=3", "more than max_failed=3")]
)
def test_a_step_that_stops_early_takes_its_waiting_tasks_out_of_the_queue(studies, options, why):
    key = studies.submit(STOPS.format(options=options, size=18))
    printed = studies.wait(key, code=1)

    assert why in printed
    [array] = studies.jobs(key, "run")
    assert (array["state"], array["kind"]) == ("failed", "stopped")
    # Those that had not started when the step stopped did not start at all.
    folder = studies.folder / key / ".orchestrator" / "jobs"
    assert len(list(folder.glob("*/receipts/*"))) - 1 <= 12
    assert studies.status(key)["steps"][-1]["n_failed"] <= 12
    wait_until(lambda: not studies.cluster.jobs_left(), 15)

    (studies.folder / "licence").touch()
    studies.orchestrator("resume", key)
    studies.wait(key)
    assert studies.outputs(key) == [2 * x for x in range(24)]
