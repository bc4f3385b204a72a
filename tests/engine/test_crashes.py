"""The process that advances dies once at every commit, scheduler call and rename; the run ends as it would have.

On a cluster in memory, where every advance also runs twice, and on this machine.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from orchestrator import (
    Block,
    CollectArrayResults,
    Domain,
    ExperimentData,
    Loop,
    Pipeline,
    SlurmResources,
    Step,
    datagenerator,
)
from orchestrator.db import store as store_module
from orchestrator.db.store import NewRun, Store
from orchestrator.engine import code
from orchestrator.engine.advance import advance
from orchestrator.engine.context import Context
from orchestrator.engine.lease import holding
from orchestrator.engine.local import LocalScheduler
from orchestrator.engine.progress import Silent
from orchestrator.handoff.folder import RunFolder
from orchestrator.machine.states import RunState
from tests.fakes.slurm import FakeSlurm

KEY = "r"
N_FIRST, N_MORE = 7, 3
EVALUATED: Counter[float] = Counter()


class PowerCut(BaseException):
    """Nothing may catch it."""


def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=1000.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(i)} for i in range(N_FIRST)]).store(project_dir)


@datagenerator(output_names="y")
def evaluate(x):
    EVALUATED[x] += 1
    return x * x


class Grow(Block):
    def call(self, data, iteration):
        new = [{"x": 100.0 * (iteration + 1) + i} for i in range(N_MORE)]
        return data + ExperimentData(domain=data.domain, input_data=new)


def enough(data):
    return len(data) >= N_FIRST + 2 * N_MORE


def pipeline(parallel):
    small = SlurmResources(max_array_size=N_FIRST if parallel is None else 3)
    is_parallel = parallel is not False

    def batch(name):
        return Step(evaluate, name=name, parallel=is_parallel, resources=small)

    loop = Loop(9, [Step(Grow(), name="grow"), batch("evaluate"), Step(CollectArrayResults(), name="collect")], enough)
    return Pipeline("crashes", [Step(create), batch("evaluate"), batch("nothing left"), loop, batch("end")])


@pytest.fixture
def begin(workspace):
    """Give a function that makes the run anew, and returns the store, its folder and its code."""

    def make(steps):
        EVALUATED.clear()
        kept = code.check(steps, KEY, None)
        store = Store(workspace / "orchestrator.db")
        folder = RunFolder(workspace, KEY)
        folder.path.mkdir(exist_ok=True)
        new = NewRun(KEY, "salt", "crashes", "local", kept.plan, 0, None, None, "", code.keep(folder, kept), None, {})
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
        self.at, self.n, self.is_dead = at, 0, False
        self._monkeypatch = monkeypatch
        self._around(Store, "write")
        self._around(Path, "rename")
        self._around(os, "link")
        # The process dies, not the machine: what was written is there.
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        released = Store.release_lease
        monkeypatch.setattr(Store, "release_lease", lambda *a: None if self.is_dead else released(*a))

    def watch(self, scheduler):
        for name in ("submit", "observe", "cancel"):
            self._around(scheduler, name)

    def _around(self, owner, name):
        """Cut before, and after where the next thing that happens is no boundary itself."""
        original = getattr(owner, name)

        def wrapped(*arguments, **keywords):
            self._boundary()
            result = original(*arguments, **keywords)
            if name in ("write", "submit"):
                self._boundary()
            return result

        self._monkeypatch.setattr(owner, name, wrapped)

    def _boundary(self):
        if self.is_dead:
            raise PowerCut
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
        " FROM job ORDER BY id"
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


EXPECTED = [float(i) for i in range(N_FIRST)] + [100.0 * (k + 1) + i for k in range(2) for i in range(N_MORE)]


def on_cluster(store, folder, kept, mains, *, twice=True):
    """Advance until the run has ended, whoever dies."""
    slurm = FakeSlurm(folder, kept.load)
    mains.watch(slurm)
    for _ in range(200):
        for _ in range(2 if twice else 1):
            try:
                with holding(store, KEY) as fence:
                    context = Context(store, store.record(KEY), fence, folder, slurm, Silent(), lambda: slurm.now)
                    run = advance(context)
            except PowerCut:
                mains.restore()
                break
        else:
            if run.state is not RunState.ACTIVE:
                return slurm
        n, mains.at, at = mains.n, 0, mains.at
        slurm.tick()  # the nodes have power
        mains.n, mains.at = n, at
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


def test_the_cluster_in_memory_without_crashes(workspace, begin, monkeypatch):
    slurm = on_cluster(*begin(pipeline(True)), Mains(monkeypatch, 0), twice=False)
    runs, step_runs, jobs, _ = records(workspace)
    assert runs == [("succeeded", None)]
    assert [(row[3], row[2], row[6], row[7]) for row in step_runs] == [
        ("create", "", "succeeded", None),
        ("evaluate", "", "succeeded", None),
        ("nothing left", "", "skipped", "no open experiments"),
        ("grow", "0", "succeeded", None),
        ("evaluate", "0", "succeeded", None),
        ("collect", "0", "succeeded", None),
        ("grow", "1", "succeeded", None),
        ("evaluate", "1", "succeeded", None),
        ("collect", "1", "succeeded", None),
        ("end", "", "skipped", "no open experiments"),
    ]
    assert [row[4] for row in jobs if row[1] == "batch"] == ["0-2", "3-5", "6", "0-2", "0-2"]
    assert slurm.most_live == 1
    assert values(workspace) == [(x, x * x) for x in EXPECTED]


def test_the_cluster_and_this_machine_leave_the_same_records(workspace, begin, monkeypatch):
    steps = pipeline(None)
    on_cluster(*begin(steps), Mains(monkeypatch, 0), twice=False)
    cluster, table = records(workspace), values(workspace)
    wipe(workspace)
    on_this_machine(*begin(steps), Mains(monkeypatch, 0), slices=N_FIRST)
    for ours, theirs in zip(records(workspace), cluster, strict=True):
        assert ours == theirs
    assert values(workspace) == table


def boundaries(drive, begin, workspace, monkeypatch, parallel):
    with monkeypatch.context() as patch:
        started = begin(pipeline(parallel))
        mains = Mains(patch, 0)
        drive(*started, mains)
    kept = records(workspace)
    wipe(workspace)
    return mains.n, kept


@pytest.mark.parametrize("place", ["cluster", "this machine"])
@pytest.mark.timeout(900)
def test_a_power_cut_at_every_boundary(workspace, begin, monkeypatch, place):
    drive, parallel = (on_cluster, True) if place == "cluster" else (on_this_machine, False)
    n, (runs, step_runs, jobs, _) = boundaries(drive, begin, workspace, monkeypatch, parallel)
    assert n > 60
    for at in range(1, n + 1):
        with monkeypatch.context() as patch:
            started = begin(pipeline(parallel))
            mains = Mains(patch, at)
            scheduler = drive(*started, mains)
            where = f"power cut at boundary {at} of {n}"
            assert mains.n >= at, where
            assert values(workspace) == [(x, x * x) for x in EXPECTED], where
            assert Counter(dict.fromkeys(EXPECTED, 1)) == EVALUATED, where
            after = records(workspace)
            assert after[0] == runs, where
            assert after[1] == step_runs, where
            if place == "cluster":
                assert after[2] == jobs, where
                assert set(scheduler.ran.values()) == {1}, where
        wipe(workspace)
