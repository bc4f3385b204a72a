"""Refusals of SLURM: a temporary one is retried; after a final one the run fails with SLURM's message."""

from __future__ import annotations

import getpass
import os

import pytest

from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slurm

STUDY = """
pipeline = Pipeline("refused", orchestrator_resources={orchestrator}, steps=[
    Step(create, name="create"),
    Step(double, name="run", parallel=True, resources=SlurmResources({resources})),
    Step(nothing, name="last"),
])
"""


REFUSED = {
    'mem="900G"': "Memory specification can not be satisfied",
    'extra_sbatch={"partition": "nowhere"}': "invalid partition specified: nowhere",
    'extra_sbatch={"no-such-option": "1"}': "unrecognized option '--no-such-option",
}


def one_line(text):
    """Undo the wrapping for a terminal."""
    return " ".join(text.split())


def test_a_step_that_sbatch_refuses_fails_the_run_with_the_message_of_sbatch(studies):
    keys = {resources: studies.submit(STUDY.format(resources=resources, orchestrator=None)) for resources in REFUSED}
    for resources, words in REFUSED.items():
        key = keys[resources]
        printed = one_line(studies.wait(key, code=1))
        assert words in printed
        (job,) = studies.jobs(key, "run")
        assert (job["state"], job["kind"], job["scheduler_id"]) == ("failed", "refused", None)
        assert words in job["reason"]
        assert studies.states(key) == {"create": "succeeded", "run": "failed"}
        assert words[:30] in studies.orchestrator("status", key).stdout


def test_a_refused_first_job_is_reported_at_submission(studies):
    body = STUDY.format(resources="", orchestrator=None)
    body += '\ncluster = SlurmCluster(grace=2, partition="nowhere")\n'
    studies.write(body)
    done = studies.orchestrator("submit", "study.py", code=1)
    assert "sbatch: invalid partition specified: nowhere" in one_line(done.stderr)


def test_a_refused_orchestrator_job_fails_the_run_and_leaves_no_job(studies):
    body = STUDY.format(resources="", orchestrator='SlurmResources(mem="900G")')
    studies.write(body)
    done = studies.orchestrator("submit", "study.py", "--project-job", "r", code=1)

    assert "sbatch: Memory specification can not be satisfied" in one_line(done.stderr)
    assert studies.status("r")["run"]["state"] == "failed"
    # The first step's job was in the queue already.
    wait_until(lambda: not studies.cluster.jobs_left(), 20)


def test_without_sbatch_nothing_is_written(studies, tmp_path, golden):
    studies.write(STUDY.format(resources="", orchestrator=None))
    before = sorted(studies.folder.iterdir())
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not (tmp_path / folder / "sbatch").exists()]
    studies.variables["PATH"] = os.pathsep.join(folders)

    done = studies.orchestrator("submit", "study.py", code=2)

    golden(done)
    assert sorted(path for path in studies.folder.iterdir() if path.name != "__pycache__") == before


def test_a_submit_limit_is_shown_and_the_run_continues_when_it_has_passed(studies_with_accounting):
    studies, user = studies_with_accounting, getpass.getuser()
    limit = ("sacctmgr", "--immediate", "modify", "user", user, "set")
    # The first job, the orchestrator job, and an array of one: three would do; of three, five.
    studies.cluster.run(*limit, "MaxSubmitJobs=3")
    try:
        key = studies.submit(STUDY.format(resources="", orchestrator=None))

        def refused():
            now = studies.status(key)["now"]
            return now and [job for job in now["jobs"] if "AssocMaxSubmitJobLimit" in (job["reason"] or "")]

        wait_until(refused, 60, lambda: studies.story(key))
        # The first job's tail and the orchestrator job both try it; the refusal shows in between, too.
        (job,) = refused()
        assert job["state"] in ("planned", "submitting")
        assert job["scheduler_id"] is None
        assert "sbatch: AssocMaxSubmitJo" in studies.orchestrator("status", key).stdout
    finally:
        studies.cluster.run(*limit, "MaxSubmitJobs=-1")
    studies.wait(key)
    assert studies.outputs(key) == [0, 2, 4]
    assert [job["attempt"] for job in studies.jobs(key, "run")] == [1]


def test_a_submit_limit_on_the_login_node_is_reported_and_resume_continues_the_run(studies_with_accounting):
    studies, user = studies_with_accounting, getpass.getuser()
    limit = ("sacctmgr", "--immediate", "modify", "user", user, "set")
    studies.cluster.run(*limit, "MaxSubmitJobs=1")
    holder = studies.cluster.sbatch("--hold", "--job-name=in-the-way", "--wrap", "true")
    try:
        studies.write(STUDY.format(resources="", orchestrator=None))
        done = studies.orchestrator("submit", "study.py", "--project-job", "r", code=75)
        assert "AssocMaxSubmitJobLimit" in done.stderr
        assert "orchestrator resume r" in done.stderr
        assert "AssocMaxSubmitJobLimit" in studies.orchestrator("status", "r").stdout
    finally:
        studies.cluster.scancel(holder)
        studies.cluster.run(*limit, "MaxSubmitJobs=-1")
    studies.orchestrator("resume", "r")
    studies.wait("r")
    assert studies.outputs("r") == [0, 2, 4]
