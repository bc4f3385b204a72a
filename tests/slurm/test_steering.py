"""Cancel a step, hold a run and release it, on a cluster."""

from __future__ import annotations

import pytest

from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slurm

STUDY = """
@datagenerator(output_names="y")
def slow(x):
    while x >= 2 and not Path("go").exists():
        time.sleep(0.1)
    return 2 * x


few = SlurmResources(max_concurrent=4, max_jobs_per_task=1)
pipeline = Pipeline("steered", steps=[
    Step(create, name="create", kwargs={{"n": 12}}),
    Step(slow, name="run", parallel=True, resources=few),
    Step(nothing, name="last", dependency="{then}"),
])
"""


def n_begun(studies, key):
    return len(list((studies.folder / "logs" / key).glob("run.*.log")))


def wait_until_it_hangs(studies, key):
    """Wait until the tasks run that hang; two others have ended."""
    wait_until(lambda: n_begun(studies, key) == 6, 60)


def states_in_queue(studies, key):
    [array] = studies.jobs(key, "run")
    listed = studies.run("squeue", "--noheader", "--format=%T %r", "--jobs", array["scheduler_id"]).stdout
    return set(listed.splitlines())


def test_a_held_run_starts_no_task_until_it_is_released(studies):
    key = studies.submit(STUDY.format(then="afterok"))
    wait_until_it_hangs(studies, key)
    said = studies.orchestrator("hold", key)
    assert "waits in the queue is held there; what runs continues to its end." in said.stderr
    assert said.stdout == f"Run {key} is held. To continue it: orchestrator release {key}\n"
    assert states_in_queue(studies, key) == {"RUNNING JobHeldUser", "PENDING JobHeldUser"}
    assert f"Run {key} (steered): held\n" in studies.orchestrator("status", key).stdout

    (studies.folder / "go").touch()
    wait_until(lambda: states_in_queue(studies, key) == {"PENDING JobHeldUser"}, 60)
    assert n_begun(studies, key) == 6
    assert studies.states(key)["run"] == "active"

    studies.orchestrator("release", key)
    studies.wait(key)
    assert studies.outputs(key) == [2 * x for x in range(12)]
    assert studies.states(key) == dict.fromkeys(["create", "run", "last"], "succeeded")


def test_a_held_run_whose_jobs_have_ended_waits_for_its_release(studies):
    body = STUDY.format(then="afterok").replace("max_concurrent=4", "max_concurrent=10")
    key = studies.submit(body)
    wait_until(lambda: n_begun(studies, key) == 12, 60)
    studies.orchestrator("hold", key)
    (studies.folder / "go").touch()
    wait_until(lambda: studies.states(key)["run"] == "succeeded", 60)
    studies.cluster.wait_until_idle(seconds=60)
    assert list(studies.states(key)) == ["create", "run"]
    status = studies.orchestrator("status", key).stdout
    assert f"Run {key} (steered): held\n" in status
    assert f"orchestrator release {key}" in status
    assert "resume" not in status
    said = studies.orchestrator("wait", key, code=75)
    assert f"Run {key} is held." in said.stderr
    assert f"orchestrator release {key}" in studies.orchestrator("resume", key, code=75).stderr
    studies.orchestrator("release", key)
    studies.wait(key)


def test_a_held_run_can_be_cancelled(studies):
    key = studies.submit(STUDY.format(then="afterok"))
    wait_until_it_hangs(studies, key)
    studies.orchestrator("hold", key)
    assert studies.orchestrator("cancel", key).stdout == f"Run {key} was cancelled.\n"
    wait_until(lambda: not studies.cluster.jobs_left(), 15)
    (studies.folder / "go").touch()
    studies.orchestrator("resume", key)
    studies.wait(key)
    assert studies.outputs(key) == [2 * x for x in range(12)]


@pytest.mark.parametrize("then", ["afterany", "afterok"])
def test_a_cancelled_step_leaves_no_job_and_the_run_continues_where_that_is_allowed(studies, then):
    key = studies.submit(STUDY.format(then=then))
    wait_until_it_hangs(studies, key)
    said = studies.orchestrator("cancel", key, "--step", "run")
    continues = then == "afterany"
    assert ("The run continues with last, which also runs after a failure." in said.stderr) == continues
    studies.wait(key, code=3 if continues else 4)
    assert studies.states(key) == {
        "create": "succeeded",
        "run": "cancelled",
        **({"last": "succeeded"} if continues else {}),
    }
    (studies.folder / "go").touch()
    studies.orchestrator("resume", key, code=None)
    studies.wait(key)
    assert studies.outputs(key) == [2 * x for x in range(12)]


def test_a_step_gets_other_resources_for_the_jobs_that_are_submitted_later(studies):
    body = STUDY.format(then="afterok").replace("max_concurrent=4", "max_concurrent=10, max_array_size=6")
    key = studies.submit(body)
    wait_until(lambda: n_begun(studies, key) == 6, 60)
    said = studies.orchestrator("set", key, "run", "--mem", "100M", "--time", "00:07:00", "--sbatch", "comment=more")
    assert "is submitted already, and is not changed." in said.stderr
    studies.orchestrator("set", key, "last", "--cpus-per-task", "2")
    (studies.folder / "go").touch()
    studies.wait(key)
    first, second = studies.jobs(key, "run")
    [last] = studies.jobs(key, "last")
    show = {
        job["scheduler_id"]: studies.run("scontrol", "show", "job", job["scheduler_id"]).stdout
        for job in (first, second, last)
    }
    assert "MinMemoryNode=4G" in show[first["scheduler_id"]]
    assert "MinMemoryNode=100M" in show[second["scheduler_id"]]
    assert "TimeLimit=00:07:00" in show[second["scheduler_id"]]
    assert "Comment=more" in show[second["scheduler_id"]]
    assert "CPUs/Task=2" in show[last["scheduler_id"]]
    assert studies.outputs(key) == [2 * x for x in range(12)]


GROWING = """
class Grow(Block):
    def call(self, data, iteration):
        return data + rows(10 * (iteration + 1), len(data))


two_each = SlurmResources(max_jobs_per_task=2)
pipeline = Pipeline("growing", steps=[
    Step(create, name="create", kwargs={"n": 2}),
    Loop(3, [Step(Grow(), name="grow"), Step(double, name="run", parallel=True, resources=two_each)]),
])
"""


def test_a_fork_on_a_cluster_begins_with_the_table_as_it_was(studies):
    key = studies.finish(GROWING)
    expected = studies.outputs(key)
    assert len(expected) == 16
    said = studies.orchestrator("fork", key, "--from", "grow@2", "--project-job", "again")
    assert f"New run again: begins with grow@2, as it is in run {key}." in said.stderr
    studies.wait("again")
    assert studies.outputs("again") == studies.outputs(key) == expected
    # Eight experiments were evaluated, the others are in its table.
    [batch] = studies.jobs("again", "run@2")
    assert batch["n_finished"] == 8
    studies.orchestrator("resume", key, "--from-step", "run@1", "--table-as-then")
    studies.wait(key)
    assert studies.outputs(key) == expected
