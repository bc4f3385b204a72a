"""What is concluded from the words of squeue and sacct where one of them no longer knows, or does not know yet."""

from __future__ import annotations

import pytest

from orchestrator import SlurmCluster, SlurmResources
from orchestrator.atomic import write_atomically
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.errors import SchedulerUnreachable
from orchestrator.handoff.claim import claim
from orchestrator.handoff.jobfile import JobFile, read_jobfile, write_jobfile
from orchestrator.handoff.receipt import Receipt, write_receipt
from orchestrator.machine.facts import Seen
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job
from orchestrator.machine.states import FailureKind, JobState
from orchestrator.workspace import RunFolder
from tests.fakes.client import SaidClient


@pytest.fixture
def client():
    return SaidClient()


@pytest.fixture
def folder(workspace):
    return RunFolder(workspace, "r")


@pytest.fixture
def ask(folder, client):
    """Return a function that hands over an array of three tasks, asks about it and gives the fact."""

    def ask(*, has_accounting=True, shared=False, **job):
        scheduler = scheduler_of(folder, client, has_accounting=has_accounting, shared=shared)
        return scheduler.observe([array(folder, **job)]).get("t")

    return ask


def scheduler_of(folder, client, *, has_accounting=True, shared=False):
    resources = orchestrator_resources(None)
    site = ClusterConfig(SlurmCluster(partition="p"), resources, str(folder.workspace), has_accounting=has_accounting)
    database = folder.workspace / "orchestrator.db"
    return SlurmScheduler(folder, site, "evidence", database, shared=shared, client=client)


def array(folder, token="t", scheduler_id="7", *, is_claimed=True):
    """Write down a batch whose tasks 10 to 12 are the elements 0 to 2 of an array."""
    given = {"tasks": "10-12", "first_task": 10, "label": "s", "resources": SlurmResources().to_json()}
    file = JobFile(
        "r", str(folder.workspace), "mark", token, "batch", 0, 0, "", "batch", True, "0", None, ".", "", **given
    )
    sha256 = write_jobfile(folder.job(token).file, file)
    if is_claimed:
        claim(folder.job(token), scheduler_id)
    return Job(token, Role.BATCH, tasks="10-12", state=JobState.RUNNING, scheduler_id=scheduler_id, job_file=sha256)


def kinds(fact):
    return {task: kind for task, (kind, _) in fact.failed_tasks.items()}


def test_a_job_that_ended_before_it_began_its_work_is_told_apart_and_quotes_its_shell(ask, client, folder, golden):
    client.listed = {"7_0": "FAILED", "7_1": "NODE_FAIL", "7_2": "FAILED"}
    write_atomically(
        folder.log("s", "", "t", 0), b"line 9: ./x/activate: No such file or directory\nenv_setup failed\n"
    )
    fact = ask(is_claimed=False)
    assert kinds(fact) == {
        10: FailureKind.NOT_STARTED,
        11: FailureKind.NODE_FAILURE,
        12: FailureKind.NOT_STARTED,
    }
    golden(fact.failed_tasks[10][1])


# --- squeue forgets the tasks of an array one by one ---------------------------------------------


def test_accounting_answers_for_tasks_that_squeue_has_forgotten(ask, client, golden):
    client.listed = {"7_1": "FAILED"}
    client.accounted = {"7_0": "NODE_FAIL", "7_1": "RUNNING", "7_2": "TIMEOUT"}
    fact = ask()
    assert (fact.seen, fact.scheduler_id) == (Seen.OVER, "7")
    assert kinds(fact) == {
        10: FailureKind.NODE_FAILURE,
        11: FailureKind.INFRASTRUCTURE,
        12: FailureKind.TIMEOUT,
    }
    golden(fact.failed_tasks[10][1])
    assert client.n_asked == 1


def test_a_progress_bar_is_quoted_as_it_was_last_seen(ask, client, folder):
    client.accounted = {"7_0": "OUT_OF_MEMORY", "7_1": "COMPLETED", "7_2": "COMPLETED"}
    log = folder.log("s", "", "t", 0)
    log.parent.mkdir(parents=True)
    log.write_text("begin\n" + "".join(f"\r{n}/100 meshes" for n in range(58)))
    _, reason = ask().failed_tasks[10]
    assert reason.endswith(": 57/100 meshes")


def test_squeues_state_of_a_task_overrides_that_of_accounting(ask, client, golden):
    client.listed = {"7_1": "OUT_OF_MEMORY"}
    client.accounted = {"7_0": "COMPLETED", "7_1": "TIMEOUT", "7_2": "COMPLETED"}
    fact = ask()
    golden(fact.failed_tasks[11])


def test_accounting_is_not_asked_about_tasks_with_receipts(ask, client, folder):
    client.listed = {"7_1": "FAILED", "7_2": "COMPLETED"}
    write_receipt(folder.job("t").receipt(10), Receipt("succeeded", 1.0, 2.0))
    assert ask().seen is Seen.OVER
    assert client.n_asked == 0


def test_accounting_is_not_asked_while_a_task_lives(ask, client):
    client.listed = {"7_1": "RUNNING"}
    assert ask().seen is Seen.RUNNING
    assert client.n_asked == 0


@pytest.mark.parametrize("comment", ["u", "project-a u", "orchestrator:u", "t,u"])
def test_a_job_that_has_the_token_of_another_in_its_comment_is_not_believed(folder, client, comment):
    client.listed = {"7": "RUNNING", "8": "RUNNING"}
    client.tokens = {"8": "u"}
    jobs = [array(folder), array(folder, "u", "8")]
    assert set(scheduler_of(folder, client).observe(jobs)) == {"t", "u"}
    client.comments = {"7": comment}
    with pytest.raises(SchedulerUnreachable, match="lists job 7 as t by its name, and as u by its comment") as refused:
        scheduler_of(folder, client).observe(jobs)
    assert refused.value.hint == "Remove the comment: scontrol update JobId=7 Comment="


def test_a_comment_of_the_site_and_a_job_of_another_name_are_no_contradiction(folder, client):
    client.listed = {"7": "RUNNING", "8": "RUNNING"}
    client.tokens = {"8": "elsewhere"}
    client.comments = {"7": "t", "8": "t u simulation"}
    assert set(scheduler_of(folder, client).observe([array(folder), array(folder, "u", "9")])) == {"t"}


def test_accounting_is_asked_once_for_all_jobs(folder, client):
    site = ClusterConfig(SlurmCluster(partition="p"), orchestrator_resources(None), "/", has_accounting=True)
    scheduler = SlurmScheduler(folder, site, "evidence", folder.workspace / "x.db", shared=False, client=client)
    client.listed = {"7_1": "FAILED"}
    client.accounted = {"7_0": "COMPLETED", "7_2": "OUT_OF_MEMORY", "8_[0-2]": "CANCELLED by 0"}
    client.tokens = {"8": "u"}
    facts = scheduler.observe([array(folder), array(folder, "u", "8")])
    assert kinds(facts["t"])[12] == FailureKind.OUT_OF_MEMORY
    assert set(kinds(facts["u"]).values()) == {FailureKind.CANCELLED}
    assert (client.n_asked, client.ids_asked) == (1, ["7", "8"])


def test_without_accounting_the_end_of_a_forgotten_task_is_unknown(ask, client, golden):
    client.listed = {"7_1": "OUT_OF_MEMORY"}
    fact = ask(has_accounting=False)
    assert kinds(fact) == {
        10: FailureKind.INFRASTRUCTURE,
        11: FailureKind.OUT_OF_MEMORY,
        12: FailureKind.INFRASTRUCTURE,
    }
    golden({task: why for task, (_, why) in fact.failed_tasks.items()})


def test_accounting_records_of_another_submission_are_ignored(ask, client):
    client.listed = {"7_1": "COMPLETED"}
    client.accounted = {"6_0": "TIMEOUT", "7_0": "NODE_FAIL", "7_2": "COMPLETED"}
    client.tokens = {"6": "t"}
    assert kinds(ask())[10] == FailureKind.NODE_FAILURE


# --- other machines write the receipts -----------------------------------------------------------


@pytest.mark.parametrize("state", ["COMPLETED", "TIMEOUT", "NODE_FAIL"])
def test_receipts_from_other_machines_may_appear_later(ask, client, folder, state):
    client.listed = {"7_0": state, "7_1": "COMPLETED", "7_2": "COMPLETED"}
    for task in (11, 12):
        write_receipt(folder.job("t").receipt(task), Receipt("succeeded", 1.0, 2.0))
    assert ask(shared=True).receipts_may_follow
    assert not ask().receipts_may_follow
    write_receipt(folder.job("t").receipt(10), Receipt("succeeded", 1.0, 2.0))
    assert not ask(shared=True).receipts_may_follow


# --- a submission of which nothing is written but its row ----------------------------------------


@pytest.mark.parametrize("role", ["step", "orchestrator"])
def test_accounting_is_asked_since_the_job_was_planned_if_no_job_file_exists(folder, client, role):
    config = ClusterConfig(
        SlurmCluster(partition="p"), orchestrator_resources(None), str(folder.workspace), has_accounting=True
    )
    scheduler = SlurmScheduler(folder, config, "evidence", folder.workspace / "o.db", shared=False, client=client)
    job = Job("t", role, state=JobState.SUBMITTING, planned_at=5000.0)
    assert scheduler.observe([job]) == {}
    assert (client.n_asked, client.asked_since) == (1, 5000.0)


# --- a controller that has lost its state gives its ids again ------------------------------------


def test_a_job_file_other_than_the_recorded_one_says_nothing_about_tasks(folder, client):
    job = array(folder)
    file = read_jobfile(folder.job("t").file)
    write_jobfile(folder.job("t").file, file._replace(tasks="10-12,900"))
    client.listed = {f"7_{task}": "COMPLETED" for task in range(3)}
    fact = scheduler_of(folder, client).observe([job])["t"]
    assert (fact.seen, dict(fact.failed_tasks)) == (Seen.OVER, {})
    assert "it was changed after it was written" in fact.reason


def test_a_job_of_another_name_that_has_the_id_of_ours_is_not_cancelled(folder, client):
    """A job that squeue does not list is cancelled: it may not be listed yet."""
    ours, theirs, unlisted = (array(folder, token, job_id) for token, job_id in (("a", "7"), ("b", "8"), ("c", "9")))
    client.listed = {"7_[0-2]": "RUNNING", "8": "RUNNING"}
    client.tokens = {"7": "a", "8": "thesis"}
    scheduler_of(folder, client).cancel([ours, theirs, unlisted])
    assert client.cancelled == ["7", "9"]
