"""What every scheduler promises, on this machine, on a cluster and on a cluster in memory."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from orchestrator import SlurmResources
from orchestrator.definition.bundle import LoadedStep
from orchestrator.engine.local.local_scheduler import LocalScheduler
from orchestrator.errors import Busy, SchedulerUnreachable
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.handoff.receipt import receipts_of
from orchestrator.machine.answers import Accepted
from orchestrator.machine.facts import Seen
from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job
from orchestrator.machine.states import FailureKind, JobState
from orchestrator.workspace import RunFolder
from tests.fakes.slurm import FakeSlurm

CALLED: Counter[str] = Counter()


def step(project_dir):
    CALLED["step"] += 1


class Place:
    """A scheduler, and the time that passes for it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def load(self, path):
        return LoadedStep(step, {})

    def hand_over(self, token):
        """Submit a job, and return it as the records would have it."""
        file = JobFile(
            run_key=self.folder.key,
            workspace=str(self.folder.workspace),
            mark="mark",
            token=token,
            role="step",
            position=0,
            epoch=0,
            iteration="",
            kind="call",
            parallel=False,
            path="0",
            until_path=None,
            project_dir=".",
            bundle_digest="",
            label="step",
            resources=SlurmResources().to_json(),
        )
        write_jobfile(self.folder.job(token).file, file)
        return self.recorded(token, self.scheduler.submit(file))

    def recorded(self, token, answer, role="step"):
        assert isinstance(answer, Accepted)
        return Job(token, role, state=JobState.QUEUED, scheduler_id=answer.scheduler_id)

    def has_receipt(self, token):
        return bool(receipts_of(self.folder.job(token)))


class Here(Place):
    def __init__(self, folder):
        super().__init__(folder)
        self.scheduler = LocalScheduler(folder, self.load, 1, lambda n: None)

    def pass_time(self):
        with suppress(RuntimeError):  # nothing was submitted
            self.scheduler.wait()


class OnCluster(Place):
    def __init__(self, folder, *, has_accounting=False):
        super().__init__(folder)
        self.woken = []
        self.fake = FakeSlurm(folder, self.load, opened=self.opened, has_accounting=has_accounting)
        self.scheduler = self.fake.scheduler

    @contextmanager
    def opened(self, own_token, own_id):
        """Let an orchestrator job start, and find that another process is busy."""
        self.woken.append(own_token)
        raise Busy("another process advances it")
        yield

    def pass_time(self):
        self.fake.tick()


CLUSTERS = [OnCluster, partial(OnCluster, has_accounting=True)]
NAMES = ["SlurmScheduler", "SlurmScheduler with accounting"]


@pytest.fixture(params=[Here, *CLUSTERS], ids=["LocalScheduler", *NAMES])
def place(request, workspace):
    CALLED.clear()
    return request.param(RunFolder(workspace, "r"))


@pytest.fixture(params=CLUSTERS, ids=NAMES)
def cluster(request, workspace):
    CALLED.clear()
    return request.param(RunFolder(workspace, "r"))


# --- every scheduler -----------------------------------------------------------------------------


def test_an_accepted_job_has_its_own_id_and_is_live_until_it_has_run(place):
    job = place.hand_over("a")
    fact = place.scheduler.observe([job])["a"]
    assert fact.seen in (Seen.QUEUED, Seen.RUNNING)
    assert fact.scheduler_id in (None, job.scheduler_id)
    assert not place.has_receipt("a")
    place.pass_time()
    assert place.has_receipt("a")
    assert place.hand_over("b").scheduler_id != job.scheduler_id


def test_a_job_that_has_run_is_over_or_no_longer_known(place):
    job = place.hand_over("a")
    for _ in range(4):
        place.pass_time()
        fact = place.scheduler.observe([job]).get("a")
        assert fact is None or fact.seen in (Seen.OVER, Seen.ABSENT)
    assert CALLED["step"] == 1


def test_a_job_that_was_never_submitted_is_not_listed(place):
    never = Job("never", Role.STEP, state=JobState.SUBMITTING)
    job = place.hand_over("a")
    facts = place.scheduler.observe([never, job])
    assert "never" not in facts or facts["never"].seen is Seen.ABSENT
    assert facts["a"].seen in (Seen.QUEUED, Seen.RUNNING)


def test_asking_changes_nothing(place):
    job = place.hand_over("a")
    assert place.scheduler.observe([job]) == place.scheduler.observe([job])
    place.pass_time()
    assert place.scheduler.observe([job]) == place.scheduler.observe([job])


def test_a_cancelled_job_is_over_and_never_runs(place):
    job = place.hand_over("a")
    place.scheduler.cancel([job])
    fact = place.scheduler.observe([job])["a"]
    assert (fact.seen, fact.kind) == (Seen.OVER, FailureKind.CANCELLED)
    place.pass_time()
    assert CALLED["step"] == 0
    assert not place.has_receipt("a")


def test_cancelling_twice_or_too_late_or_nothing_has_no_effect(place):
    job = place.hand_over("a")
    place.scheduler.cancel([])
    place.scheduler.cancel([job])
    place.scheduler.cancel([job])
    late = place.hand_over("b")
    place.pass_time()
    before = place.scheduler.observe([late])
    place.scheduler.cancel([late])
    assert place.scheduler.observe([late]) == before
    assert place.has_receipt("b")


# --- those on which a run wakes itself -----------------------------------------------------------


def test_a_job_whose_id_is_not_recorded_is_found_by_its_token(cluster):
    taken = cluster.hand_over("a")
    fact = cluster.scheduler.observe([Job("a", Role.STEP, state=JobState.SUBMITTING)])["a"]
    assert (fact.seen, fact.scheduler_id) == (Seen.QUEUED, taken.scheduler_id)


def test_a_job_that_was_submitted_twice_runs_once(cluster):
    first = cluster.hand_over("a")
    second = cluster.hand_over("a")
    assert first.scheduler_id != second.scheduler_id
    cluster.pass_time()
    cluster.pass_time()
    assert CALLED["step"] == 1


def test_of_two_submissions_one_remains(cluster):
    first = cluster.hand_over("a")
    cluster.hand_over("a")
    fact = cluster.scheduler.observe([first])["a"]
    assert (fact.seen, fact.scheduler_id) == (Seen.QUEUED, first.scheduler_id)
    assert fact.rivals == ("102",)
    # To observe changes nothing.
    assert [entry.job_id for entry in cluster.fake.queue.live] == [first.scheduler_id, "102"]
    cluster.scheduler.cancel_ids(fact.rivals)
    assert [entry.job_id for entry in cluster.fake.queue.live] == [first.scheduler_id]
    assert cluster.scheduler.observe([first])["a"].rivals == ()


def test_a_submission_that_arrives_after_the_job_was_given_up_does_nothing(cluster):
    """The answer to it was lost, so its id is not known, and it can't be cancelled by its id."""
    cluster.hand_over("a")
    cluster.scheduler.cancel([Job("a", Role.STEP, state=JobState.SUBMITTING)])
    cluster.pass_time()
    cluster.pass_time()
    assert CALLED["step"] == 0
    # Submitted again under its token, as after a resume, it runs.
    cluster.hand_over("a")
    cluster.pass_time()
    cluster.pass_time()
    assert CALLED["step"] == 1


def test_only_what_waits_is_cancelled_when_a_step_stops_early(cluster):
    job = cluster.hand_over("a")
    cluster.folder.job("a").stop.touch()
    assert cluster.scheduler.observe([job])["a"].has_stopped
    cluster.scheduler.cancel_waiting(job)
    cluster.scheduler.cancel_waiting(job)
    assert cluster.scheduler.observe([job])["a"].seen is Seen.OVER
    cluster.pass_time()
    assert CALLED["step"] == 0
    other = cluster.hand_over("b")
    assert not cluster.scheduler.observe([other])["b"].has_stopped
    # A job that is not in the queue, or whose id another job has.
    cluster.scheduler.cancel_waiting(other._replace(scheduler_id=None))
    cluster.scheduler.cancel_waiting(other._replace(token="x"))
    cluster.pass_time()
    assert CALLED["step"] == 1


def test_a_held_job_does_not_start_until_it_is_released(cluster):
    job = cluster.hand_over("a")
    cluster.scheduler.hold(job._replace(token="x"), is_held=True)  # the id of another job
    cluster.scheduler.hold(job, is_held=True)
    cluster.pass_time()
    assert CALLED["step"] == 0
    assert cluster.scheduler.observe([job])["a"].seen is Seen.QUEUED
    cluster.scheduler.hold(job, is_held=False)
    cluster.pass_time()
    assert CALLED["step"] == 1
    cluster.scheduler.hold(job, is_held=True)


def test_an_orchestrator_job_starts_after_the_end_of_the_job_that_it_waits_for(cluster):
    job = cluster.hand_over("a")
    waiting = cluster.recorded("o", cluster.scheduler.submit_orchestrator("o", job.scheduler_id), "orchestrator")
    assert cluster.scheduler.observe([waiting])["o"].seen is Seen.QUEUED
    cluster.scheduler.cancel([job])
    cluster.pass_time()
    assert cluster.woken == ["o"]
    assert cluster.scheduler.observe([waiting])["o"].seen is Seen.RUNNING


def test_an_orchestrator_job_does_not_wait_for_an_unknown_job(cluster):
    cluster.scheduler.submit_orchestrator("o", "99999")
    cluster.pass_time()
    assert cluster.woken == ["o"]


def test_an_orchestrator_job_can_be_repointed_while_it_waits(cluster):
    first, second = cluster.hand_over("a"), cluster.hand_over("b")
    waiting = cluster.recorded("o", cluster.scheduler.submit_orchestrator("o", first.scheduler_id), "orchestrator")
    third = cluster.recorded("p", cluster.scheduler.submit_orchestrator("p", waiting.scheduler_id), "orchestrator")
    assert cluster.scheduler.set_dependency(waiting.scheduler_id, third.scheduler_id)
    cluster.pass_time()
    # Each waits for the other.
    assert cluster.woken == []
    assert cluster.scheduler.set_dependency(waiting.scheduler_id, second.scheduler_id)
    cluster.pass_time()
    assert cluster.woken == ["o"]
    assert not cluster.scheduler.set_dependency(waiting.scheduler_id, third.scheduler_id)


def test_an_unanswered_question_has_no_result(workspace):
    place = OnCluster(RunFolder(workspace, "r"))
    job = place.hand_over("a")
    place.fake.client.is_silent = True
    for ask in (
        lambda: place.scheduler.observe([job]),
        lambda: place.scheduler.cancel([job]),
        lambda: place.scheduler.set_dependency(job.scheduler_id, "1"),
    ):
        with pytest.raises(SchedulerUnreachable):
            ask()


def test_the_next_job_of_a_step_loads_no_template(workspace, monkeypatch):
    place = OnCluster(RunFolder(workspace, "r"))
    place.hand_over("a")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    place.hand_over("b")
