"""The command line on the real SLURM: what it prints while jobs wait, run and have ended."""

from __future__ import annotations

import json
import sys

import pytest

from tests.slurm.sandboxes import wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

STUDY = """
from orchestrator import Domain, ExperimentData, Pipeline, SlurmCluster, SlurmResources, Step, datagenerator

def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=10.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(i)} for i in range(3)]).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x):
    print("x is", x)
    return x

small = dict(time="5", mem="200M")
pipeline = Pipeline(
    "spoken",
    [
        Step(create, resources=SlurmResources(**small, extra_sbatch={"hold": ""})),
        Step(evaluate, name="evaluate", parallel=True, resources=SlurmResources(**small, max_array_size=2)),
    ],
    orchestrator_resources=SlurmResources(**small),
)
cluster = SlurmCluster(partition=None, account=None, log_dir="runlogs/{project_job}/x", grace=5)
"""


@pytest.fixture
def type_(sandbox, workspace):
    """Type a command in the workspace; return what it printed."""
    (workspace / "study.py").write_text(STUDY)

    def type_(*arguments, code=0):
        done = sandbox.run(sys.executable, "-m", "orchestrator", *arguments, check=False, cwd=workspace)
        assert done.returncode == code, f"{done.stdout}{done.stderr}"
        return done.stdout

    return type_


def test_a_run_is_shown_from_its_submission_to_its_logs(sandbox, type_, workspace, golden):
    golden(type_("submit", "study.py", "--project-job", "seen"))
    answer = json.loads(type_("status", "--refresh", "--json"))
    [held], [waits] = answer["now"]["jobs"], answer["orchestrators"]
    assert waits["waits_for"] == held["scheduler_id"]
    job_id = held["scheduler_id"]
    for word in ("job", "Job", "release"):
        golden.replace(f"{word} {job_id}", f"{word} of create")
    golden.replace(f"job {waits['scheduler_id']}", "job that waits")
    golden(type_("status", "--refresh"), exact=False)
    type_("wait", "--timeout", "0", code=124)

    sandbox.scontrol("release", job_id)
    golden(type_("wait", "--timeout", "200"))
    # Two batches, of two tasks and of one: task 2 is index 0 of the second array.
    assert [type_("logs", "evaluate", "--task", str(task)) for task in range(3)] == [
        f"x is {task}.0\n" for task in range(3)
    ]
    assert "evaluate" in type_("logs", "orchestrator")
    sandbox.wait_until_idle("spoken")
    golden(type_("status", "seen", "--refresh"), exact=False)


def test_a_run_whose_jobs_were_cancelled_with_scancel_is_stalled_and_can_be_resumed(sandbox, type_, golden):
    type_("submit", "study.py", "--project-job", "robbed")
    answer = json.loads(type_("status", "--json"))
    ids = [job["scheduler_id"] for job in (*answer["now"]["jobs"], *answer["orchestrators"])]
    # SLURM writes why a job waits when it first looks at it; the answer after the end contains that.
    wait_until(lambda: "Reason=Dependency" in sandbox.scontrol("show", "job", ids[1]))
    sandbox.scancel(*ids)
    wait_until(lambda: not sandbox.jobs_left("spoken"))
    golden.replace(f"job {ids[0]}", "job of create")
    golden.replace(f"job {ids[1]}", "job that waits")
    golden(type_("status"), exact=False)
    golden(type_("status", "--refresh"), exact=False)
    type_("resume", "robbed")
    [held] = json.loads(type_("status", "--json"))["now"]["jobs"]
    assert held["scheduler_id"] not in ids
    golden(type_("cancel"))
    assert not sandbox.jobs_left("spoken")
    type_("wait", code=4)
