"""How the client uses SLURM's programs: their output, their failures, and the user's environment."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path

import pytest

from orchestrator import SlurmCluster
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.errors import SchedulerUnreachable
from orchestrator.handoff.environment import read_environment, write_environment
from orchestrator.machine.answers import Accepted, Refused, RefusedForNow, RefusedHere, Unanswered
from orchestrator.machine.facts import Seen
from orchestrator.slurm import client as module
from orchestrator.slurm.client import Client, SlurmConfig
from orchestrator.slurm.job_states import meaning
from orchestrator.slurm.messages import judge
from orchestrator.slurm.parse import FIELD, SACCT_FIELDS
from orchestrator.slurm.variables import for_query, for_submission
from orchestrator.workspace import RunFolder
from tests.slurm.sandboxes import wait_until

CAPTURED = Path(__file__).resolve().parents[1] / "fixtures" / "slurm"


# --- what sbatch says ----------------------------------------------------------------------------

ANSWERS = {
    "accepted": Accepted,
    "one job more than MaxSubmitJobs": RefusedForNow,
    "one job more than MaxSubmitJobsPerUser": RefusedForNow,
    "one job more than GrpSubmitJobs": RefusedForNow,
    "more CPUs than the QOS allows": Refused,
    "more time than the QOS allows": Refused,
    "no such account": Refused,
    "no such qos": Refused,
    "no such partition": Refused,
    "too much memory": Refused,
    "an index as large as MaxArraySize": Refused,
    "no time": Refused,
    "wrong option": Refused,
    "dependency on no job": Refused,
    "two kinds of memory": Refused,
    "line breaks of DOS": Refused,
    "no script": Refused,
    "inactive partition": RefusedForNow,
    "a controller that does not answer": Unanswered,
    "no controller": RefusedForNow,
    "no configuration": RefusedForNow,
}


@pytest.mark.parametrize(
    "captured", json.loads((CAPTURED / "sbatch.json").read_text()), ids=lambda captured: captured["what"]
)
def test_captured_answers_of_sbatch_are_understood(captured):
    assert type(judge(captured["returncode"], captured["stdout"], captured["stderr"])) is ANSWERS[captured["what"]]


@pytest.mark.parametrize(
    "words",
    [
        "Access/permission denied",
        "Job submission from compute nodes is not allowed",
        "sbatch is disabled here. Please submit from a login node.",
        "You can't submit jobs from inside a job.",
    ],
)
def test_a_refusal_may_be_about_the_machine(words):
    assert failed(words) == RefusedHere(f"Batch job submission failed: {words}")


@pytest.mark.parametrize(
    "words",
    ["Requested node configuration is not available", "Invalid node name specified", "Job dependency problem"],
)
def test_a_refusal_of_the_job_is_not_about_the_machine(words):
    assert isinstance(failed(words), Refused)


def failed(words):
    return judge(1, "", f"sbatch: error: Batch job submission failed: {words}\n")


@pytest.mark.parametrize(
    "words",
    [
        "Socket timed out on send/recv operation",
        "Connection reset by peer",
        "Unable to contact slurm controller (receive failure)",
        "Zero Bytes were transmitted or received",
        "Unexpected message received",
        "Protocol authentication error",
    ],
)
def test_after_some_errors_it_is_unknown_whether_the_job_was_accepted(words):
    assert failed(words) == Unanswered(f"Batch job submission failed: {words}")


@pytest.mark.parametrize(
    "words",
    [
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Resource temporarily unavailable",
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "Slurm backup controller in standby mode",
        "Unable to create job record, try again",
        "System submissions disabled",
    ],
)
def test_temporary_errors_are_recognised(words):
    assert isinstance(failed(words), RefusedForNow)


@pytest.mark.parametrize(
    ("returncode", "stdout"), [(0, ""), (0, "Submitted batch job 5\n"), (-9, ""), (137, "x\n"), (1, "647\n"), (1, "")]
)
def test_without_a_clear_answer_the_job_may_be_accepted(returncode, stdout):
    assert isinstance(judge(returncode, stdout, ""), Unanswered)


def test_the_last_message_counts_if_sbatch_retried():
    tried = "sbatch: Slurm temporarily unable to accept job, sleeping and retrying\n"
    assert judge(0, "7\n", tried) == Accepted("7")
    last = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
    assert isinstance(judge(1, "", tried + last), Unanswered)


def test_a_refusal_contains_only_the_message_of_sbatch():
    captured = (
        "sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job submission failed: x\n"
    )
    assert judge(1, "", captured) == Refused(
        "Memory specification can not be satisfied\nBatch job submission failed: x"
    )


# --- the environment -----------------------------------------------------------------------------

SITE = {"PATH": "/bin", "SLURM_CONF": "/c", "SLURM_CLUSTERS": "a", "HOME": "/h"}


def test_variables_of_the_surrounding_job_are_not_passed_on():
    inherited = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "5", "SLURM_EXIT_ERROR": "0"}
    assert for_submission(SITE | inherited, []) == SITE
    assert for_query(SITE | inherited) == {**SITE, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}


@pytest.mark.parametrize(
    ("option", "variable"),
    [
        ("time", "SBATCH_TIMELIMIT"),
        ("partition", "SBATCH_PARTITION"),
        ("account", "SBATCH_ACCOUNT"),
        ("mem", "SBATCH_MEM_PER_NODE"),
        ("mem", "SBATCH_MEM_PER_CPU"),
        ("mem-per-cpu", "SBATCH_MEM_PER_GPU"),
        ("job-name", "SBATCH_JOB_NAME"),
        ("no-requeue", "SBATCH_REQUEUE"),
        ("open-mode", "SBATCH_OPEN_MODE"),
        ("output", "SBATCH_OUTPUT"),
        ("tres-per-task", "SBATCH_TRES_PER_TASK"),
    ],
)
def test_a_variable_does_not_override_our_options(option, variable):
    assert for_submission(SITE | {variable: "x"}, []) == SITE | {variable: "x"}
    assert for_submission(SITE | {variable: "x"}, ["chdir", option]) == SITE


@pytest.mark.parametrize("is_there", [True, False], ids=["changed", "missing"])
def test_no_job_is_submitted_without_the_environment_that_was_stored_for_it(tmp_path, is_there):
    """With that of the process that submits, it would be refused for now: there is no sbatch."""
    folder = RunFolder(tmp_path, "r")
    client = Client({"PATH": str(tmp_path)}, partial(read_environment, folder, write_environment(folder)))
    folder.environment.write_text("{}")
    if not is_there:
        folder.environment.unlink()
    site = ClusterConfig(SlurmCluster(), orchestrator_resources(None), str(tmp_path))
    scheduler = SlurmScheduler(folder, site, "p", tmp_path / "db", shared=False, client=client)
    answer = scheduler.submit_orchestrator("t", "7")
    assert isinstance(answer, Refused)
    assert answer.reason.startswith(f"The environment of the jobs in {folder.environment} can't be used: ")


@pytest.mark.parametrize("variable", ["SBATCH_ARRAY_INX", "SBATCH_WAIT", "SBATCH_CLUSTERS"])
def test_variables_that_would_change_the_job_are_removed(variable):
    assert for_submission(SITE | {variable: "x"}, []) == SITE


@pytest.mark.parametrize("variable", ["SQUEUE_PARTITION", "SQUEUE_FORMAT", "SACCT_FORMAT", "SCANCEL_INTERACTIVE"])
def test_the_users_filters_hide_no_job(variable):
    assert variable not in for_query(SITE | {variable: "x"})


# --- programs that don't answer ------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path):
    """Return a function that puts a program on PATH; `calls` has what each was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(name, body):
        script = folder / name
        script.write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >> {folder / "calls"}\n{body}\n')
        script.chmod(0o755)
        return Client({"PATH": f"{folder}:{os.environ['PATH']}"})

    put.calls = lambda: (folder / "calls").read_text().splitlines()
    return put


def ask(client):
    """Ask each question."""
    return [client.squeue, lambda: client.sacct(["1"], None), client.config, lambda: client.scancel(["1"])]


@pytest.mark.parametrize(
    "body",
    [
        "echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1",
        "exit 1",
        "kill -9 $$",
        "exit 0",
        "echo The cluster is down.",
        "echo 'squeue: error: Invalid user: nobody' >&2; printf '\\x1eJOBID\\n'",
        f"echo 'sacct: error: DBD_GET_JOBS_COND failure: Unspecified error' >&2; echo '{FIELD.join(SACCT_FIELDS)}'",
    ],
)
def test_a_failed_question_is_not_an_empty_list(programs, body):
    with pytest.raises(SchedulerUnreachable):
        programs("squeue", body).squeue()
    with pytest.raises(SchedulerUnreachable):
        programs("sacct", body).sacct(["1"], None)
    with pytest.raises(SchedulerUnreachable):
        programs("scontrol", body).config()


NOISE = "error: Ignoring BackupController since SlurmctldHost is set."


def test_what_slurm_complains_about_beside_an_answer_is_shown_once(programs, capfd, monkeypatch):
    monkeypatch.setattr(module, "_shown", set())
    noise = f"echo $(basename $0): {NOISE!r} >&2"
    programs("squeue", f"{noise}; printf '\\x1eJOBID\\n'")
    programs("sacct", f"{noise}; echo '{FIELD.join(SACCT_FIELDS)}'")
    programs("scontrol", f"{noise}; printf 'MaxArraySize = 5\\nAccountingStorageType = x\\n'")
    programs("scancel", noise)
    client = programs("sbatch", f"{noise}; echo 'sbatch: your project has 9 h left' >&2; echo 7")
    for _ in range(2):
        assert client.squeue() == []
        assert client.sacct(["1"], None) == []
        assert client.config() == SlurmConfig(5, has_accounting=True)
        assert client.set_dependency("1", "2") is True
        client.scancel(["1"])
        assert client.sbatch(["x.sh"], []) == Accepted("7")
    named = [f"{name}: {NOISE}" for name in ("squeue", "sacct", "scontrol", "scancel", "sbatch")]
    assert capfd.readouterr().err.splitlines() == [*named, "sbatch: your project has 9 h left"]


def test_jobs_that_have_ended_are_no_error_of_scancel_whatever_else_it_complains_about(programs):
    over = "scancel: error: Kill job error on job id 7: Invalid job id specified"
    programs("scancel", f"echo 'scancel: {NOISE}' >&2; echo '{over}' >&2; exit 1").scancel(["7"])
    denied = "scancel: error: Kill job error on job id 7: Access/permission denied"
    client = programs("scancel", f"echo 'scancel: {NOISE}' >&2; echo '{denied}' >&2; exit 1")
    with pytest.raises(SchedulerUnreachable, match="permission denied"):
        client.scancel(["7"])


def test_a_program_that_hangs_counts_as_no_answer(programs, monkeypatch, golden):
    monkeypatch.setattr(module, "SECONDS_TO_ASK", 0.3)
    monkeypatch.setattr(module, "SECONDS_TO_SUBMIT", 0.3)
    for name in ("squeue", "sacct", "scontrol", "scancel", "sbatch"):
        client = programs(name, "exec sleep 60")
    for question in ask(client):
        with golden.raises(SchedulerUnreachable):
            question()
    answer = client.sbatch(["x.sh"], [])
    assert isinstance(answer, Unanswered)
    golden(answer.reason)


def test_a_missing_program_is_named(tmp_path, golden):
    client = Client({"PATH": str(tmp_path)})
    assert client.missing_program() == "sbatch"
    for question in ask(client):
        with golden.raises(SchedulerUnreachable):
            question()
    answer = client.sbatch(["x.sh"], [])
    assert isinstance(answer, RefusedHere)
    golden(answer.reason)


def test_many_jobs_are_cancelled_by_few_calls(programs):
    client = programs("scancel", "")
    client.scancel([str(number) for number in range(1, 1202)])
    assert len(programs.calls()) == 3
    assert [int(word) for call in programs.calls() for word in call.split()] == list(range(1, 1202))
    client.scancel([])
    assert len(programs.calls()) == 3


def test_sacct_is_not_called_without_a_job(tmp_path):
    assert Client({"PATH": str(tmp_path)}).sacct([], None) == []


def test_jobs_without_an_id_are_searched_since_an_hour_before_their_time(programs):
    client = programs("sacct", f"echo '{FIELD.join(SACCT_FIELDS)}'")
    assert client.sacct([], 1_000_000.0) == []
    (call,) = programs.calls()
    assert f"--user={os.getuid()}" in call
    start = time.mktime(time.strptime(call.split("--starttime=")[1], "%Y-%m-%dT%H:%M:%S"))
    assert start <= 1_000_000.0 - 3600


@pytest.mark.parametrize("bad", ["", "-u", "1 2", "1;2", "--state=RUNNING", "1_[2]"])
def test_an_invalid_job_id_is_never_passed_to_a_program(tmp_path, bad):
    client = Client({"PATH": str(tmp_path)})
    for question in (
        lambda: client.scancel(["1", bad]),
        lambda: client.sacct([bad], None),
        lambda: client.set_dependency(bad, "1"),
        lambda: client.set_dependency("1", bad),
    ):
        with pytest.raises(ValueError):
            question()


@pytest.mark.parametrize(
    ("words", "is_error"),
    [
        ("Job is no longer pending execution for job 7", False),
        ("Invalid job id specified for job 7", False),
        ("Job has already finished for job 7", False),
        ("Unexpected message received for job 7", True),  # what scontrol 22.05 says when there is no controller
        ("Unable to contact slurm controller (connect failure)", True),
        ("Socket timed out on send/recv operation for job 7", True),
    ],
)
def test_a_job_that_does_not_wait_cannot_be_repointed(programs, words, is_error, golden):
    client = programs("scontrol", f"echo '{words}' >&2; exit 1")
    if is_error:
        with golden.raises(SchedulerUnreachable):
            client.set_dependency("7", "8")
    else:
        assert client.set_dependency("7", "8") is False


# --- the real SLURM ------------------------------------------------------------------------------


def lines_of(client, job_id):
    return [line for line in client.squeue() if line.job_id == job_id]


def submitted(client, *arguments):
    answer = client.sbatch(["--output=/dev/null", *arguments], ["output"])
    assert isinstance(answer, Accepted), answer
    return answer.scheduler_id


@pytest.mark.slurm
def test_an_array_is_listed_from_its_submission_to_its_end(sandbox):
    client = Client(sandbox.environment)
    name = ["--job-name=loop1_run_lifeofarr2_pipe", "--comment=lifeofarr2"]
    job = submitted(client, *name, "--array=0-3", "--hold", "--wrap", "exit $((SLURM_ARRAY_TASK_ID == 2))")
    (line,) = lines_of(client, job)
    assert (line.indexes, line.state, line.reason, line.token) == ((0, 1, 2, 3), "PENDING", "JobHeldUser", "lifeofarr2")
    sandbox.scancel(f"{job}_1")
    sandbox.scontrol("release", job)

    over = {}

    def are_over():
        over.update({line.indexes: line for line in lines_of(client, job) if meaning(line.state).seen is Seen.OVER})
        return {(0,), (2,), (3,)} <= set(over)

    wait_until(are_over, 60, lambda: f"{over}")
    assert [over[index,].state for index in (0, 2, 3)] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert over[2,].reason == "NonZeroExitCode"
    assert over[2,].started_at <= over[2,].ended_at


@pytest.mark.slurm
def test_a_name_with_line_breaks_adds_no_record(sandbox):
    client = Client(sandbox.environment)
    forged = "x\n99999" + FIELD + "RUNNING" + FIELD + "a|b"
    job = submitted(client, "--hold", f"--job-name={forged}", f"--comment={forged}", "--wrap", "true")
    listed = client.squeue()
    assert "99999" not in {line.job_id for line in listed}
    assert [line.state for line in listed if line.job_id == job] == ["PENDING"]
    client.scancel([job])


@pytest.mark.slurm
def test_a_comment_with_the_token_of_another_job_is_found(sandbox):
    client = Client(sandbox.environment)
    tokens = {"commentaa2", "commentbb2"}
    job = submitted(client, "--hold", "--job-name=a_commentaa2_pipe", "--comment=project-a", "--wrap", "true")
    for comment, other in (("commentaa2", None), ("project-a commentbb2", "commentbb2"), ("", None)):
        sandbox.scontrol("update", f"JobId={job}", f"Comment={comment}")
        assert [line.other_token(tokens) for line in lines_of(client, job)] == [other]
    client.scancel([job])


@pytest.mark.slurm
def test_a_waiting_job_is_repointed_and_no_other(sandbox):
    client = Client(sandbox.environment)
    first = submitted(client, "--hold", "--wrap", "true")
    waiting = submitted(client, "--hold", "--wrap", "true", f"--dependency=afterany:{first}")
    running = submitted(client, "--wrap", "sleep 60")
    wait_until(lambda: [line.state for line in lines_of(client, running)] == ["RUNNING"], 30)
    assert client.set_dependency(waiting, running) is True
    assert f"afterany:{running}" in sandbox.scontrol("show", "job", waiting)
    assert client.set_dependency(running, first) is False
    assert client.set_dependency("9999999", first) is False
    client.scancel([first, waiting, running, "9999998"])
    wait_until(
        lambda: (
            not {line.job_id for line in client.squeue() if meaning(line.state).seen is not Seen.OVER}
            & {first, waiting, running}
        ),
        30,
    )
    assert client.set_dependency(waiting, first) is False
    client.scancel([first, waiting, running])


@pytest.mark.slurm
def test_an_orchestrator_job_that_cannot_be_repointed_no_longer_waits(sandbox, tmp_path):
    client = Client(sandbox.environment)
    waiting = submitted(client, "--hold", "--wrap", "true")
    running = submitted(client, "--wrap", "sleep 60")
    wait_until(lambda: lines_of(client, running)[0].state == "RUNNING", 30)
    site = ClusterConfig(SlurmCluster(), orchestrator_resources(None), str(tmp_path))
    scheduler = SlurmScheduler(RunFolder(tmp_path, "r"), site, "p", tmp_path / "db", shared=False, client=client)
    # A job can't wait for itself.
    assert scheduler.set_dependency(waiting, waiting) is False
    assert scheduler.set_dependency(running, waiting) is False
    wait_until(lambda: lines_of(client, waiting)[0].state.startswith("CANCELLED"), 30)
    assert lines_of(client, running)[0].state == "RUNNING"
    client.scancel([running])


@pytest.mark.slurm
def test_variables_of_the_user_and_of_the_surrounding_job_do_not_reach_a_new_job(sandbox):
    inherited = {
        "SLURM_ARRAY_TASK_ID": "7",
        "SBATCH_ARRAY_INX": "1-5",
        "SBATCH_TIMELIMIT": "3",
        "SBATCH_JOB_NAME": "stolen",
        "SQUEUE_STATES": "RUNNING",
        "SQUEUE_FORMAT": "%i",
    }
    client = Client(sandbox.environment | inherited)
    script = "#!/bin/bash\n#SBATCH --time=5\n#SBATCH --job-name=ours\nsleep 60\n"
    path = sandbox.folder / "inherited.sh"
    path.write_text(script)
    job = submitted(client, "--hold", str(path))
    assert "TimeLimit=00:03:00" in sandbox.scontrol("show", "job", job)
    client.scancel([job])
    answer = client.sbatch(["--hold", "--output=/dev/null", str(path)], ["time", "job-name"])
    assert isinstance(answer, Accepted)
    shown = sandbox.scontrol("show", "job", answer.scheduler_id)
    assert "TimeLimit=00:05:00" in shown
    assert "JobName=ours" in shown
    (line,) = lines_of(client, answer.scheduler_id)
    assert line.indexes is None
    client.scancel([answer.scheduler_id])


@pytest.mark.slurm
def test_a_cluster_without_accounting_is_recognised(sandbox):
    client = Client(sandbox.environment)
    assert client.config() == SlurmConfig(1001, has_accounting=False)
    assert client.missing_program() is None
    with pytest.raises(SchedulerUnreachable, match="Slurm accounting storage is disabled"):
        client.sacct(["1"], None)


@pytest.mark.slurm
def test_sacct_knows_jobs_that_squeue_has_forgotten(sandbox_with_accounting):
    sandbox = sandbox_with_accounting
    client = Client(sandbox.environment)
    assert client.config().has_accounting
    began = time.time()
    name = "--job-name=loop1_run_forgotten2_pipe"
    job = submitted(client, name, "--array=0-2", "--wrap", "exit $((SLURM_ARRAY_TASK_ID == 2))")
    no_log = client.sbatch(["--output=/nonexistent/x", "--wrap", "true"], [])
    assert isinstance(no_log, Accepted)
    wait_until(lambda: not {line.job_id for line in client.squeue()} & {job, no_log.scheduler_id}, 60)

    def known():
        return {(line.job_id, line.indexes): line for line in client.sacct([job, no_log.scheduler_id, "9999999"], None)}

    expected = {
        (job, (0,)): ("COMPLETED", "0:0"),
        (job, (1,)): ("COMPLETED", "0:0"),
        (job, (2,)): ("FAILED", "1:0"),
        (no_log.scheduler_id, None): ("FAILED", "0:53"),
    }
    wait_until(lambda: {key: (line.state, line.exit_code) for key, line in known().items()} == expected, 30, known)
    assert {line.job_id for line in client.sacct([], began) if line.has_token("forgotten2")} == {job}


@pytest.mark.slurm
def test_a_long_irregular_array_is_listed_completely(sandbox_with_accounting):
    client = Client(sandbox_with_accounting.environment)
    indexes = tuple(range(1, 400, 3)) + tuple(range(401, 600, 7))
    job = submitted(client, "--hold", f"--array={','.join(map(str, indexes))}", "--wrap", "true")
    (line,) = lines_of(client, job)
    assert line.indexes == indexes
    wait_until(lambda: client.sacct([job], None), 30)
    (line,) = client.sacct([job], None)
    assert line.indexes == indexes
    client.scancel([job])


@pytest.mark.slurm
def test_without_a_controller_nothing_is_concluded(start_sandbox):
    sandbox = start_sandbox(nodes=1)
    port = next(line for line in (sandbox.folder / "slurm.conf").read_text().splitlines() if "SlurmctldPort" in line)
    conf = sandbox.folder / "down.conf"
    conf.write_text((sandbox.folder / "slurm.conf").read_text().replace(port, "SlurmctldPort=1\nMessageTimeout=2"))
    client = Client(sandbox.environment | {"SLURM_CONF": str(conf)})
    for question in (
        client.squeue,
        client.config,
        lambda: client.scancel(["1"]),
        lambda: client.set_dependency("1", "2"),
    ):
        with pytest.raises(SchedulerUnreachable):
            question()
    assert isinstance(client.sbatch(["--wrap", "true"], []), RefusedForNow)
