"""The process that advances dies once at every commit, scheduler call and rename; the run ends as it would have.

On a cluster in memory, where every advance also runs twice, and on this machine.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import (
    Block,
    CollectArrayResults,
    Domain,
    ExperimentData,
    ExperimentSample,
    Loop,
    Pipeline,
    SlurmResources,
    Step,
    datagenerator,
)
from orchestrator.data import left_overs
from orchestrator.db import opening
from orchestrator.db import store as store_module
from orchestrator.db.store import Holder, NewRun, Store
from orchestrator.engine import code
from orchestrator.engine.advance import advance
from orchestrator.engine.cluster import cancel, orchestrate, session, submit
from orchestrator.engine.context import Context
from orchestrator.engine.lease import holding
from orchestrator.engine.local.scheduler import LocalScheduler
from orchestrator.engine.observe import observe
from orchestrator.engine.progress import Silent
from orchestrator.engine.resume import reopen
from orchestrator.errors import Busy, SchedulerUnreachable
from orchestrator.handoff.folder import RunFolder
from orchestrator.machine.changes import apply
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.states import JobState, RunState, StepRunState
from tests.fakes.queue import PowerCut
from tests.fakes.slurm import FakeSlurm

KEY = "r"
N_FIRST, N_MORE = 4, 2
LEFT = 50.0
"""The experiment whose result a task of f3dasm has left in a file."""

EVALUATED: Counter[float] = Counter()


def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=1000.0)
    domain.add_output("y")
    inputs = [*({"x": float(i)} for i in range(N_FIRST)), {"x": LEFT}]
    ExperimentData(domain=domain, input_data=inputs).store(project_dir)
    ExperimentSample({"x": LEFT}, {"y": LEFT * LEFT}, "finished", project_dir).store_as_json(project_dir, N_FIRST)


@datagenerator(output_names="y")
def evaluate(x):
    EVALUATED[x] += 1
    return x * x


class Grow(Block):
    def call(self, data, iteration):
        new = [{"x": 100.0 * (iteration + 1) + i} for i in range(N_MORE)]
        return data + ExperimentData(domain=data.domain, input_data=new)


def enough(data):
    return len(data) >= N_FIRST + 1 + 2 * N_MORE


def pipeline(parallel):
    small = SlurmResources(max_array_size=N_FIRST if parallel is None else 3)
    is_parallel = parallel is not False

    def batch(name):
        return Step(evaluate, name=name, parallel=is_parallel, resources=small)

    collect = Step(CollectArrayResults(), name="collect")
    loop = Loop(9, [batch("evaluate"), collect, Step(Grow(), name="grow")], enough)
    gather = Step(CollectArrayResults(), name="gather")
    return Pipeline("crashes", [Step(create), gather, loop, batch("end"), batch("nothing left")])


@pytest.fixture
def begin(workspace):
    """Give a function that makes the run anew, and returns the store, its folder and its code."""

    def make(steps, mode="local"):
        EVALUATED.clear()
        kept = code.check(steps, KEY, None)
        store = Store(workspace / "orchestrator.db")
        folder = RunFolder(workspace, KEY)
        folder.path.mkdir(exist_ok=True)
        new = NewRun(KEY, "salt", "crashes", mode, kept.plan, 0, None, None, "", code.keep(folder, kept), None, {})
        store.create_run(new, time.time())
        return store, folder, kept

    return make


def wipe(workspace):
    shutil.rmtree(workspace / KEY)
    with sqlite3.connect(workspace / "orchestrator.db") as connection:
        for table in ("event", "job", "step_run", "run"):
            connection.execute(f"DELETE FROM {table}")
    connection.close()
    store_module._held.clear()


class Mains:
    """Cuts the power at the nth boundary; 0: never. Counts the boundaries."""

    def __init__(self, monkeypatch, at):
        self.at, self.n, self.is_dead, self.is_on = at, 0, False, True
        self._monkeypatch = monkeypatch
        self._around(Store, "write")
        self._around(Path, "rename")
        self._around(os, "link")
        self._around(left_overs, "remove_collected")
        # The process dies, not the machine: what was written is there.
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        monkeypatch.setattr(opening, "PRAGMAS", opening.PRAGMAS.replace("synchronous = FULL", "synchronous = OFF"))
        unlink = Path.unlink
        monkeypatch.setattr(Path, "unlink", lambda *a, **k: self._alive() or unlink(*a, **k))
        released = Store.release_lease
        monkeypatch.setattr(Store, "release_lease", lambda *a: None if self.is_dead else released(*a))

    def watch(self, scheduler):
        for name in ("submit", "submit_orchestrator", "repoint", "observe", "cancel"):
            if hasattr(scheduler, name):
                self._around(scheduler, name)

    def _around(self, owner, name):
        """Cut before, and after where the next thing that happens is no boundary itself."""
        original = getattr(owner, name)

        def wrapped(*arguments, **keywords):
            self._boundary()
            result = original(*arguments, **keywords)
            if name in ("write", "link", "submit", "submit_orchestrator"):
                self._boundary()
            return result

        self._monkeypatch.setattr(owner, name, wrapped)

    def _alive(self):
        if self.is_dead:
            raise PowerCut

    def _boundary(self):
        self._alive()
        if not self.is_on:
            return
        self.n += 1
        if self.n == self.at:
            self.is_dead = True
            raise PowerCut

    def restore(self):
        """Another process comes by: it holds nothing that the dead one held."""
        self.is_dead = False
        store_module._held.clear()


def records(workspace):
    """All that is recorded of what happened, without times, ids and restarts of the same work."""
    connection = sqlite3.connect(workspace / "orchestrator.db")
    runs = connection.execute("SELECT state, reason FROM run").fetchall()
    step_runs = connection.execute(
        "SELECT position, epoch, iteration, name, kind, path, state, reason, n_experiments, n_tasks, batch_size,"
        " n_finished, n_failed, until FROM step_run ORDER BY id"
    ).fetchall()
    jobs = connection.execute(
        "SELECT token, role, batch, attempt, tasks, n_tasks, state, kind, failed_tasks, n_finished, n_failed, until"
        " FROM job WHERE role != 'orchestrator' ORDER BY id"
    ).fetchall()
    events = connection.execute(
        "SELECT what, old, new FROM event WHERE what NOT LIKE 'job is %' AND what != 'lease' ORDER BY id"
    ).fetchall()
    connection.close()
    return runs, step_runs, jobs, events


def values(workspace):
    data = ExperimentData.from_file(workspace / KEY)
    inputs, outputs = data.input_rows(), data.output_rows()
    return [(inputs(place)["x"], outputs(place)["y"]) for place in range(len(data))]


EXPECTED = [*map(float, range(N_FIRST)), LEFT, *(100.0 * (k + 1) + i for k in range(2) for i in range(N_MORE))]
EACH_ONCE = Counter(x for x in EXPECTED if x != LEFT)


def on_cluster(store, folder, kept):
    """Advance every minute until the run has ended."""
    slurm = FakeSlurm(folder, kept.load)
    for _ in range(200):
        with holding(store, KEY) as fence:
            context = Context(store, store.record(KEY), fence, folder, slurm, Silent(), lambda: slurm.now)
            if advance(context).state is not RunState.ACTIVE:
                return slurm
        slurm.tick()
    raise AssertionError("the run does not end")


def on_this_machine(store, folder, kept, mains, slices=None):
    for _ in range(200):
        scheduler = LocalScheduler(folder, kept.load, 1, lambda n: None, slices)
        mains.watch(scheduler)
        try:
            with holding(store, KEY) as fence:
                context = Context(store, store.record(KEY), fence, folder, scheduler, Silent())
                while advance(context).state is RunState.ACTIVE:
                    scheduler.wait()
                return scheduler
        except PowerCut:
            mains.restore()
    raise AssertionError("the run does not end")


def by_itself(store, folder, kept, mains, *, has_tail, lies=None):
    """Advance once; from then on only the jobs of the cluster do, and the user where nobody else would."""

    @contextmanager
    def opened(**me):
        mains.is_on = True
        try:
            with holding(store, KEY) as fence:
                record = store.record(KEY)
                yield Context(store, record, fence, folder, slurm, Silent(), lambda: slurm.now, **me)
        except PowerCut:
            mains.restore()
            raise
        finally:
            mains.is_on = False

    slurm = FakeSlurm(folder, kept.load, opened=opened, has_tail=has_tail, lies=lies)
    mains.watch(slurm)
    slurm.n_resumes = 0
    with suppress(Busy, PowerCut), opened() as context:
        advance(context)
    for _ in range(400):
        if not slurm.queue.live:
            run = store.load(KEY)
            if run.state is not RunState.ACTIVE and not run.orchestrators:
                return slurm
            if run.state is not RunState.ACTIVE:
                # What a death at the very end left in the records, the next look puts right.
                with suppress(Busy), opened() as context:
                    advance(context)
                slurm.tick()
                continue
            slurm.n_resumes += 1
            with suppress(Busy, PowerCut):
                with opened() as context:
                    seen = reduce(apply, reconcile(run, observe(context, run)), run)
                    is_shown = why_stalled(liveness_of(seen, has_tail=has_tail)) is not None
                    assert is_shown, "nobody comes, and nothing shows it"
                    reopen(context, None)
                for _ in orchestrate.poll(opened, 2 * slurm.grace, slurm.said.append, lambda: slurm.now):
                    slurm.tick()
        slurm.tick()
    raise AssertionError("the run does not end")


def test_the_cluster_in_memory_without_crashes(workspace, begin):
    slurm = on_cluster(*begin(pipeline(True)))
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
        ("nothing left", "", "skipped", "no open experiments"),
    ]
    assert [row[4] for row in jobs if row[1] == "batch"] == ["0-2", "3", "0-1", "0-1"]
    assert slurm.most_live == 1
    assert values(workspace) == [(x, x * x) for x in EXPECTED]


def test_the_cluster_and_this_machine_leave_the_same_records(workspace, begin, monkeypatch):
    steps = pipeline(None)
    on_cluster(*begin(steps))
    cluster, table = records(workspace), values(workspace)
    wipe(workspace)
    on_this_machine(*begin(steps), Mains(monkeypatch, 0), slices=N_FIRST)
    for ours, theirs in zip(records(workspace), cluster, strict=True):
        assert ours == theirs
    assert values(workspace) == table


def context_on(slurm, store, fence, **me):
    folder = RunFolder(store.path.parent, KEY)
    return Context(store, store.record(KEY), fence, folder, slurm, Silent(), lambda: slurm.now, **me)


@pytest.fixture
def looked(begin):
    """Give a cluster with a run, and a function that advances the run once."""
    store, folder, kept = begin(pipeline(True), "slurm")

    @contextmanager
    def held_by_us(**me):
        raise Busy("another process advances it")
        yield

    slurm = FakeSlurm(folder, kept.load, opened=held_by_us)

    def advanced(**me):
        with holding(store, KEY) as fence:
            return advance(context_on(slurm, store, fence, **me))

    return slurm, advanced


def test_an_orchestrator_job_has_a_successor_though_the_scheduler_does_not_answer(looked, workspace, monkeypatch):
    """Else, once the time for looking is up, nobody would come again."""
    slurm, advanced = looked

    def is_silent(jobs):
        raise SchedulerUnreachable("squeue did not end within 60 s.", "")

    [first] = advanced().orchestrators
    monkeypatch.setattr(slurm, "observe", is_silent)
    with pytest.raises(SchedulerUnreachable):
        advanced(own_token=first.token, own_id=first.scheduler_id)
    mine, successor = Store(workspace / "orchestrator.db").load(KEY).orchestrators
    assert (mine.token, mine.state) == (first.token, JobState.RUNNING)
    assert (successor.state, successor.waits_for) == (JobState.QUEUED, first.scheduler_id)


@pytest.fixture
def asked_to_stop(looked, workspace, monkeypatch):
    """Give a run that is to be cancelled, on a cluster; where `cancel` would sleep, its time passes."""
    slurm, advanced = looked
    advanced()
    store = Store(workspace / "orchestrator.db")
    store.request_cancel(KEY, slurm.now)
    monkeypatch.setattr(slurm, "live_ids", lambda tokens: [], raising=False)
    monkeypatch.setattr(cancel, "scheduler_of", lambda *_: slurm)
    monkeypatch.setattr(cancel, "context_of", lambda store, _, fence, slurm: context_on(slurm, store, fence))

    def sleep(seconds):
        slurm.queue.now += seconds

    clock = SimpleNamespace(monotonic=lambda: slurm.now, time=lambda: slurm.now, sleep=sleep)
    monkeypatch.setattr(cancel, "LOOK_EVERY", 10.0)
    monkeypatch.setattr(cancel, "time", clock)
    monkeypatch.setattr("orchestrator.engine.lease.time", clock)
    return store


ELSEWHERE = Holder("elsewhere", "its boot", 7, "its start")


def test_cancel_outwaits_somebody_who_died_on_another_machine(asked_to_stop):
    asked_to_stop.take_lease(KEY, ELSEWHERE, time.time())
    assert cancel.cancel_run(asked_to_stop, KEY).state is RunState.CANCELLED


def test_cancel_says_who_holds_a_run_and_leaves_it_to_them(asked_to_stop, monkeypatch):
    fence = asked_to_stop.take_lease(KEY, ELSEWHERE, time.time())

    pause = cancel.time.sleep

    def they_live(seconds):
        asked_to_stop.beat(KEY, fence, cancel.time.time())
        pause(seconds)

    monkeypatch.setattr(cancel.time, "sleep", they_live)
    with pytest.raises(Busy, match=r"was asked to stop .* s ago\. Run r is being advanced by process 7 on elsewhere"):
        cancel.cancel_run(asked_to_stop, KEY)
    assert asked_to_stop.load(KEY).state is RunState.ACTIVE


@pytest.mark.parametrize("what", ["collect", "freeze"])
def test_nothing_follows_from_the_death_of_the_process_that_loads_the_table(looked, workspace, monkeypatch, what):
    slurm, advanced = looked
    monkeypatch.setattr(FakeSlurm, "is_local_scheduler", False)
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
        with pytest.raises(Busy, match=f"should {what} the table of run r ended without an answer: killed by SIGKILL"):
            advanced()
    assert Store(workspace / "orchestrator.db").load(KEY).step_run.state is StepRunState.PENDING
    while advanced().state is RunState.ACTIVE:
        slurm.tick()
    assert values(workspace) == [(x, x * x) for x in EXPECTED]


def test_a_table_that_the_process_that_loads_it_could_not_have_now_is_asked_for_again(looked, workspace, monkeypatch):
    slurm, advanced = looked
    monkeypatch.setattr(FakeSlurm, "is_local_scheduler", False)
    advanced()
    slurm.tick()
    told = workspace / "told"
    told.write_text(
        """#!/bin/sh\necho '{"error": "another process has it", "hint": "Try again.", "is_busy": true}'\n"""
    )
    told.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(told))
        with pytest.raises(Busy, match="another process has it"):
            advanced()
    while advanced().state is RunState.ACTIVE:
        slurm.tick()
    assert values(workspace) == [(x, x * x) for x in EXPECTED]


def test_the_tail_of_a_job_collects_and_counts_open_experiments_itself(looked, monkeypatch):
    slurm, advanced = looked
    monkeypatch.setattr(FakeSlurm, "is_local_scheduler", False)
    advanced()
    slurm.tick()
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError, match="/nowhere/python"):
        advanced(within="7")
    run = advanced(within="7", is_tail=True)
    assert run.step_run.n_tasks == N_FIRST


@pytest.mark.timeout(900)
def test_a_power_cut_at_every_boundary_of_a_run_on_this_machine(workspace, begin, monkeypatch):
    with monkeypatch.context() as patch:
        started = begin(pipeline(False))
        mains = Mains(patch, 0)
        on_this_machine(*started, mains)
    n, (runs, step_runs, _, _) = mains.n, records(workspace)
    wipe(workspace)
    assert n > 40
    for at in range(1, n + 1):
        with monkeypatch.context() as patch:
            started = begin(pipeline(False))
            mains = Mains(patch, at)
            on_this_machine(*started, mains)
            where = f"power cut at boundary {at} of {n}"
            assert mains.n >= at, where
            assert values(workspace) == [(x, x * x) for x in EXPECTED], where
            assert EACH_ONCE == EVALUATED, where
            assert records(workspace)[:2] == (runs, step_runs), where
        wipe(workspace)


@pytest.mark.parametrize("has_tail", [True, False], ids=["both wake", "only the orchestrator wakes"])
@pytest.mark.timeout(900)
def test_a_power_cut_at_every_boundary_of_a_run_that_wakes_itself(workspace, begin, monkeypatch, has_tail):
    drive = partial(by_itself, has_tail=has_tail)

    def twice(context):
        advance(context)
        return advance(context)

    def made():
        return begin(pipeline(True), "slurm")

    monkeypatch.setattr(cancel, "advance", twice)
    with monkeypatch.context() as patch:
        started = made()
        mains = Mains(patch, 0)
        slurm = drive(*started, mains)
        assert slurm.n_resumes == 0
        assert slurm.most_waiting == 1
        runs, step_runs, jobs, _ = records(workspace)
        assert runs == [("succeeded", None)]
    wipe(workspace)
    for at in range(1, mains.n + 1):
        with monkeypatch.context() as patch:
            started = made()
            one = Mains(patch, at)
            slurm = drive(*started, one)
            where = f"power cut at boundary {at} of {mains.n}"
            assert one.n >= at, where
            assert slurm.n_resumes <= 1, where
            assert values(workspace) == [(x, x * x) for x in EXPECTED], where
            assert EACH_ONCE == EVALUATED, where
            assert records(workspace)[:3] == (runs, step_runs, jobs), where
            assert set(slurm.ran.values()) == {1}, where
            assert slurm.most_waiting <= 1, where
        wipe(workspace)


@pytest.mark.timeout(900)
def test_a_cluster_that_refuses_is_silent_loses_answers_and_takes_jobs_twice(workspace, begin, monkeypatch, request):
    """The run ends as it would have, though the user may have to ask for it more than once."""
    expected = None
    for seed in range(request.config.getoption("--examples") // 10 + 1):
        with monkeypatch.context() as patch:
            started = begin(pipeline(True), "slurm")
            lies = random.Random(seed) if seed else None
            slurm = by_itself(*started, Mains(patch, 0), has_tail=seed % 2 == 0, lies=lies)
            where = f"lies of seed {seed}"
            expected = expected or records(workspace)[:3]
            assert records(workspace)[:3] == expected, where
            assert values(workspace) == [(x, x * x) for x in EXPECTED], where
            assert EACH_ONCE == EVALUATED, where
            assert set(slurm.ran.values()) == {1}, where
        wipe(workspace)


@pytest.mark.parametrize("has_arrived", [False, True])
def test_one_resume_is_enough_where_it_is_not_known_whether_the_first_job_was_submitted(
    workspace, begin, monkeypatch, has_arrived
):
    store, folder, kept = begin(pipeline(True), "slurm")
    slurm = FakeSlurm(folder, kept.load)
    slurm.folder, slurm.config, slurm.grace = folder, SimpleNamespace(cwd=None), 2.5
    for module in (session, submit):
        monkeypatch.setattr(module, "scheduler_of", lambda store, record: slurm)
    accept = slurm.submit

    def die(job):
        if has_arrived:
            accept(job)
        raise PowerCut

    slurm.submit = die
    with pytest.raises(PowerCut):
        submit.hand_over(store, KEY, say=lambda line: None)
    slurm.submit = accept
    said = []
    submit.hand_over(store, KEY, say=said.append, is_resume=True)
    [job, orchestrator] = slurm.queue.live
    assert orchestrator.after == job.job_id
    assert said[-1] == f"Run r: create is job {job.job_id} (queued)."
    assert ("looks again in 1 s" in said[0]) == (not has_arrived)
