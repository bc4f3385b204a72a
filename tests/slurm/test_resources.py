"""What jobs request, as the real SLURM understood it, and what is in their environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.slurm.studies import Studies

pytestmark = pytest.mark.slurm

DESCRIBES = '''
import json
import subprocess

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def describe(project_dir, name):
    """Write down how SLURM describes this job, and what its environment is."""
    words = ["scontrol", "--oneliner", "show", "job", os.environ["SLURM_JOB_ID"]]
    fields = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = {"job": fields, "threads": [os.environ[variable] for variable in THREADS]}
    (project_dir / f"{name}.json").write_text(json.dumps(found))


def described_steps(**asked):
    """Return a step per name, which requests these resources."""
    return [Step(describe, name=name, kwargs={"name": name}, resources=SlurmResources(**resources))
            for name, resources in asked.items()]


@datagenerator(output_names="y")
def threads(x):
    """Return the number of threads that the task may use."""
    counts = {int(os.environ[variable]) for variable in THREADS}
    assert len(counts) == 1, counts
    return counts.pop()
'''


def fields_of(line: str) -> dict[str, str]:
    """Read what scontrol says of one job on one line."""
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if fields.get("TimeLimit") == "365-00:00:00":
        # So it writes no limit where the backfill scheduler has started the job.
        fields["TimeLimit"] = "UNLIMITED"
    return fields


@pytest.fixture
def described(studies: Studies) -> Callable[[str, str], tuple[dict[str, str], list[str]]]:
    """Return a function that returns what a step saw: what SLURM says of its job, and its threads."""

    def of(key: str, name: str) -> tuple[dict[str, str], list[str]]:
        found = json.loads((studies.folder / key / f"{name}.json").read_text())
        return fields_of(found["job"]), found["threads"]

    return of


AS_ASKED = """
pipeline = Pipeline("asks", steps=[
    *described_steps(
        plain=dict(),
        sized=dict(time="0:20:00", mem="300M", cpus_per_task=3, ntasks=2, nodes=2),
        per_cpu=dict(mem="1G", mem_per_cpu="70M", cpus_per_task=2),
        spread=dict(mem_per_cpu="10M", ntasks=12),
        overridden=dict(time="5", cpus_per_task=1, extra_sbatch={"--time": "7", "cpus_per_task": 4, "nice": 11}),
        removed=dict(extra_sbatch={"mem": None, "time": None, "account": None, "no-requeue": None, "requeue": True}),
    ),
    Step(create, name="create", resources=SlurmResources(mem="100M")),
    Step(threads, name="run", parallel=True, resources=SlurmResources(mem="100M", cpus_per_task=5)),
])
"""
"""All run on the sandbox, whose nodes have 8 CPUs each and whose partition has no limits."""

PLAIN = {
    "TimeLimit": "01:00:00",
    "MinMemoryNode": "4G",
    "NumNodes": "1",
    "NumTasks": "1",
    "CPUs/Task": "1",
    "Partition": "batch",
    "Account": "default",
    "Requeue": "0",
}
UNDERSTOOD = {
    "plain": (PLAIN, 1),
    "sized": (
        {"TimeLimit": "00:20:00", "MinMemoryNode": "300M", "CPUs/Task": "3", "NumTasks": "2", "NumNodes": "2"},
        3,
    ),
    # The `mem_per_cpu` of the resources overrides `mem`, and is not changed.
    "per_cpu": ({"MinMemoryCPU": "70M", "CPUs/Task": "2", "NumCPUs": "2", "NumNodes": "1"}, 2),
    # One node is not asked for beside memory per CPU, and twelve tasks of one CPU need two.
    "spread": ({"MinMemoryCPU": "10M", "NumTasks": "12", "NumNodes": "2"}, 1),
    "overridden": ({"TimeLimit": "00:07:00", "CPUs/Task": "4", "Nice": "11"}, 4),
    "removed": ({"TimeLimit": "UNLIMITED", "MinMemoryNode": "0", "Account": "(null)", "Requeue": "1"}, 1),
}
"""The differences from the default request, and the threads."""


def test_a_job_gets_what_its_step_asks_for(studies, described):
    key = studies.finish(DESCRIBES + AS_ASKED)

    for name, (expected, n_threads) in UNDERSTOOD.items():
        fields, threads = described(key, name)
        assert {word: fields.get(word) for word in expected} == expected, name
        assert threads == [str(n_threads)] * 4, name
    # In the tasks of an array, too.
    assert studies.outputs(key) == [5, 5, 5]


CAPPED = """
cluster = SlurmCluster(partition=None, account=None, mem_per_cpu="512M", log_dir="out/of {project_job}/here", grace=2)
pipeline = Pipeline("capped", steps=described_steps(
    enough=dict(mem="1000M", cpus_per_task=3, extra_sbatch={"hold": True}),
    raised=dict(mem="2G", cpus_per_task=1),
    uneven=dict(mem="1025M", cpus_per_task=2),
    own=dict(mem="2G", mem_per_cpu="600M"),
))
"""


@pytest.fixture
def default_partition(studies: Studies) -> Iterator[str]:
    """Return the name of another partition than `batch`, which is the default one."""
    cluster = studies.cluster
    cluster.scontrol("create", "PartitionName=usual", "Nodes=ALL", "Default=YES", "State=UP")
    try:
        yield "usual"
        cluster.wait_until_idle(seconds=30)
    finally:
        cluster.scancel("--partition=usual")
        cluster.wait_until_idle(seconds=60)
        cluster.scontrol("update", "PartitionName=batch", "Default=YES")
        cluster.scontrol("delete", "PartitionName=usual")


def waiting(studies: Studies) -> dict[str, dict[str, str]]:
    """Return SLURM's description of each waiting job, by its label."""
    lines = studies.cluster.scontrol("--oneliner", "show", "job").splitlines()
    jobs = [fields_of(line) for line in lines if "JobState=PENDING" in line]
    return {job["JobName"].partition("_")[0]: job for job in jobs}


def test_a_limit_of_memory_per_cpu_raises_the_cpus(studies, described, default_partition):
    key = studies.submit(DESCRIBES + CAPPED)

    first, orchestrator = waiting(studies)["enough"], waiting(studies)["orchestrator"]
    # 1 GB is two CPUs of 512 MB.
    assert (orchestrator["MinMemoryCPU"], orchestrator["CPUs/Task"]) == ("512M", "2")
    for job in (first, orchestrator):
        assert (job["Partition"], job["Account"]) == (default_partition, "(null)")

    studies.cluster.scontrol("release", first["JobId"])
    studies.wait(key)
    found = {name: described(key, name) for name in ("enough", "raised", "uneven", "own")}
    assert {
        name: (fields["MinMemoryCPU"], fields["CPUs/Task"], threads[0]) for name, (fields, threads) in found.items()
    } == {
        "enough": ("334M", "3", "3"),
        "raised": ("512M", "4", "4"),
        "uneven": ("342M", "3", "3"),
        "own": ("600M", "1", "1"),
    }
    logs = studies.folder / "out" / f"of {key}" / "here"
    assert {log.name.partition("_")[0].partition(".")[0] for log in logs.iterdir()} == {*found, "orchestrator"}
    assert not (studies.folder / "logs").exists()


HELD = """
pipeline = Pipeline("held", orchestrator_resources={orchestrator}, steps=[
    Step(nothing, name="first", resources=SlurmResources(mem="100M", extra_sbatch={{"hold": True}})),
])
"""


def test_an_orchestrator_job_asks_for_ten_minutes_and_a_gigabyte_by_default(studies):
    asked = 'SlurmResources(time="3", mem="200M", cpus_per_task=2, extra_sbatch={"nice": 5})'
    expected = {"None": ("00:10:00", "1G", "1", "0"), asked: ("00:03:00", "200M", "2", "5")}
    for resources, words in expected.items():
        key = studies.submit(HELD.format(orchestrator=resources))
        fields = waiting(studies)["orchestrator"]
        assert tuple(fields[word] for word in ("TimeLimit", "MinMemoryNode", "CPUs/Task", "Nice")) == words
        studies.orchestrator("cancel", key)
