"""How open experiments become arrays: sized when they are submitted, within what the step and the cluster allow."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from tests.slurm.conftest import workspace_on

pytestmark = pytest.mark.slurm

STUDY = '''
@datagenerator(output_names="y")
def where(x):
    """Return the number of the array's task that evaluates it."""
    return int(os.environ["SLURM_ARRAY_TASK_ID"])


pipeline = Pipeline("batches", steps=[
    Step(create, name="create", kwargs={{"n": {n}}}),
    Step(where, name="run", parallel=True, resources=SlurmResources({resources})),
    Step(nothing, name="last"),
])
'''


def arrays(studies, key):
    """Return the tasks of each array that was submitted, the number in each, and what their last states are."""
    return [(job["batch"], job["tasks"], job["n_finished"]) for job in studies.jobs(key, "run")]


def test_two_thousand_experiments_run_in_arrays_of_twenty(studies):
    """Meanwhile a task reaches its time limit, which is at least a minute in SLURM."""
    slow = """
@datagenerator(output_names="y")
def slow(x):
    import time
    time.sleep(600)


pipeline = Pipeline("slow", steps=[
    Step(create, name="create", kwargs={"n": 1}),
    Step(slow, name="run", parallel=True, resources=SlurmResources(time="1")),
])
"""
    too_slow = studies.submit(slow, name="slow.py")
    resources = "max_array_size=20, max_jobs_per_task=25"
    key = studies.submit(STUDY.format(n=2000, resources=resources))

    studies.wait(key, seconds=240)
    assert arrays(studies, key) == [(i, f"{20 * i}-{20 * i + 19}", 500) for i in range(4)]
    # Neighbours go to different tasks; the indexes begin at 0 in each array.
    assert studies.outputs(key) == [row % 20 for row in range(2000)]

    printed = studies.wait(too_slow, code=1)
    assert "TIMEOUT" in printed
    (job,) = studies.jobs(too_slow, "run")
    assert (job["state"], job["kind"], job["failed_tasks"]) == ("failed", "timeout", "0")


def test_arrays_follow_each_other_also_after_a_task_that_died(studies, golden):
    body = STUDY.format(n=10, resources="max_array_size=3, max_jobs_per_task=2")
    dies = body.replace("return int(", "if x == 6:\n        die()\n    return int(")
    key = studies.submit(dies)
    printed = studies.wait(key, code=1)

    # Task 1 evaluated experiment 1 before it died at 6.
    assert arrays(studies, key) == [(0, "0-2", 4), (1, "3-4", 4)]
    assert [job["failed_tasks"] for job in studies.jobs(key, "run")] == ["1", ""]
    assert studies.states(key) == {"create": "succeeded", "run": "failed"}
    for job in studies.jobs(key, "run"):
        golden.replace(f"job {job['scheduler_id']}", "job")
    golden(printed, exact=False)
    statuses = [line.partition(",")[2] for line in studies.files(key)["jobs.csv"].splitlines()[1:]]
    assert statuses == ["FINISHED"] * 6 + ["OPEN"] + ["FINISHED"] * 3
    first, second = studies.jobs(key, "run")
    assert second["queued_at"] >= first["ended_at"]

    # The remaining experiments are in their own array.
    studies.write(body)
    studies.orchestrator("resume", key, "--update", "study.py")
    studies.wait(key)
    assert arrays(studies, key) == [(0, "0", 1)]


def test_without_a_number_per_task_one_array_shares_the_table(studies):
    key = studies.finish(STUDY.format(n=10, resources="max_array_size=4, max_jobs_per_task=None, max_concurrent=2"))

    assert arrays(studies, key) == [(0, "0-3", 10)]
    assert studies.outputs(key) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    script = next((studies.folder / key / ".orchestrator" / "scripts").glob("*run*")).read_text()
    assert "--array=TASKS%2" in script


def test_each_cluster_limits_the_largest_index_of_its_own_arrays(start_sandbox, studies, short_folder):
    """The same study on both at the same time; their jobs have the same ids."""
    with workspace_on(start_sandbox(nodes=1, conf=["MaxArraySize=5"]), short_folder) as other:
        keys = [each.submit(STUDY.format(n=7, resources="")) for each in (studies, other)]
        for each, key in zip((studies, other), keys, strict=True):
            each.wait(key)
        assert arrays(studies, keys[0]) == [(0, "0-6", 7)]
        assert arrays(other, keys[1]) == [(0, "0-4", 5), (1, "5-6", 2)]
        assert other.outputs(keys[1]) == [0, 1, 2, 3, 4, 0, 1]


def test_a_jobs_environment_is_not_passed_to_the_jobs_that_it_submits(studies):
    """An array task submits the next steps, in an environment full of its own variables and of the user's."""
    reads = """
import json


def keep_environment(project_dir, name):
    import subprocess
    found = {key: value for key, value in os.environ.items() if key.startswith("SLURM_")}
    (project_dir / name).write_text(json.dumps(found))


pipeline = Pipeline("leaks", steps=[
    Step(create, name="create"),
    Step(double, name="run", parallel=True, resources=SlurmResources(mem="100M", cpus_per_task=2)),
    Step(keep_environment, name="after", kwargs={"name": "after.json"}, resources=SlurmResources(time="7", mem="50M")),
    Step(double, name="again", parallel=True),
])
"""
    studies.variables |= {"SBATCH_ARRAY_INX": "0-9", "SBATCH_TIMELIMIT": "1", "SLURM_ARRAY_TASK_ID": "3"}
    studies.variables |= {
        "SBATCH_WAIT": "1",
        "SQUEUE_PARTITION": "nowhere",
        "SQUEUE_FORMAT": "%N",
        "SBATCH_PARTITION": "nowhere",
    }
    key = studies.finish(reads)

    found = json.loads((studies.folder / key / "after.json").read_text())
    assert not [name for name in found if name.startswith("SLURM_ARRAY")]
    assert (found["SLURM_MEM_PER_NODE"], found["SLURM_CPUS_PER_TASK"]) == ("50", "1")
    assert studies.outputs(key) == [0, 2, 4]


@pytest.mark.parametrize("wake", ["both", "job"])
def test_every_job_starts_in_the_environment_of_the_submission(studies, wake):
    """A job's changes of its environment do not reach other jobs, though jobs submit each other."""
    reads = f"""
cluster = SlurmCluster(
    wake={wake!r},
    grace=2,
    runner={shlex.quote(sys.executable)!r},
    env_setup=['export HOPS="${{HOPS:-}}x"'],
    env_vars={{"TRAIL": "$TRAIL:x"}},
)


def keep_environment(project_dir, name):
    Path(project_dir, name).write_text(" ".join(os.environ.get(v, "-") for v in ("HOPS", "TRAIL", "MINE", "LEAKED")))
    os.environ["LEAKED"] = "1"
    os.chdir("/")


@datagenerator(output_names="y")
def leak(x):
    os.environ |= {{"LEAKED": "1", "PATH": "/nowhere"}}
    os.chdir("/")
    return 2 * x


pipeline = Pipeline("trail", steps=[
    Step(create, name="create"),
    Step(keep_environment, name="first", kwargs={{"name": "first.txt"}}),
    Step(leak, name="run", parallel=True),
    Step(keep_environment, name="last", kwargs={{"name": "last.txt"}}),
])
"""
    studies.variables["MINE"] = "kept"
    key = studies.finish(reads)

    folder = studies.folder / key
    assert [(folder / f"{name}.txt").read_text() for name in ("first", "last")] == ["x :x kept -"] * 2
    assert studies.outputs(key) == [0, 2, 4]
    # It may hold secrets.
    assert (folder / ".orchestrator" / "environment.json").stat().st_mode & 0o777 == 0o600
