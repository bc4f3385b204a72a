"""The behaviour of SLURM on which we depend: these tests are about SLURM 22.05, not about our code."""

from __future__ import annotations

import getpass

import pytest

from tests.slurm.sandboxes import PREEMPTS, Sandbox, wait_until

pytestmark = pytest.mark.slurm

# Allocates 20 MB more every tenth of a second, up to 2 GB, and would succeed.
GREEDY = "import time; blocks = [(bytearray(b'x') * 20_000_000, time.sleep(0.1)) for _ in range(100)]"


def state_of(cluster: Sandbox, job_id: str) -> str:
    """Return the state from squeue, which still lists ended jobs for some time."""
    return cluster.run("squeue", "--noheader", "--states=all", "--jobs", job_id, "--format=%T").stdout.strip()


def accounted(cluster: Sandbox, job_id: str) -> str:
    done = cluster.run("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", job_id, "--format=state")
    return done.stdout.strip()


def test_a_limit_of_submitted_jobs_refuses_the_third(sandbox_with_accounting):
    cluster, user = sandbox_with_accounting, getpass.getuser()
    limit = ("sacctmgr", "--immediate", "modify", "user", user, "set")
    cluster.run(*limit, "MaxSubmitJobs=2")
    try:
        for _ in range(2):
            cluster.sbatch("--hold", "--job-name=limited", "--wrap", "true")
        done = cluster.run("sbatch", "--wrap", "true", check=False)
        assert done.returncode == 1
        assert "sbatch: error: AssocMaxSubmitJobLimit\n" in done.stderr
        assert len(cluster.jobs_left("limited")) == 2
    finally:
        cluster.scancel("--name=limited")
        cluster.run(*limit, "MaxSubmitJobs=-1")
    cluster.wait_until_idle("limited")


def test_an_unknown_account_is_refused(sandbox_with_accounting):
    done = sandbox_with_accounting.run("sbatch", "--account=nowhere", "--wrap", "true", check=False)
    assert done.returncode == 1
    assert "Invalid account or account/partition combination specified" in done.stderr


def test_without_accounting_any_account_is_accepted_and_sacct_is_disabled(sandbox):
    sandbox.sbatch("--account=nowhere", "--job-name=any-account", "--output=/dev/null", "--wrap", "true")
    done = sandbox.run("sacct", check=False)
    assert done.returncode == 1
    assert "Slurm accounting storage is disabled" in done.stderr
    sandbox.wait_until_idle("any-account")


def test_squeue_forgets_jobs_that_sacct_still_knows(sandbox_with_accounting):
    cluster = sandbox_with_accounting
    job_id = cluster.sbatch("--output=/dev/null", "--account=default", "--partition=batch", "--wrap", "exit 3")

    def forgotten() -> bool:
        done = cluster.run("squeue", "--states=all", "--jobs", job_id, check=False)
        return "Invalid job id specified" in done.stderr

    wait_until(forgotten, 120)
    wait_until(lambda: accounted(cluster, job_id) == "FAILED")


def test_squeue_forgets_the_tasks_of_an_array_one_by_one_while_others_run(sandbox_with_accounting, tmp_path):
    """Its last lines about an array say nothing about the tasks that it has forgotten."""
    cluster, go = sandbox_with_accounting, tmp_path / "go"
    body = f'[ "$SLURM_ARRAY_TASK_ID" = 0 ] && exit 3; until [ -e {go} ]; do sleep 0.1; done'
    job_id = cluster.sbatch("--array=0-1", "--job-name=forgotten", "--output=/dev/null", "--wrap", body)

    def listed() -> list[str]:
        options = ("--noheader", "--states=all", "--array", "--name=forgotten", "--format=%i %T")
        return cluster.run("squeue", *options).stdout.splitlines()

    wait_until(lambda: listed() == [f"{job_id}_1 RUNNING"], 120)
    go.touch()
    wait_until(lambda: listed() == [f"{job_id}_1 COMPLETED"])
    wait_until(lambda: accounted(cluster, job_id).splitlines() == ["FAILED", "COMPLETED"])


def test_a_job_over_its_memory_fails_with_signal_9_and_only_its_log_says_why(start_sandbox, tmp_path):
    cluster = start_sandbox(nodes=1, conf=["JobAcctGatherParams=OverMemoryKill", "SelectTypeParameters=CR_CPU_Memory"])
    job_id = cluster.sbatch("--mem=100M", "--output", tmp_path / "out", "--wrap", f'python3 -c "{GREEDY}"')
    cluster.wait_until_idle()
    job = cluster.scontrol("show", "job", job_id)
    # Not OUT_OF_MEMORY: that needs cgroups.
    assert "JobState=FAILED Reason=JobLaunchFailure" in job
    assert "ExitCode=0:9" in job
    assert "Exceeded job memory limit" in (tmp_path / "out").read_text()


def test_a_lost_node_fails_its_job_which_runs_on(start_sandbox, tmp_path):
    cluster = start_sandbox(nodes=2, conf=["SlurmdTimeout=10", "MessageTimeout=2"])
    beat = tmp_path / "beat"
    body = f"while sleep 0.1; do echo >> {beat}; done"
    job_id = cluster.sbatch("--no-requeue", "--nodelist=n2", "--output=/dev/null", "--wrap", body)
    wait_until(beat.exists)

    cluster.kill("slurmd-n2")

    wait_until(lambda: state_of(cluster, job_id) == "NODE_FAIL")
    size = beat.stat().st_size
    wait_until(lambda: beat.stat().st_size > size)

    cluster.start("slurmd-n2")
    wait_until(lambda: cluster.run("sinfo", "--noheader", "--nodes=n2", "--format=%t").stdout.strip() == "idle")


@pytest.mark.parametrize(("option", "then"), [("--no-requeue", "PREEMPTED"), ("--requeue", "PENDING")])
def test_a_preempted_job_has_that_state_only_after_its_end(sandbox_like, option, then):
    """While it ends it is COMPLETING; one that SLURM requeues waits at once."""
    cluster = sandbox_like(nodes=1, conf=[*PREEMPTS, "MinJobAge=300"])
    job_id = cluster.sbatch(option, "--exclusive", "--output=/dev/null", "--wrap", "trap '' TERM; sleep 600; sleep 600")
    wait_until(lambda: state_of(cluster, job_id) == "RUNNING")
    urgent = cluster.sbatch("--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap", "true")
    seen = []

    def has_run() -> bool:
        # In this order: the state of the first job is read after the end of the urgent one.
        is_over = state_of(cluster, urgent) == "COMPLETED"
        seen.append(state_of(cluster, job_id))
        return is_over

    wait_until(has_run)
    assert seen[-1] == then
    assert set(seen) <= {"RUNNING", "COMPLETING", then}
    cluster.scancel(job_id)
    cluster.wait_until_idle()


def test_a_requeued_job_starts_again_soon(sandbox, tmp_path):
    output = tmp_path / "out"
    body = 'echo "start ${SLURM_RESTART_COUNT:-0}"; [ "${SLURM_RESTART_COUNT:-0}" = 1 ] || sleep 600'
    options = ("--requeue", "--job-name=comes-again", "--open-mode=append", "--output", output)
    job_id = sandbox.sbatch(*options, "--wrap", body)
    wait_until(lambda: output.exists() and "start 0" in output.read_text())
    sandbox.scontrol("requeue", job_id)
    sandbox.wait_until_idle("comes-again")
    assert "start 1" in output.read_text()


def test_a_controller_that_was_down_still_knows_its_jobs(start_sandbox, tmp_path):
    cluster = start_sandbox(nodes=1)
    go = tmp_path / "go"
    first = cluster.sbatch("--output", tmp_path / "out", "--wrap", f"until [ -e {go} ]; do sleep 0.1; done; echo done")
    second = cluster.sbatch(f"--dependency=afterok:{first}", "--output", tmp_path / "out2", "--wrap", "echo next")
    wait_until(lambda: state_of(cluster, first) == "RUNNING")

    cluster.stop("slurmctld")
    # It tries for about ten seconds.
    done = cluster.run("squeue", check=False)
    assert done.returncode == 1
    assert "Unable to contact slurm controller" in done.stderr
    go.touch()
    wait_until(lambda: (tmp_path / "out").read_text() == "done\n")

    cluster.start("slurmctld")
    wait_until(lambda: cluster.run("squeue", check=False).returncode == 0)
    assert state_of(cluster, second)
    cluster.wait_until_idle()
    assert (tmp_path / "out2").read_text() == "next\n"
