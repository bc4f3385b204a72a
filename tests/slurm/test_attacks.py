"""Processes die, jobs are cancelled, SLURM does not answer: a run succeeds, or is stalled and says what to type."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.slurm.sandboxes import PREEMPTS, wait_until
from tests.slurm.studies import Studies

pytestmark = pytest.mark.slurm

STEPS = '''
cluster.wake = "{wake}"


@datagenerator(output_names="y")
def counted(x):
    with open("evaluated", "a") as file:
        file.write(f"{{x}}\\n")
    return 2 * x


def hold(project_dir):
    """Last until the test says so."""
    import time

    Path("holds").touch()
    while not Path("let go").exists():
        time.sleep(0.05)


pipeline = Pipeline("attacked", steps=[
    Step(create, name="create", kwargs={{"n": 6}}),
    Step(hold, name="hold"),
    Step(counted, name="run", parallel=True),
    Step(nothing, name="last"),
])
'''


def let_go(studies: Studies) -> None:
    (studies.folder / "let go").touch()


def submit(studies: Studies, wake: str) -> str:
    """Submit the study, and wait until its second step runs and an orchestrator job waits for it."""
    key = studies.submit(STEPS.format(wake=wake))
    wait_until_it_holds(studies)
    return key


def wait_until_it_holds(studies: Studies) -> None:
    """Wait until the second step runs and an orchestrator job waits for it; the submitting process has ended."""
    wait_until((studies.folder / "holds").exists)
    wait_until(lambda: studies.cluster.queue() == [("hold", "RUNNING"), ("orchestrator", "PENDING")])


def waiting(studies: Studies) -> list[str]:
    """Return the ids of the orchestrator jobs that wait."""
    jobs = studies.cluster.squeue("--states=PENDING")
    return [job_id for job_id, name, _ in jobs if name.startswith("orchestrator_")]


def token_of(studies: Studies, job_id: str) -> str:
    return re.search(r"JobName=orchestrator_(\w+?)_", studies.cluster.scontrol("show", "job", job_id))[1]


def check_the_results(studies: Studies, key: str) -> None:
    """Every step has succeeded, and every experiment was evaluated once."""
    assert studies.states(key) == dict.fromkeys(["create", "hold", "run", "last"], "succeeded")
    assert studies.outputs(key) == [0, 2, 4, 6, 8, 10]
    evaluated = (studies.folder / "evaluated").read_text().split()
    assert sorted(map(float, evaluated)) == [0, 1, 2, 3, 4, 5]


def type_what_status_says(studies: Studies, key: str) -> None:
    """Type what status says: the run is stalled."""
    printed = studies.orchestrator("status", key, "--refresh", code=None).stdout
    assert "stalled" in printed
    assert f"orchestrator resume {key}" in printed
    studies.orchestrator("resume", key)


def process_of_orchestrator(studies: Studies, name: str) -> int | None:
    """Find the process of an orchestrator job, of that token or of that run: not its shell, and no tail of a step."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            # A run of another test, which was submitted in the same second, has the same key.
            is_here = (folder / "cwd").samefile(studies.folder)
        except OSError:
            continue
        if is_here and b"--job" in words and name.encode() in words and b"orchestrator" in words:
            return int(folder.name)
    return None


def signal_orchestrator(studies: Studies, name: str, number: signal.Signals) -> bool:
    """Send a signal to the process of an orchestrator job; return whether it was there to get it."""
    pid = process_of_orchestrator(studies, name)
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)
            return True
    return False


def stop_orchestrator(studies: Studies, token: str) -> None:
    """Stop the process of an orchestrator job as soon as it runs, so that it is not over before SLURM hears of more."""
    wait_until(lambda: signal_orchestrator(studies, token, signal.SIGSTOP), every=0.01)


def test_a_run_survives_that_slurm_requeues_its_running_orchestrator_job(studies, golden):
    """SLURM does that when its node fails; it starts again under the same id, and nothing is done twice."""
    key = submit(studies, "job")
    [first] = waiting(studies)
    token = token_of(studies, first)
    let_go(studies)
    stop_orchestrator(studies, token)
    studies.cluster.scontrol("requeue", first)
    assert "Restarts=1 " in studies.cluster.scontrol("show", "job", first)
    studies.wait(key, seconds=240)
    studies.cluster.wait_until_idle()
    # Before the requeue it could not record this.
    golden.replace(token, "token")
    log = (studies.folder / "logs" / key / "orchestrator.log").read_text()
    golden([line for line in log.splitlines() if token in line][-1], exact=False)
    check_the_results(studies, key)
    assert [len(studies.jobs(key, address)) for address in ("hold", "run", "last")] == [1, 1, 1]


@pytest.mark.parametrize("has_successor", [False, True])
def test_a_run_survives_the_kill_of_its_orchestrator_job(studies, has_successor):
    key = submit(studies, "job")
    [first] = waiting(studies)
    let_go(studies)

    def is_killed():
        may_be = not has_successor or set(waiting(studies)) - {first}
        return may_be and signal_orchestrator(studies, key, signal.SIGKILL)

    wait_until(is_killed)
    wait_until(lambda: studies.status(key)["run"]["state"] != "active" or not studies.cluster.jobs_left())
    if studies.status(key)["run"]["state"] == "active":
        # It had not planned its successor yet.
        type_what_status_says(studies, key)
    studies.wait(key)
    check_the_results(studies, key)


def test_a_run_survives_that_its_waiting_orchestrator_job_is_cancelled(studies):
    key = submit(studies, "job")
    studies.cluster.scancel(*waiting(studies))
    let_go(studies)
    wait_until(lambda: not studies.cluster.jobs_left())
    type_what_status_says(studies, key)
    studies.wait(key)
    check_the_results(studies, key)


def test_a_run_survives_that_one_of_its_two_witnesses_is_cancelled(studies):
    key = submit(studies, "both")
    studies.cluster.scancel(*waiting(studies))
    let_go(studies)
    studies.wait(key)
    check_the_results(studies, key)


def test_a_cancelled_job_fails_its_step(studies):
    key = submit(studies, "both")
    [job] = studies.jobs(key, "hold")
    studies.cluster.scancel(job["scheduler_id"])
    printed = studies.wait(key, code=1)
    assert "CANCELLED" in printed
    let_go(studies)
    studies.orchestrator("resume", key)
    studies.wait(key)
    check_the_results(studies, key)


SBATCH = """#!/bin/sh
echo x >> {counter}
n=$(wc -l < {counter})
if [ "$n" = {nth} ]; then
    [ {accepted} = yes ] && {real} "$@" > /dev/null
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
exec {real} "$@"
"""


def test_a_run_whose_stored_environment_was_changed_fails_and_continues_in_that_of_the_shell(studies):
    key = submit(studies, "both")
    environment = studies.folder / key / ".orchestrator" / "environment.json"
    environment.write_text("{}")
    let_go(studies)
    assert f"{environment} can't be used: it was changed after it was written" in studies.wait(key, code=1)
    studies.orchestrator("resume", key)
    studies.wait(key)
    check_the_results(studies, key)


@pytest.fixture
def socket_times_out(studies: Studies, tmp_path_factory: pytest.TempPathFactory):
    """Return a function that makes the nth sbatch, from anywhere, answer that its socket timed out."""

    def arrange(nth: int, *, accepted: bool) -> None:
        folder = tmp_path_factory.mktemp("bin")
        real = shutil.which("sbatch", path=studies.cluster.environment["PATH"])
        text = SBATCH.format(
            counter=shlex.quote(str(folder / "counter")),
            nth=nth,
            accepted="yes" if accepted else "no",
            real=shlex.quote(str(real)),
        )
        (folder / "sbatch").write_text(text)
        (folder / "sbatch").chmod(0o755)
        studies.variables["PATH"] = f"{folder}:{studies.cluster.environment['PATH']}"

    return arrange


@pytest.mark.parametrize(("nth", "accepted"), [(2, True), (3, False), (4, True)])
def test_a_run_survives_a_timeout_of_sbatch_whether_or_not_the_job_was_accepted(
    studies, socket_times_out, nth, accepted
):
    """The second sbatch is that of the first orchestrator, the others are of steps."""
    socket_times_out(nth, accepted=accepted)
    let_go(studies)
    path = studies.write(STEPS.format(wake="both"))
    studies.orchestrator("submit", path.name, "--project-job", "r")
    studies.wait("r")
    check_the_results(studies, "r")


def test_a_first_job_that_was_accepted_though_sbatch_timed_out_runs_once(studies, socket_times_out):
    socket_times_out(1, accepted=True)
    let_go(studies)
    path = studies.write(STEPS.format(wake="job"))
    done = studies.orchestrator("submit", path.name, "--project-job", "r", code=75)
    assert "Socket timed out" in done.stderr
    assert "orchestrator resume r" in done.stderr
    wait_until(lambda: not studies.cluster.jobs_left())
    studies.orchestrator("resume", "r")
    studies.wait("r")
    check_the_results(studies, "r")


def test_a_run_survives_that_the_controller_is_down_for_a_while(start_sandbox, tmp_path):
    cluster = start_sandbox(nodes=1)
    studies = Studies(tmp_path, cluster)
    key = submit(studies, "both")
    cluster.stop("slurmctld")
    let_go(studies)
    log = studies.folder / "logs" / key / "orchestrator.log"
    # The tail of the step's job could not submit the next job.
    wait_until(lambda: "Unable to contact slurm controller" in log.read_text())
    assert studies.status(key)["run"]["state"] == "active"
    refused = studies.orchestrator("advance", key, code=75)
    assert "Unable to contact slurm controller" in refused.stderr
    cluster.start("slurmctld")
    studies.wait(key)
    check_the_results(studies, key)
    cluster.wait_until_idle()


def test_a_job_is_retried_after_a_node_failure(start_sandbox, tmp_path):
    """It is retried, though the step has no retries."""
    cluster = start_sandbox(nodes=2, conf=["MinJobAge=300"])
    studies = Studies(tmp_path, cluster)
    key = submit(studies, "both")
    [job] = studies.jobs(key, "hold")
    node = cluster.run("squeue", "--noheader", "--format=%N", "--jobs", job["scheduler_id"]).stdout.strip()
    cluster.scontrol("update", f"nodename={node}", "state=down", "reason=test")
    wait_until(lambda: len(studies.jobs(key, "hold")) == 2)
    let_go(studies)
    studies.wait(key)
    check_the_results(studies, key)
    first, second = studies.jobs(key, "hold")
    assert (first["state"], first["kind"]) == ("failed", "node_failure")
    assert (second["state"], second["attempt"]) == ("succeeded", 2)
    cluster.wait_until_idle()


def die_and_be_forgotten(studies, path):
    """Submit run r, and end its jobs: no process is left that would notice it before squeue has forgotten them."""
    studies.orchestrator("submit", path.name, "--project-job", "r")
    wait_until_it_holds(studies)
    [job] = studies.jobs("r", "hold")
    studies.cluster.scancel(*waiting(studies), job["scheduler_id"])
    listed = ("squeue", "--noheader", "--states=all", "--format=%i")
    wait_until(lambda: job["scheduler_id"] not in studies.cluster.run(*listed).stdout.split())


def test_one_resume_repeats_a_job_that_died_unseen_and_was_forgotten(sandbox_like, tmp_path):
    cluster = sandbox_like(nodes=1, conf=["MinJobAge=2"])
    studies = Studies(tmp_path, cluster)
    path = studies.write(STEPS.format(wake="job"))
    die_and_be_forgotten(studies, path)
    let_go(studies)
    type_what_status_says(studies, "r")
    studies.wait("r")
    check_the_results(studies, "r")
    cluster.wait_until_idle()


def test_a_job_that_squeue_has_forgotten_is_lost_after_the_grace_and_not_before(sandbox_like, tmp_path, golden):
    cluster = sandbox_like(nodes=1, conf=["MinJobAge=2"])
    studies = Studies(tmp_path, cluster)
    grace = 6.0
    path = studies.write(STEPS.format(wake="job") + f"\ncluster.grace = {grace}\n")
    die_and_be_forgotten(studies, path)
    asked = time.time()
    studies.orchestrator("advance", "r")
    [doubtful] = studies.jobs("r", "hold")
    assert doubtful["state"] in ("queued", "running")  # as it was recorded last
    # SLURM does not know its witnesses either: this is reported, and nothing is concluded.
    for job in (doubtful, *studies.status("r")["orchestrators"]):
        golden.replace(f"job {job['scheduler_id']}", "job")
    golden(studies.wait("r", code=75))

    def state_when_asked_again():
        studies.orchestrator("advance", "r")
        return studies.jobs("r", "hold")[0]["state"]

    wait_until(lambda: state_when_asked_again() == "lost")
    golden(studies.wait("r", code=1))
    [lost] = studies.jobs("r", "hold")
    assert datetime.fromisoformat(lost["ended_at"]).timestamp() - asked >= grace
    let_go(studies)
    studies.orchestrator("resume", "r")
    studies.wait("r")
    check_the_results(studies, "r")
    cluster.wait_until_idle()


def test_a_preempted_job_is_retried(sandbox_like, tmp_path):
    """It is retried at once, though squeue still lists it."""
    cluster = sandbox_like(nodes=1, conf=[*PREEMPTS, "MinJobAge=300"])
    studies = Studies(tmp_path, cluster)
    key = submit(studies, "both")
    urgent = ("--partition=urgent", "--exclusive", "--job-name=urgent", "--output=/dev/null")
    cluster.sbatch(*urgent, "--wrap", "true")
    wait_until(lambda: len(studies.jobs(key, "hold")) == 2, 60, lambda: studies.story(key))
    let_go(studies)
    studies.wait(key)
    check_the_results(studies, key)
    first, second = studies.jobs(key, "hold")
    assert (first["state"], first["kind"]) == ("failed", "preempted")
    assert "PREEMPTED" in first["reason"]
    assert (second["state"], second["attempt"]) == ("succeeded", 2)
    cluster.wait_until_idle()


PATIENT = """
@datagenerator(output_names="y")
def patient(x):
    with open("evaluated", "a") as file:
        file.write(f"{x}\\n")
    import time
    while not Path("let go").exists():
        time.sleep(0.05)
    return 2 * x


pipeline = Pipeline("attacked", steps=[
    Step(create, name="create"),
    Step(patient, name="run", parallel=True, resources=SlurmResources(extra_sbatch={"exclusive": True})),
    Step(nothing, name="last"),
])
"""


def test_only_the_preempted_task_of_an_array_is_retried(start_sandbox, tmp_path):
    """Results of the other tasks remain."""
    cluster = start_sandbox(nodes=3, conf=[*PREEMPTS, "MinJobAge=300"])
    studies = Studies(tmp_path, cluster)
    key = studies.submit(PATIENT)
    wait_until(lambda: (tmp_path / "evaluated").exists() and len((tmp_path / "evaluated").read_text().split()) == 3)
    [job] = studies.jobs(key, "run")
    of_task_1 = cluster.run("squeue", "--noheader", "--format=%N", "--jobs", f"{job['scheduler_id']}_1").stdout.strip()
    urgent = cluster.sbatch(
        "--partition=urgent", "--exclusive", f"--nodelist={of_task_1}", "--output=/dev/null", "--wrap", "true"
    )
    wait_until(lambda: "JobState=COMPLETED" in cluster.scontrol("show", "job", urgent))
    let_go(studies)
    studies.wait(key)
    first, second = studies.jobs(key, "run")
    assert (first["state"], first["kind"], first["failed_tasks"]) == ("failed", "preempted", "1")
    assert (second["state"], second["attempt"], second["tasks"]) == ("succeeded", 2, "1")
    assert studies.outputs(key) == [0, 2, 4]
    assert sorted((tmp_path / "evaluated").read_text().split()) == ["0.0", "1.0", "1.0", "2.0"]
    cluster.wait_until_idle()


def test_a_run_survives_the_preemption_of_its_orchestrator_job(sandbox_like, tmp_path):
    """SLURM starts it again, and no work is done twice."""
    cluster = sandbox_like(nodes=1, conf=[*PREEMPTS, "MinJobAge=300"])
    studies = Studies(tmp_path, cluster)
    key = submit(studies, "job")
    [orchestrator] = waiting(studies)
    token = token_of(studies, orchestrator)
    let_go(studies)
    stop_orchestrator(studies, token)
    cluster.sbatch("--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap", "true")
    wait_until(lambda: "Restarts=1 " in cluster.scontrol("show", "job", orchestrator), 60)
    studies.wait(key, seconds=240)
    check_the_results(studies, key)
    assert [len(studies.jobs(key, address)) for address in ("hold", "run", "last")] == [1, 1, 1]
    cluster.wait_until_idle()


def test_an_unknown_state_counts_as_live_and_is_shown(studies, tmp_path_factory):
    key = submit(studies, "both")
    folder, path = tmp_path_factory.mktemp("bin"), studies.cluster.environment["PATH"]
    real = shlex.quote(str(shutil.which("squeue", path=path)))
    (folder / "squeue").write_text(f'#!/bin/sh\n{real} "$@" | sed s/RUNNING/SOMETHING_NEW/\n')
    (folder / "squeue").chmod(0o755)
    studies.variables["PATH"] = f"{folder}:{path}"
    studies.orchestrator("advance", key)
    assert studies.states(key)["hold"] == "active"
    assert "SOMETHING_NEW" in studies.orchestrator("status", key).stdout
    [job] = studies.jobs(key, "hold")
    assert job["doubt"] == "unknown_state"
    assert job["reason"] == "SLURM reports the unknown state SOMETHING_NEW; the job counts as live"
    let_go(studies)
    studies.wait(key)
    check_the_results(studies, key)
