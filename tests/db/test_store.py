"""The records: what they refuse, which process may write them, what they contain."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.db import guard, lease_holder, migrate
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import STALE, Holder
from orchestrator.db.rows import insert
from orchestrator.db.run_rows import latest_key
from orchestrator.db.store import NewRun, Store
from orchestrator.errors import Busy, LeaseHeld, NotFound
from orchestrator.kernel_lock import KernelLock
from orchestrator.machine.changes import (
    AddJob,
    AddStepRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    Note,
    RecordDoubt,
    RecordFreeze,
    Withdraw,
)
from orchestrator.machine.kinds import Doubt
from orchestrator.machine.plan import Plan, PlannedLoop, PlannedStep
from orchestrator.machine.states import JobState, RunState, StepRunState
from tests.processes import lives

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan((PlannedStep("0", "create"), PlannedLoop("1", 10, (PlannedStep("1.0", "work"),))))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "orchestrator.db")
    store.create_run(NewRun("r", "salt", "name", "local", PLAN, 0, None, None, None, "d", {"a": 1}, {"b": 2}), 1.0)
    return store


@pytest.fixture
def fence(store):
    return store.leases.take("r", Holder.this_process(), 2.0)


def rows(store, table):
    with session(store.path) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


ENTER = [AddStepRun(0, "", "create", "call"), MoveStepRun(0, StepRunState.ACTIVE), AddJob("t1", "step", 0)]


def test_a_run_is_read_as_it_was_written(store, golden):
    record = store.record("r")
    assert (record.key, record.plan, record.cluster, record.provenance) == ("r", PLAN, {"a": 1}, {"b": 2})
    assert store.load("r").plan == PLAN
    assert latest_key(store.path) == "r"
    assert store.has("r")
    assert not store.has("s")
    with golden.raises(NotFound):
        store.load("s")


def test_two_runs_of_one_key_are_refused(store, golden):
    with golden.raises(Busy):
        store.create_run(NewRun("r", "s", "", "local", PLAN, 0, None, None, None, None, None, {}), 1.0)


def test_moves_are_recorded_with_times_and_events(store, fence):
    store.write("r", fence, [*ENTER, MoveJob("t1", JobState.SUBMITTING)], 10.0)
    moves = [MoveJob("t1", JobState.QUEUED, scheduler_id="7"), MoveJob("t1", JobState.RUNNING, at=11.5)]
    store.write("r", fence, moves, 11.0)
    loaded = store.write("r", fence, [MoveJob("t1", JobState.SUCCEEDED, at=13.0, detail={"host": "n1"})], 14.0)
    [found] = rows(store, "job")
    times = [found[name] for name in ("planned_at", "submitting_at", "queued_at", "started_at", "ended_at")]
    assert times == [10.0, 10.0, 11.0, 11.5, 13.0]
    assert (found["scheduler_id"], found["detail"]) == ("7", {"host": "n1"})
    assert loaded.step_run.jobs[0].state is JobState.SUCCEEDED
    history = [(row["old"], row["new"]) for row in rows(store, "event") if row["what"] == "job"]
    assert history == [
        (None, "planned"),
        ("planned", "submitting"),
        ("submitting", "queued"),
        ("queued", "running"),
        ("running", "succeeded"),
    ]


def test_times_never_decrease(store, fence):
    store.write("r", fence, [*ENTER, MoveJob("t1", JobState.SUBMITTING)], 10.0)
    store.write("r", fence, [MoveJob("t1", JobState.QUEUED, scheduler_id="7")], 20.0)
    store.write("r", fence, [MoveJob("t1", JobState.RUNNING, at=15.0), MoveJob("t1", JobState.FAILED, at=1.0)], 21.0)
    [found] = rows(store, "job")
    assert (found["queued_at"], found["started_at"], found["ended_at"]) == (20.0, 20.0, 20.0)


def test_an_invalid_move_changes_nothing(store, fence, golden):
    with golden.raises(ValueError):
        store.write("r", fence, [*ENTER, MoveJob("t1", JobState.SUCCEEDED)], 10.0)
    assert rows(store, "step_run") == []
    assert [row["what"] for row in rows(store, "event")] == ["run"]


@pytest.mark.parametrize(
    "change",
    [
        MoveJob("missing", JobState.SUBMITTING),
        MoveStepRun(5, StepRunState.ACTIVE),
        RecordDoubt("missing", Doubt.UNLISTED, 1.0),
    ],
)
def test_a_change_of_a_missing_record_is_refused(store, fence, change, golden):
    with golden.raises(ValueError):
        store.write("r", fence, [change], 10.0)


def test_withdrawn_rows_remain_and_do_not_count(store, fence):
    store.write("r", fence, [*ENTER, MoveStepRun(0, StepRunState.FAILED, "no"), MoveRun(RunState.FAILED)], 10.0)
    assert store.load("r").n_failed_step_runs == 1
    assert store.history.first_failed("r") == 0
    run_ = store.write("r", fence, [Withdraw(0, "resume"), MoveRun(RunState.ACTIVE, "resume")], 11.0)
    assert (run_.n_failed_step_runs, run_.step_run, run_.state) == (0, None, RunState.ACTIVE)
    assert store.history.first_failed("r") is None
    assert store.history.next_epoch("r", 0) == (1, 2, False)
    assert store.history.next_epoch("r", 1) == (0, 1, False)
    assert store.history.step_runs("r") == []
    [kept] = rows(store, "step_run")
    assert (kept["state"], kept["withdrawn_at"]) == ("failed", 11.0)
    assert rows(store, "run")[0]["ended_at"] is None


def test_freeze_notes_and_absence_are_recorded(store, fence):
    changes = [*ENTER, RecordFreeze(0, 10, 5, 3), Note("task failed", "why", token="t1", task=4, detail={"kind": "x"})]
    run_ = store.write("r", fence, [*changes, RecordDoubt("t1", Doubt.UNLISTED, 9.0)], 10.0)
    assert (run_.step_run.n_experiments, run_.step_run.n_tasks, run_.step_run.batch_size) == (10, 5, 3)
    assert run_.step_run.jobs[0].doubt_since == 9.0
    [note] = [row for row in rows(store, "event") if row["what"] == "task failed"]
    assert (note["why"], note["task"], note["detail"]) == ("why", 4, {"kind": "x"})
    assert note["job_id"] is not None


BASE = {
    "run": {
        "key": "q",
        "salt": "",
        "uid": 0,
        "name": "",
        "mode": "local",
        "state": "active",
        "plan": "[]",
        "first_position": 0,
        "provenance": {},
        "created_at": 1.0,
    },
    "step_run": {
        "run_id": 1,
        "epoch": 0,
        "first_attempt": 1,
        "iteration": "",
        "name": "s",
        "kind": "call",
        "path": "0",
        "created_at": 1.0,
    },
    "job": {
        "run_id": 1,
        "step_run_id": 1,
        "role": "step",
        "batch": 0,
        "tasks": "0",
        "n_tasks": 1,
        "planned_at": 1.0,
        "detail": {},
        "token": "t9",
    },
}


@pytest.mark.parametrize(
    ("table", "values", "constraint"),
    [
        ("run", {"state": "failed"}, "run_ended"),
        ("run", {"mode": "cloud"}, "run_mode"),
        ("run", {"lease_host": "h"}, "run_lease"),
        ("step_run", {"position": 3, "state": "active"}, "step_run_started"),
        ("step_run", {"position": 3, "state": "failed"}, "step_run_ended"),
        ("step_run", {"position": 3, "state": "odd"}, "step_run_state"),
        ("step_run", {"position": 3, "state": "pending"}, "step_run_open|run_id"),
        ("job", {"state": "planned", "attempt": 2}, "batch"),
        ("job", {"state": "queued", "attempt": 2}, "job_scheduler_id"),
        ("job", {"state": "failed", "attempt": 2}, "job_ended"),
        ("job", {"state": "cancelled", "ended_at": 1.0, "kind": "bad luck", "attempt": 2}, "job_kind"),
        ("job", {"state": "cancelled", "ended_at": 1.0, "attempt": 1}, "attempt"),
    ],
)
def test_invalid_rows_are_refused_by_the_schema(store, fence, table, values, constraint):
    store.write("r", fence, ENTER, 10.0)
    with pytest.raises(sqlite3.IntegrityError, match=constraint), session(store.path) as connection:
        insert(connection, table, {**BASE[table], **values})


# --- lease ---------------------------------------------------------------------------------------


def test_a_lease_has_one_holder_at_a_time(store, golden):
    fence = store.leases.take("r", Holder.this_process(), 2.0)
    golden.replace(os.getpid(), "this process")
    with golden.raises(LeaseHeld, exact=False):
        store.leases.take("r", Holder.this_process(), 3.0)
    store.leases.release("r", fence)
    assert store.leases.take("r", Holder.this_process(), 4.0) > fence


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_at_once(store, golden):
    code = (
        f"from orchestrator.db.store import Store; from orchestrator.db.lease_holder import Holder\n"
        f"from pathlib import Path\n"
        f"Store(Path({str(store.path)!r})).leases.take('r', Holder.this_process(), 2.0); print('taken', flush=True)\n"
        f"import time; time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert other.stdout.readline() == b"taken\n"
        golden.replace(other.pid, "the other process")
        with golden.raises(LeaseHeld, exact=False):
            store.leases.take("r", Holder.this_process(), 3.0)
    finally:
        other.send_signal(signal.SIGKILL)
        # A zombie, which its parent has not waited for, is dead.
        while lives(other.pid):
            time.sleep(0.001)
        store.leases.take("r", Holder.this_process(), 3.0)
        other.communicate()
    golden([row["why"] for row in rows(store, "event")][-1], exact=False)


def test_the_lease_of_another_machine_must_expire(store, golden):
    far = Holder("far", "boot", 1, "1")
    fence = store.leases.take("r", far, 0.0)
    with pytest.raises(LeaseHeld):
        store.leases.take("r", Holder.this_process(), 1000.0)  # its beat was seen now, for the first time
    with pytest.raises(LeaseHeld):
        store.leases.take("r", Holder.this_process(), 1000.0 + STALE - 1)
    store.leases.beat("r", fence, 5.0)
    with pytest.raises(LeaseHeld):
        store.leases.take("r", Holder.this_process(), 2000.0)
    assert store.leases.take("r", Holder.this_process(), 2000.0 + STALE) > fence
    with golden.raises(LeaseHeld, exact=False):
        store.write("r", fence, ENTER, 3000.0)
    with pytest.raises(LeaseHeld):
        store.leases.beat("r", fence, 3000.0)
    store.leases.release("r", fence)  # of no effect
    assert rows(store, "run")[0]["lease_pid"] == os.getpid()


def test_a_check_of_the_lease_takes_nothing_and_counts_as_a_refusal_unless_it_is_a_dry_run(store):
    me, far = Holder.this_process(), Holder("far", "boot", 1, "1")
    store.leases.check("r", me, 0.0, dry_run=False)
    assert rows(store, "run")[0]["lease_pid"] is None
    store.leases.take("r", far, 0.0)
    before = rows(store, "run")
    with pytest.raises(LeaseHeld):
        store.leases.check("r", me, 1000.0, dry_run=True)
    assert rows(store, "run") == before
    for now, dry_run in ((2000.0, False), (2000.0 + STALE - 1, True)):
        with pytest.raises(LeaseHeld):
            store.leases.check("r", me, now, dry_run=dry_run)
    store.leases.check("r", me, 2000.0 + STALE, dry_run=True)
    assert rows(store, "run")[0]["lease_pid"] == 1


def test_a_reused_process_id_is_another_process(monkeypatch):
    me = Holder.this_process()
    assert not lease_holder.is_dead(me, None, 0.0)
    assert lease_holder.is_dead(Holder(me.host, me.boot, me.pid, "another start"), None, 0.0)
    assert lease_holder.is_dead(Holder(me.host, "another boot", me.pid, me.pid_start), None, 0.0)


def test_a_process_in_another_container_of_this_host_lives_until_its_heartbeat_is_missing():
    boot = Holder.this_process().boot.partition(" ")[0]
    inside = Holder.this_process()._replace(boot=f"{boot} pid:[1]", pid=1, pid_start="1")
    assert not lease_holder.is_dead(inside, None, 1000.0)
    assert not lease_holder.is_dead(inside, 1000.0, 1000.0 + STALE - 1)
    assert lease_holder.is_dead(inside, 1000.0, 1000.0 + STALE)
    assert lease_holder.silent_for(inside, 1000.0, 1000.0 + lease_holder.SILENT) == lease_holder.SILENT


def test_requests_need_no_lease(store, fence):
    store.request_cancel("r", 5.0)
    store.request_cancel("r", 6.0)
    assert store.load("r").cancel_requested
    assert store.record("r").cancel_requested_at == 5.0
    store.clear_cancel_request("r", fence)
    assert not store.load("r").cancel_requested


# --- the file ------------------------------------------------------------------------------------


def test_a_database_of_another_shape_is_reported(store, golden):
    assert migrate.check(store.path) == []
    connection = sqlite3.connect(store.path)
    connection.execute("DROP INDEX job_live")
    connection.commit()
    connection.close()
    golden(migrate.check(store.path))


HAMMER = """
import sys
from pathlib import Path
from orchestrator.db import guard
from orchestrator.db.connection import session
if sys.argv[2] == "links":
    guard.is_local = lambda folder: False
guard.LONGEST_HOLD = 0.5
for _ in range(int(sys.argv[3])):
    with session(Path(sys.argv[1])) as connection:
        n = connection.execute("SELECT fence FROM run").fetchone().fence
        connection.execute("UPDATE run SET fence = ?", (n + 1,))
"""


def hammered(store, kinds, n):
    """Let processes write at the same time, each with the kind of lock of its machine."""
    commands = [[sys.executable, "-c", HAMMER, str(store.path), kind, str(n)] for kind in kinds]
    processes = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) for command in commands]
    return [process.wait() for process in processes]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n"), [("kernel", 40), ("links", 15)])
def test_no_write_is_lost_between_processes(store, kind, n):
    assert hammered(store, [kind] * 4, n) == [0] * 4
    assert rows(store, "run")[0]["fence"] == 4 * n


@pytest.mark.slow
def test_the_server_of_a_folder_uses_the_lock_of_the_machines_that_it_serves(store, monkeypatch):
    assert guard.has_kernel_lock(store.path)
    assert hammered(store, ["kernel", "links", "kernel", "links"], 15) == [0] * 4
    assert rows(store, "run")[0]["fence"] == 60
    assert not guard.has_kernel_lock(store.path)

    def refuse(*given):
        raise AssertionError("a lock of the kernel")

    monkeypatch.setattr(KernelLock, "acquire", refuse)
    assert store.record("r").key == "r"


def test_a_lock_of_the_kernel_is_given_up_if_another_machine_comes_while_it_is_awaited(store, monkeypatch):
    acquire = KernelLock.acquire

    def acquire_late(lock, seconds):
        acquire(lock, seconds)
        store.path.with_name("orchestrator.db.guard.shared").touch()

    monkeypatch.setattr(guard, "LONGEST_HOLD", 0.1)
    monkeypatch.setattr(KernelLock, "acquire", acquire_late)
    with guard.guarded(store.path):
        assert store.path.with_name("orchestrator.db.guard.rw").exists()
        kernel = KernelLock(store.path.with_name("orchestrator.db.guard"), 0o600)
        acquire(kernel, 0.0)  # it is free
        kernel.release()
