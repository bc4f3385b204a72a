"""The commands on a run of a cluster: submit, status, wait, logs, cancel, resume, scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slurm

TWO = """
@datagenerator(output_names="y")
def speak(x, shift):
    print(f"evaluating {{x}}")
    return 2 * x + shift


cluster = SlurmCluster(grace=2, wake="{wake}")
pipeline = Pipeline("two", steps=[
    Step(create, name="create", kwargs={{"n": 5}}),
    Step(speak, name="run", parallel=True, kwargs={{"shift": {shift}}},
         resources=SlurmResources(max_array_size=2, max_jobs_per_task=1)),
    Step(nothing, name="last"),
])
"""


def test_two_runs_in_one_workspace_do_not_disturb_each_other(studies):
    one = studies.submit(TWO.format(wake="job", shift=0), name="one.py")
    other = studies.submit(TWO.format(wake="both", shift=100), name="other.py")
    assert one != other
    studies.wait(one)
    studies.wait(other)

    assert studies.outputs(one) == [0, 2, 4, 6, 8]
    assert studies.outputs(other) == [100, 102, 104, 106, 108]
    for key in (one, other):
        ids = [job["scheduler_id"] for each in studies.step_runs(key).values() for job in each["jobs"]]
        assert len(set(ids)) == len(ids) == 5
        assert all(job_id.isdigit() for job_id in ids)
        assert [job["n_tasks"] for job in studies.jobs(key, "run")] == [2, 2, 1]
        assert studies.orchestrator("logs", key, "run", "--task", "3").stdout == "evaluating 3.0\n"
    listed = studies.orchestrator("list").stdout
    assert one in listed
    assert other in listed


NOISY = """
import logging, subprocess, sys

log = logging.getLogger("mystudy")


def prints(x):
    print("begin", x)
    log.info("info")
    log.debug("debug")
    print("error", file=sys.stderr)
    subprocess.run(["echo", "by a child"])
    print("end", end="")
    return 2 * x


pipeline = Pipeline("noisy", steps=[
    Step(create, name="create"),
    Step(datagenerator(output_names="y")(prints), name="run", parallel=True,
         resources=SlurmResources(max_array_size=2, max_jobs_per_task=2)),
    Step(create, name="again"),
    Step(datagenerator(output_names="y")(prints), name="all"),
])
"""


def test_the_output_of_each_experiment_is_found_by_its_number(studies):
    # The environment of the submitter does not reach the jobs; the level of log records does.
    studies.variables |= {"SBATCH_EXPORT": "NONE", "ORCHESTRATOR_LOG_LEVEL": "DEBUG"}
    key = studies.submit(NOISY)
    studies.wait(key)
    for step in ("run", "all"):
        for row in range(3):
            lines = studies.orchestrator("logs", key, step, "--experiment", row).stdout.split("\n")
            info, debug = lines.pop(1), lines.pop(1)
            assert lines == [f"begin {row}.0", "error", "by a child", "end"]
            assert info[len("2026-11-24 10:02:11") :] == f" INFO experiment {row} mystudy: info"
            assert debug[len("2026-11-24 10:02:11") :] == f" DEBUG experiment {row} mystudy: debug"


WAITS = """
@datagenerator(output_names="y")
def patient(x):
    import time
    while not Path("go").exists():
        time.sleep(0.1)
    return 2 * x


pipeline = Pipeline("waits", steps=[
    Step(create, name="create"),
    Step(patient, name="run", parallel=True),
    Step(nothing, name="last"),
])
"""


ELSEWHERE = ("unshare", "--uts", "sh", "-c", 'hostname login2 && exec "$@"', "sh")
"""Put before a command: runs it on a host with another name, with the same files and the same cluster."""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*ELSEWHERE, "true"], capture_output=True).returncode != 0,
    reason="a process may have no host name of its own here",
)
def test_another_login_node_can_show_and_change_a_run(studies):
    def elsewhere(*words, **more):
        return studies.run(*ELSEWHERE, sys.executable, "-m", "orchestrator", *words, **more)

    key = studies.submit(WAITS)
    wait_until(lambda: len(studies.cluster.jobs_left("run_")) == 3, 60, lambda: studies.story(key))
    [job] = studies.jobs(key, "run")
    assert f"job {job['scheduler_id']}" in elsewhere("status", key, "--refresh").stdout
    assert elsewhere("wait", key, "--timeout", "0.2", code=124).stderr
    assert "cancelled" in elsewhere("cancel", key).stdout
    assert studies.cluster.jobs_left() == []

    elsewhere("resume", key)
    wait_until(lambda: len(studies.cluster.jobs_left("run_")) == 3, 60, lambda: studies.story(key))
    (studies.folder / "go").touch()
    elsewhere("wait", key, "--timeout", "60")
    assert studies.outputs(key) == [0, 2, 4]
    assert elsewhere("logs", key, "run", "--task", "0").returncode == 0
    studies.cluster.wait_until_idle()
    assert studies.orchestrator("status", key).stdout == elsewhere("status", key).stdout


def test_cancel_ends_every_job_and_resume_continues_the_run(studies, golden):
    key = studies.submit(WAITS)
    # Scripts of later steps, too: a process that submits one need not write it first.
    scripts = (studies.folder / key / ".orchestrator" / "scripts").glob("*.sh")
    assert {path.name.partition(".")[0] for path in scripts} == {"create", "run", "last", "orchestrator"}
    # The first job is gone, too, and with it its tail.
    runs = [("orchestrator", "PENDING"), *3 * [("run", "RUNNING")]]
    wait_until(lambda: studies.cluster.queue() == runs, 60, lambda: studies.story(key))
    studies.orchestrator("wait", key, "--timeout", "0.2", code=124)
    # A second cancel has no effect.
    queue = studies.cluster.jobs_left()
    for words in (("advance", key), ("resume", key), ("submit", "study.py", "--project-job", key)):
        studies.orchestrator(*words)
    assert studies.cluster.jobs_left() == queue
    assert [job["attempt"] for job in studies.jobs(key, "run")] == [1]

    golden.replace(f"job {studies.jobs(key, 'run')[0]['scheduler_id']}", "job")
    golden(studies.orchestrator("cancel", key), exact=False)

    assert studies.cluster.jobs_left() == []
    golden(studies.wait(key, code=4), exact=False)
    assert studies.states(key) == {"create": "succeeded", "run": "cancelled"}
    (studies.folder / "go").touch()
    studies.orchestrator("resume", key)
    studies.wait(key)
    assert studies.outputs(key) == [0, 2, 4]

    # And again from a step, with all later steps.
    studies.orchestrator("resume", key, "--from-step", "create")
    studies.wait(key)
    assert studies.outputs(key) == [0, 2, 4]
    before = [each for each in studies.status(key)["step_runs"] if each["withdrawn_at"] is not None]
    assert [each["name"] for each in before] == ["create", "run", "run", "last"]
    golden(studies.orchestrator("resume", key), exact=False)


def test_scripts_shows_the_submitted_scripts_and_changes_nothing(studies):
    path = studies.write(TWO.format(wake="both", shift=0))
    shown = {
        label: studies.orchestrator("scripts", path.name, label, "--project-job", "r").stdout
        for label in ("create", "run", "last", "orchestrator")
    }
    assert [each.name for each in studies.folder.iterdir() if each.name != "__pycache__"] == ["study.py"]

    studies.orchestrator("submit", path.name, "--project-job", "r")
    studies.wait("r")
    submitted = studies.folder / "r" / ".orchestrator" / "scripts"
    assert {each.name.partition(".")[0]: each.read_text() for each in submitted.iterdir()} == shown


def test_a_pipeline_can_start_at_a_later_step(studies, golden):
    studies.write(TWO.format(wake="both", shift=0))
    studies.orchestrator("run", "study.py", "--project-job", "before")
    studies.orchestrator("submit", "study.py", "--project-job", "r", "--from-step", "last")
    studies.wait("r")
    assert studies.states("r") == {"create": "skipped", "run": "skipped", "last": "succeeded"}
    golden(studies.orchestrator("submit", "study.py", "--project-job", "before", code=2))


def test_a_script_that_is_submitted_by_hand_advances_the_run(studies):
    key = studies.finish("pipeline = Pipeline('p', [Step(create), Step(double, name='double', parallel=True)])")
    [path] = (studies.folder / key / ".orchestrator" / "scripts").glob("double.*.sh")
    studies.run("sbatch", "--wait", f"--output={studies.folder}/by_hand.log", path)
    assert "succeeded" in (studies.folder / "by_hand.log").read_text()
    assert studies.outputs(key) == [0.0, 2.0, 4.0]
    assert "by hand" in path.read_text()
