"""A cluster in memory without kills: what is recorded, which job waits for which, how a run is cancelled."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.db.lease_holder import Holder
from orchestrator.db.store import Store
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster import cancel, session, submit
from orchestrator.engine.lease import hold_lease
from orchestrator.errors import Busy, SchedulerUnreachable
from orchestrator.machine.states import JobState, RunState, StepRunState
from tests.engine.boundaries import Boundaries, empty
from tests.engine.crashing_study import KEY, N_FIRST, TABLE, new_run, pipeline, records, table
from tests.engine.drive import context_on, from_outside, on_this_machine
from tests.fakes.queue import Killed
from tests.fakes.slurm import FakeSlurm


def test_each_step_is_submitted_once_and_recorded(workspace, golden):
    slurm = from_outside(new_run(workspace, pipeline()))
    runs, step_runs, jobs, _ = records(workspace)
    assert runs == [("succeeded", None)]
    assert [(row[3], row[2], row[6], row[7]) for row in step_runs] == [
        ("create", "", "succeeded", None),
        ("gather", "", "succeeded", None),
        ("evaluate", "0", "succeeded", None),
        ("collect", "0", "succeeded", None),
        ("grow", "0", "succeeded", None),
        ("evaluate", "1", "succeeded", None),
        ("collect", "1", "succeeded", None),
        ("grow", "1", "succeeded", None),
        ("end", "", "succeeded", None),
        ("nothing left", "", "skipped", step_runs[-1][7]),
    ]
    golden(step_runs[-1][7])
    assert [row[4] for row in jobs if row[1] == "batch"] == ["0-2", "3", "0-1", "0-1"]
    assert slurm.most_live == 1
    assert table(workspace) == TABLE


def test_the_cluster_and_this_machine_leave_the_same_records(workspace, monkeypatch):
    steps = pipeline(array_size=N_FIRST)
    from_outside(new_run(workspace, steps))
    on_cluster, on_disk = records(workspace), table(workspace)
    empty(workspace)
    on_this_machine(new_run(workspace, steps), Boundaries(monkeypatch), n_tasks=N_FIRST)
    for ours, theirs in zip(records(workspace), on_cluster, strict=True):
        assert ours == theirs
    assert table(workspace) == on_disk


@pytest.fixture
def advancing(workspace):
    """Return a cluster with a run, and a function that advances the run once."""
    new = new_run(workspace, pipeline(), "slurm")

    @contextmanager
    def held_by_us(**me):
        raise Busy("another process advances it")
        yield

    slurm = FakeSlurm(new.folder, new.checked.load, opened=held_by_us)

    def advanced(**me):
        with hold_lease(new.store, KEY) as fence:
            return advance(context_on(slurm, new, fence, **me))

    return slurm, advanced


def test_an_orchestrator_job_has_a_successor_though_the_scheduler_does_not_answer(advancing, workspace, monkeypatch):
    """Otherwise no process would advance the run after the time for polling is over."""
    slurm, advanced = advancing

    [first] = advanced().orchestrators
    slurm.client.is_silent = True
    with pytest.raises(SchedulerUnreachable):
        advanced(own_token=first.token, own_id=first.scheduler_id)
    mine, successor = Store(workspace / "orchestrator.db").load(KEY).orchestrators
    assert (mine.token, mine.state) == (first.token, JobState.RUNNING)
    assert (successor.state, successor.waits_for) == (JobState.QUEUED, first.scheduler_id)


@pytest.fixture
def asked_to_stop(advancing, workspace, monkeypatch):
    """Return a run that is to be cancelled, on a cluster; where `cancel` would sleep, its time passes."""
    slurm, advanced = advancing
    advanced()
    store = Store(workspace / "orchestrator.db")
    store.request_cancel(KEY, slurm.now)
    monkeypatch.setattr(cancel, "scheduler_of", lambda *_: slurm.scheduler)
    make_context = session.make_context
    monkeypatch.setattr(cancel, "make_context", lambda *given: make_context(*given)._replace(clock=lambda: slurm.now))

    def sleep(seconds):
        slurm.queue.now += seconds

    clock = SimpleNamespace(monotonic=lambda: slurm.now, time=lambda: slurm.now, sleep=sleep)
    monkeypatch.setattr(cancel, "POLL_EVERY", 10.0)
    monkeypatch.setattr(cancel, "time", clock)
    monkeypatch.setattr("orchestrator.engine.lease.time", clock)
    return store


ELSEWHERE = Holder("elsewhere", "its boot", 7, "its start")


def test_cancel_waits_until_the_lease_of_a_dead_process_of_another_machine_expires(asked_to_stop):
    asked_to_stop.leases.take(KEY, ELSEWHERE, time.time())
    assert cancel.cancel_run(asked_to_stop, KEY).state is RunState.CANCELLED


def test_cancel_names_the_process_that_holds_the_run_and_leaves_the_run_to_it(asked_to_stop, monkeypatch, golden):
    fence = asked_to_stop.leases.take(KEY, ELSEWHERE, time.time())

    pause = cancel.time.sleep

    def they_live(seconds):
        asked_to_stop.leases.beat(KEY, fence, cancel.time.time())
        pause(seconds)

    monkeypatch.setattr(cancel.time, "sleep", they_live)
    with golden.raises(Busy, exact=False):
        cancel.cancel_run(asked_to_stop, KEY)
    assert asked_to_stop.load(KEY).state is RunState.ACTIVE


@pytest.mark.slow
@pytest.mark.parametrize("what", ["collect", "freeze"])
def test_nothing_follows_from_the_death_of_the_process_that_loads_the_table(
    advancing, workspace, monkeypatch, what, golden
):
    slurm, advanced = advancing
    monkeypatch.setattr(slurm.scheduler, "is_local", False)
    advanced()
    slurm.tick()
    if what == "freeze":
        with monkeypatch.context() as patch, suppress(FileNotFoundError):
            patch.setattr("orchestrator.engine.perform.freeze_table", lambda *_: Path("/nowhere").stat())
            advanced()
    killer = workspace / "killer"
    killer.write_text("#!/bin/sh\nkill -9 $$\n")
    killer.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(killer))
        with golden.raises(Busy):
            advanced()
    assert Store(workspace / "orchestrator.db").load(KEY).step_run.state is StepRunState.PENDING
    while advanced().state is RunState.ACTIVE:
        slurm.tick()
    assert table(workspace) == TABLE


def test_a_table_that_is_busy_is_loaded_again_later(advancing, workspace, monkeypatch):
    slurm, advanced = advancing
    monkeypatch.setattr(slurm.scheduler, "is_local", False)
    advanced()
    slurm.tick()
    program = workspace / "program"
    program.write_text(
        """#!/bin/sh\necho '{"error": "another process has it", "hint": "Try again.", "is_busy": true}'\n"""
    )
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(program))
        with pytest.raises(Busy, match="another process has it"):
            advanced()
    while advanced().state is RunState.ACTIVE:
        slurm.tick()
    assert table(workspace) == TABLE


def test_the_tail_of_a_job_collects_and_counts_open_experiments_itself(advancing, monkeypatch):
    slurm, advanced = advancing
    monkeypatch.setattr(slurm.scheduler, "is_local", False)
    advanced()
    slurm.tick()
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError, match="/nowhere/python"):
        advanced(enclosing_job="7")
    run = advanced(enclosing_job="7", is_tail=True)
    assert run.step_run.n_tasks == N_FIRST


@pytest.mark.parametrize("has_arrived", [False, True])
def test_one_resume_is_enough_if_the_submission_of_the_first_job_is_in_doubt(
    workspace, monkeypatch, has_arrived, golden
):
    store, folder, checked = new_run(workspace, pipeline(), "slurm")
    slurm = FakeSlurm(folder, checked.load)
    slurm.scheduler.grace = 2.5
    for module in (session, submit):
        monkeypatch.setattr(module, "scheduler_of", lambda store, record: slurm.scheduler)
    sbatch = slurm.client.sbatch

    def die(arguments, taken):
        if has_arrived:
            sbatch(arguments, taken)
        raise Killed

    monkeypatch.setattr(slurm.client, "sbatch", die)
    with pytest.raises(Killed):
        submit.hand_over(store, KEY, say=lambda line: None)
    monkeypatch.setattr(slurm.client, "sbatch", sbatch)
    printed = []
    submit.hand_over(store, KEY, say=printed.append, is_resume=True)
    [job, orchestrator] = slurm.queue.live
    assert orchestrator.after == job.job_id
    golden([printed[0], printed[-1]], exact=False)
