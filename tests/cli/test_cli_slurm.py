"""The output of `status`, `list`, `logs` and `wait` for a run on a cluster, from records and with SLURM's answer."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_records import T0, Records, documented, on_slurm
from click.testing import CliRunner
from programs import squeue_answer

from orchestrator.atomic import write_atomically
from orchestrator.cli.main import cli
from orchestrator.cli.status import render
from orchestrator.cli.workspace import TypedOptions
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder
from orchestrator.db.rows import update
from orchestrator.db.runs import find_run
from orchestrator.db.status import run_status
from orchestrator.errors import Busy, NotFound, SchedulerUnreachable
from orchestrator.machine.stalled import NO_JOB_LEFT
from orchestrator.workspace import RunFolder

HERE = Holder("login1", "another boot", 4242, "1")
ON_A_NODE = Holder("node7", "its boot", 77, "1", "9")


@pytest.fixture
def records(workspace, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("orchestrator.db.lease_holder._host", lambda: "login1")
    yield Records(workspace)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def ask(monkeypatch, records):
    """Run a command in this process, a number of seconds after the start of the run; return its output."""

    def ask(*arguments, after=600.0):
        for name in ("status", "list"):
            monkeypatch.setattr(f"orchestrator.cli.{name}.time", SimpleNamespace(time=lambda: T0 + after))
        done = CliRunner().invoke(cli, arguments, obj=TypedOptions(), catch_exceptions=False)
        assert all(len(line) <= 80 for line in done.stdout.splitlines()) or "--json" in arguments
        return done.stdout

    return ask


def evaluating(records, state="running", **more):
    """20 tasks of evaluate are job 3."""
    run = {name: more.pop(name) for name in ("holder", "idle_wakeups", "n_orchestrators") if name in more}
    cluster = more.pop("cluster", {})
    records.add_run(more.pop("key", "r"), **on_slurm(**cluster), **run)
    records.add_step_run(0, "succeeded", seconds=2)
    records.add_job("succeeded", scheduler_id="1")
    records.add_step_run(1, "active", begin=2, n_experiments=20, n_tasks=20, batch_size=20)
    known = {"scheduler_id": "3"} if state in ("queued", "running") else {}
    return records.add_job(state, begin=2, role="batch", tasks="0-19", n_tasks=20, **known, **more)


# --- from the records ----------------------------------------------------------------------------


def test_the_running_and_the_waiting_job(records, ask, workspace, golden):
    token = evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    for task in (0, 3, 11):
        write_atomically(RunFolder(workspace, "r").job(token).receipt(task), b"{}")
    golden(ask("status", after=187))


def test_the_records_are_shown_though_the_receipts_can_not_be_listed_now(records, ask, monkeypatch, golden):
    evaluating(records)
    iterdir = Path.iterdir

    def stale(path):
        if path.name == "receipts":
            raise OSError(errno.ESTALE, "Stale file handle")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", stale)
    golden(ask("status", after=187))


def test_a_job_that_slurm_did_not_accept_is_shown_with_slurms_message(records, ask, golden):
    evaluating(records, "planned", reason="sbatch: Job violates accounting/QOS policy", n_orchestrators=1)
    records.add_orchestrator("running", "9", "8")
    golden(ask("status"))


def test_a_run_is_stalled_after_five_idle_wakeups(records, ask, golden):
    words = "sbatch: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size)"
    evaluating(records, "planned", reason=words, n_orchestrators=6, idle_wakeups=5)
    golden(ask("status"))
    assert ask("list").splitlines()[1].split()[:2] == ["r", "stalled"]


STALLED = [
    # state of the step's job, state of the orchestrator job, who wakes, whether the run is stalled
    ("running", "queued", "job", False),
    ("running", "queued", "both", False),
    ("running", None, "both", False),
    ("running", None, "job", True),
    ("queued", None, "job", True),
    ("planned", "running", "both", False),
    ("planned", None, "both", True),
    ("submitting", None, "both", True),
    ("succeeded", None, "both", True),
    ("succeeded", "queued", "both", False),
]


@pytest.mark.parametrize(("state", "orchestrator", "wake", "is_stalled"), STALLED)
def test_a_run_is_stalled_if_nothing_will_advance_it(records, state, orchestrator, wake, is_stalled, golden):
    evaluating(records, state, cluster={"wake": wake}, **({"scheduler_id": "3"} if state == "succeeded" else {}))
    if orchestrator:
        records.add_orchestrator(orchestrator, "2", "3")
    why = run_status(records.path, "r").run.stalled
    assert (why is not None) == is_stalled
    assert find_run(records.path, "r").stalled == why
    [listed] = json.loads(CliRunner().invoke(cli, ["list", "--json"], obj=TypedOptions()).stdout)
    assert listed["stalled"] == why
    if is_stalled:
        golden(why)


def test_a_run_with_a_living_lease_holder_is_not_stalled(records):
    evaluating(records, "planned", holder=ON_A_NODE)
    assert run_status(records.path, "r").run.stalled is None


def test_a_holder_that_died_is_named(records, golden):
    evaluating(records, "planned", holder=HERE)
    golden(run_status(records.path, "r").run.stalled)


def test_a_holder_of_another_machine_that_has_been_silent_for_long_is_named(records, golden):
    evaluating(records, "planned", holder=ON_A_NODE)
    set_run(records, lease_beat_at=T0)
    assert run_status(records.path, "r", T0 + 599).run.stalled is None
    golden(run_status(records.path, "r", T0 + 720).run.stalled)


def set_run(records, **values):
    with session(records.path) as connection:
        update(connection, "run", values, id=records.run_id)


def test_a_run_of_another_machine_that_has_been_silent_for_long_is_stalled_locally_too(records):
    records.add_run("r", holder=ON_A_NODE, lease_beat_at=T0)
    assert run_status(records.path, "r", T0 + 599).run.stalled is None
    assert run_status(records.path, "r", T0 + 600).run.stalled is not None


def test_json_has_all_jobs_also_the_orchestrators(records, ask):
    evaluating(records)
    records.add_orchestrator("succeeded", "2", "1", begin=1)
    records.add_orchestrator("queued", "4", "3", begin=3)
    answer = json.loads(ask("status", "--json"))
    [job] = answer["now"]["jobs"]
    assert (job["scheduler_id"], job["role"], job["submitting_at"]) == ("3", "batch", None)
    seen = [(o["scheduler_id"], o["state"], o["waits_for"], o["queued_at"]) for o in answer["orchestrators"]]
    assert seen == [
        ("2", "succeeded", "1", "2026-11-24T06:00:01.000Z"),
        ("4", "queued", "3", "2026-11-24T06:00:03.000Z"),
    ]
    assert (answer["run"]["wake"], answer["run"]["idle_wakeups"], answer["run"]["mode"]) == ("both", 0, "slurm")
    assert answer["run"]["log_dir"] == "runlogs/{project_job}/x"


# --- with SLURM's answer -------------------------------------------------------------------------


def test_slurms_answer_is_shown_with_the_records(records, ask, programs, golden):
    token = evaluating(records)
    wakes = records.add_orchestrator("queued", "2", "3")
    programs.says(
        "squeue",
        squeue_answer(
            ("3_0", "RUNNING", "None", token),
            ("3_1", "RUNNING", "None", token),
            ("3_[2-19%2]", "PENDING", "JobArrayTaskLimit", token),
            ("2", "PENDING", "Dependency", wakes, "orchestrator"),
            ("77", "RUNNING", "None", "", "of another program"),
        ),
    )
    before = records.path.read_bytes()
    golden(ask("status", "--refresh"))
    assert len(programs.called("squeue")) == 1
    assert records.path.read_bytes() == before
    answer = json.loads(ask("status", "--refresh", "--json"))["slurm"]
    assert answer["asked_at"] == "2026-11-24T06:10:00.000Z"
    assert [(job["scheduler_id"], job["is_live"], job["stuck"]) for job in answer["jobs"]] == [
        ("3", True, None),
        ("2", True, None),
    ]
    assert list(answer) == documented("Queue report")
    assert list(answer["jobs"][0]) == documented("Queued job")
    assert list(answer["jobs"][0]["states"][0]) == documented("Queue state")
    assert answer["jobs"][0]["states"][1] == {
        "state": "PENDING",
        "reason": "JobArrayTaskLimit",
        "n_tasks": 18,
        "is_waiting": True,
    }


def test_a_status_says_why_tasks_wait_in_the_queue(records, ask, programs, golden):
    token = evaluating(records, "queued")
    records.add_orchestrator("queued", "2", "3")
    listed = [("3_[2-19%2]", "PENDING", "JobArrayTaskLimit", token), ("3_0", "RUNNING", "None", token)]
    programs.says("squeue", squeue_answer(*listed))
    # Just after the submission, when the records have just changed.
    golden(ask("status", after=5))


def test_a_job_whose_submission_was_not_recorded_is_found_by_its_token(records, ask, programs, golden):
    token = evaluating(records, "submitting")
    programs.says("squeue", squeue_answer(("3_[0-19]", "PENDING", "Priority", token)))
    assert "stalled" in ask("status")
    golden(ask("status", "--refresh"))


def test_a_run_whose_jobs_slurm_does_not_know_is_stalled(records, ask, programs, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", squeue_answer())
    golden(ask("status"))
    golden(ask("status", "--refresh"))


def test_a_list_asks_slurm_once_which_silent_runs_are_stalled(records, ask, programs):
    """It says the same as `status`, however many runs there are."""
    records.add_run("ended", "succeeded", **on_slurm())
    for key in ("gone", "alive"):
        token = evaluating(records, key=key)
    programs.says("squeue", squeue_answer(("3_[0-19]", "PENDING", "Priority", token)))
    before = records.path.read_bytes()
    rows = [line.split()[:2] for line in ask("list").splitlines()[1:]]
    assert rows == [["alive", "active"], ["gone", "stalled"], ["ended", "succeeded"]]
    assert len(programs.called("squeue")) == 1
    listed = {run["key"]: run["stalled"] for run in json.loads(ask("list", "--json"))}
    assert listed == {"alive": None, "gone": NO_JOB_LEFT, "ended": None}
    for key, why in listed.items():
        assert json.loads(ask("status", key, "--json"))["run"]["stalled"] == why
    assert records.path.read_bytes() == before


def test_a_list_does_not_ask_slurm_about_runs_that_are_not_silent(records, ask, programs):
    records.add_run("here")
    evaluating(records, "planned", key="stalled", n_orchestrators=6, idle_wakeups=5)
    evaluating(records, key="advanced", holder=ON_A_NODE)
    programs.says("squeue", squeue_answer())
    ask("list")
    evaluating(records, key="new")
    ask("list", after=5)
    assert not programs.called("squeue")


def test_a_list_says_what_is_not_known_if_slurm_does_not_answer(records, ask, programs, golden):
    for key in ("a", "b"):
        evaluating(records, key=key)
    programs.says("squeue", err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    ask("list")
    done = CliRunner().invoke(cli, ["list"], obj=TypedOptions(" --rootdir x"), catch_exceptions=False)
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["b", "active"], ["a", "active"]]
    golden(done.stderr)


def test_a_run_without_tail_is_stalled_if_its_orchestrator_job_is_gone(records, ask, programs, golden):
    token = evaluating(records, cluster={"wake": "job"})
    wakes = records.add_orchestrator("queued", "2", "3")
    programs.says(
        "squeue",
        squeue_answer(("3_[0-19]", "PENDING", "Priority", token), ("2", "CANCELLED", "None", wakes, "orchestrator")),
    )
    golden(ask("status", "--refresh"))


def test_a_run_with_a_tail_is_not_stalled_if_its_orchestrator_job_is_gone(records, ask, programs, golden):
    token = evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", squeue_answer(("3_[0-19]", "PENDING", "Priority", token)))
    golden(ask("status", "--refresh"))
    golden(ask("status", "--refresh"))


def test_a_run_is_stalled_if_the_job_of_its_lease_holder_is_gone(records, ask, programs, golden):
    evaluating(records, "planned", holder=ON_A_NODE)
    programs.says("squeue", squeue_answer())
    golden(ask("status", "--refresh"))
    programs.says("squeue", squeue_answer(("9", "RUNNING", "None", "aaaaaaaaaa", "orchestrator")))
    golden(ask("status", "--refresh"))


def test_a_job_that_is_recorded_as_ended_and_still_in_the_queue(records, ask, programs, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    left = records.add_orchestrator("succeeded", "4", "1")
    programs.says("squeue", squeue_answer(("4", "COMPLETING", "None", left, "orchestrator")))
    golden(ask("status", "--refresh"))


@pytest.mark.parametrize("reason", ["JobHeldUser", "job_requeued_in_held_state", "JobHeldAdmin", "PartitionTimeLimit"])
def test_a_job_that_never_starts_by_itself_and_what_to_type(records, ask, programs, reason, golden):
    token = evaluating(records)
    wakes = records.add_orchestrator("queued", "2", "3")
    programs.says(
        "squeue",
        squeue_answer(("3_[0-19]", "PENDING", reason, token), ("2", "PENDING", "Dependency", wakes, "orchestrator")),
    )
    golden(ask("status", "--refresh"))


def test_a_job_that_no_node_can_run_is_explained_also_without_refresh(records, ask, programs):
    token = evaluating(records, "queued")
    wakes = records.add_orchestrator("queued", "2", "3")
    programs.says(
        "squeue",
        squeue_answer(
            ("3_[0-19]", "PENDING", "PartitionConfig", token), ("2", "PENDING", "Dependency", wakes, "orchestrator")
        ),
    )
    for shown in (ask("status"), ask("status", "--refresh")):
        assert "Job 3 will not start by itself: PartitionConfig.\n  No node of its partition has the CPUs" in shown
        assert "orchestrator cancel r\n" in shown


def test_experiments_of_a_run_without_jobs_are_not_said_to_run(records):
    evaluating(records)
    status = run_status(records.path, "r", T0 + 60)
    assert status.now is not None
    status = status._replace(now=status.now._replace(n_running=4, n_waiting=16))
    assert "4 running, 16 waiting, of 20 experiments" in render(status, T0 + 60)
    stalled = status._replace(run=status.run._replace(stalled=NO_JOB_LEFT))
    assert "4 were running, 16 waiting, of 20 experiments" in render(stalled, T0 + 60)


def test_the_failures_of_a_run_without_any_say_that_it_is_stalled(records, ask, programs):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", squeue_answer())
    shown = ask("failures")
    assert "no failures, but it is stalled: none of its jobs is in the queue" in " ".join(shown.split())
    assert "To see what to do: orchestrator status r" in shown


def test_without_an_answer_the_records_are_shown_and_the_error_is_raised(records, ask, programs, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    done = CliRunner().invoke(cli, ["status", "--refresh"], obj=TypedOptions())
    assert isinstance(done.exception, SchedulerUnreachable)
    assert done.exception.exit_code == 75
    golden(done, exact=False)
    assert (
        json.loads(CliRunner().invoke(cli, ["status", "--refresh", "--json"], obj=TypedOptions()).stdout)["slurm"]
        is None
    )


def test_refresh_of_a_local_run_has_no_effect(records, ask, programs, golden):
    records.add_run("r", "succeeded")
    done = CliRunner().invoke(cli, ["status", "--refresh"], obj=TypedOptions(), catch_exceptions=False)
    golden(done, exact=False)
    assert not programs.called("squeue")


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "--refresh"], ["status", "--json"], ["advance"], ["list"]]
)
def test_commands_with_nothing_to_do_import_no_numpy(records, programs, arguments, golden):
    token = evaluating(records)
    wakes = records.add_orchestrator("queued", "2", "3")
    programs.says(
        "squeue",
        squeue_answer(("3_[0-19]", "RUNNING", "None", token), ("2", "PENDING", "Dependency", wakes, "orchestrator")),
    )
    script = (
        "import sys\nfrom orchestrator.cli.main import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\n"
        "open('loaded', 'w').write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(Path("loaded").read_text().split())
    assert "orchestrator" in loaded
    assert not loaded & {"numpy", "pandas", "scipy", "cloudpickle", "alembic", "jinja2", "omegaconf", "yaml"}
    if arguments == ["advance"]:
        golden(done)
        assert len(programs.called("squeue")) == 1


# --- logs ----------------------------------------------------------------------------------------


def logs(*arguments):
    return CliRunner().invoke(cli, ["logs", *arguments], obj=TypedOptions(), catch_exceptions=False)


def write_log(workspace, name, text):
    log = workspace / "runlogs/r/x" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


@pytest.fixture
def batches(records, workspace):
    """Five tasks in batches of two; task 3 was cancelled by SLURM and retried."""
    records.add_run("r", "succeeded", **on_slurm())
    records.add_step_run(1, "succeeded", n_tasks=5, batch_size=2)
    jobs = (("succeeded", 0, "0-1", 1), ("failed", 1, "2-3", 1), ("succeeded", 1, "3", 2), ("succeeded", 2, "4", 1))
    for number, (state, batch, tasks, attempt) in enumerate(jobs, start=1):
        token = records.add_job(
            state, role="batch", batch=batch, tasks=tasks, attempt=attempt, scheduler_id=str(number)
        )
        for task in range(int(tasks[0]), int(tasks[-1]) + 1):
            cancelled = number == 2 and task == 3
            words = "slurmstepd: error: *** JOB 2 CANCELLED ***" if cancelled else f"this is {task}"
            write_log(workspace, f"evaluate.{token}.{task - 2 * batch}.log", f"{words}\n")


def test_tasks_are_numbered_across_batches(batches):
    for task in (0, 1, 2, 4):
        assert logs("evaluate", "--task", str(task)).stdout == f"this is {task}\n"
    answer = json.loads(logs("evaluate", "--json").stdout)["logs"]
    assert [log["task"] for log in answer] == [0, 1, 2, 3, 3, 4]


def test_attempts_are_in_order_with_slurms_own_lines(batches):
    expected = "slurmstepd: error: *** JOB 2 CANCELLED ***\nthis is 3\n"
    assert logs("r", "evaluate", "--task", "3").stdout == expected
    assert logs("r", "evaluate", "--task", "3", "-f").stdout == expected


def test_the_orchestrator_log(batches, workspace, golden):
    with golden.raises(NotFound):
        logs("r", "orchestrator")
    log = write_log(workspace, "orchestrator.log", "run r: evaluate is job 1 (queued)\n")
    golden(logs("orchestrator"))
    golden(logs("orchestrator", "-f"))
    assert json.loads(logs("orchestrator", "--json").stdout) == {
        "step_run": None,
        "logs": [{"path": str(log), "task": None, "begin": 0, "end": None}],
    }
    with golden.raises(NotFound):
        logs("orchestrator", "--task", "1")


def test_following_continues_until_the_run_is_stalled(records, workspace, monkeypatch, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    log = write_log(workspace, "orchestrator.log", "one\n")

    def the_orchestrator_ends(seconds):
        # Runs instead of the pause between two reads.
        log.write_text("one\ntwo\n")
        end_all_jobs(records)

    monkeypatch.setattr("orchestrator.cli.logs.time.sleep", the_orchestrator_ends)
    done = logs("orchestrator", "-f")
    golden(done)
    done = logs("evaluate", "-f")
    golden(done)


def end_all_jobs(records):
    with session(records.path) as connection:
        connection.execute("UPDATE job SET state = 'lost', ended_at = 1.0 WHERE ended_at IS NULL")


# --- wait ----------------------------------------------------------------------------------------


def wait(*arguments):
    return CliRunner().invoke(cli, ["wait", *arguments], obj=TypedOptions(), catch_exceptions=False)


def test_waiting_for_a_run_that_succeeds(records, golden):
    records.add_run("r", "succeeded", **on_slurm())
    records.add_step_run(1, "succeeded", n_finished=20)
    golden(wait())


def test_waiting_for_a_run_with_failed_experiments(records, golden):
    records.add_run("r", "succeeded", **on_slurm())
    records.add_step_run(1, "succeeded", n_finished=18, n_failed=2)
    golden(wait("r"))


def test_waiting_for_a_run_with_a_failed_step(records, golden):
    records.add_run("r", "succeeded", reason="1 step did not succeed", n_failed_step_runs=1, **on_slurm())
    golden(wait())


def test_waiting_for_a_run_that_fails(records, golden):
    records.add_run("r", "failed", reason="step create failed: ValueError: no", **on_slurm())
    golden(wait())


def test_waiting_for_a_run_that_is_cancelled(records, golden):
    records.add_run("r", "cancelled", **on_slurm())
    golden(wait())


def test_waiting_ends_at_the_timeout(records, golden):
    evaluating(records)
    golden(wait("--timeout", "0"))


def test_waiting_for_a_run_that_is_stalled(records, golden):
    evaluating(records, "planned", reason="sbatch: too many jobs")
    golden(wait())


def test_waiting_until_it_ends(records, monkeypatch, golden):
    evaluating(records)

    def it_ends(seconds):
        # Runs instead of the pause between two reads.
        set_run(records, state="succeeded", ended_at=T0 + 5)

    monkeypatch.setattr("orchestrator.cli.wait.time.sleep", it_ends)
    golden(wait())


@pytest.fixture
def clock(monkeypatch):
    """Let seconds pass without waiting for them."""
    now = SimpleNamespace(seconds=0.0)

    def sleep(seconds):
        now.seconds += seconds

    fake = SimpleNamespace(time=time.time, monotonic=lambda: now.seconds, sleep=sleep)
    monkeypatch.setattr("orchestrator.cli.wait.time", fake)
    return now


def test_waiting_for_a_run_whose_jobs_died_without_being_recorded(records, programs, clock, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", squeue_answer())
    golden(wait())
    # Two answers, a minute apart: a single one may have come between two jobs.
    assert len(programs.called("squeue")) == 2
    assert 120 <= clock.seconds < 130


def test_waiting_continues_when_slurm_does_not_answer(records, programs, clock, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", code=1)
    golden(wait("--timeout", "200"))
    assert len(programs.called("squeue")) == 3


def give_to_another_user(records):
    with session(records.path) as connection:
        connection.execute("UPDATE run SET uid = 54321")


def test_the_status_of_a_run_of_another_user_does_not_ask_slurm_and_names_no_command_that_changes_it(
    records, programs, ask, golden
):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", squeue_answer())
    give_to_another_user(records)
    for options in ((), ("--refresh",)):
        golden(ask("status", *options))
    assert not programs.called("squeue")


def test_a_run_with_jobs_of_another_user_is_taken_over_only_by_force(records, programs, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    give_to_another_user(records)
    with golden.raises(Busy):
        CliRunner().invoke(cli, ["takeover", "r"], obj=TypedOptions(), standalone_mode=False, catch_exceptions=False)
    assert find_run(records.path, "r").uid == 54321
    golden(CliRunner().invoke(cli, ["takeover", "r", "--force"], obj=TypedOptions(), catch_exceptions=False).stdout)
    status = run_status(records.path, "r")
    assert status.run.uid == os.geteuid()
    assert status.now is None
    assert not status.orchestrators
    assert not any(programs.called(name) for name in ("squeue", "scancel", "sbatch"))


def test_waiting_for_the_run_of_another_user_does_not_ask_slurm(records, programs, clock, golden):
    evaluating(records)
    records.add_orchestrator("queued", "2", "3")
    programs.says("squeue", squeue_answer())
    give_to_another_user(records)
    golden(wait("--timeout", "200"))
    assert not programs.called("squeue")
