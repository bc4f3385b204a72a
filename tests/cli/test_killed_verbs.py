"""`fork`, `import`, `set` and `cancel --step` are killed at each boundary; typed again, they complete their work."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from orchestrator import ExperimentData
from orchestrator.db.store import Store
from orchestrator.engine import commands, steer, transfer
from orchestrator.engine.cluster.session import config_of
from orchestrator.engine.fork import make_fork, prepare_fork
from orchestrator.engine.local import run as local_run
from orchestrator.engine.set_resources import set_resources
from orchestrator.workspace import Workspace
from tests.engine.boundaries import Boundaries
from tests.fakes.queue import Killed

pytestmark = pytest.mark.slow

STUDY = """
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    with open("evaluated", "a") as file:
        file.write(f"{x}\\n")
    if x == 2.0 and Path("stop").exists():
        raise KeyboardInterrupt
    return 2 * x

pipeline = Pipeline("verbs", [Step(store_numbers(4), name="create"), Step(evaluate, name="evaluate")])
"""

STORE = ("create_run", "set_plan", "request_cancel_step")


@pytest.fixture
def place(here):
    """A workspace with the run `r`, which has succeeded."""
    (here.workspace / "verbs.py").write_text(STUDY)
    assert here("run", "verbs.py", "--project-job", "r").code == 0
    return Workspace.at(here.workspace)


def killed_at_each_boundary(place, monkeypatch, verb, check):
    """Kill a verb at its first boundary, then, in the workspace as it was, at its second, and so on.

    Returns
    -------
    int
        How many boundaries it has.
    """
    as_it_was = place.root.with_name(f"{place.root.name}.as_it_was")
    shutil.copytree(place.root, as_it_was)
    n = 0
    while True:
        n += 1
        with monkeypatch.context() as patch:
            boundaries = Boundaries(patch, lambda k, n=n: k == n)
            boundaries.watch(Store, *STORE)
            boundaries.watch(transfer, "import_rows")
            boundaries.watch(Path, "mkdir")
            # A dead process removes nothing.
            patch.setattr(shutil, "rmtree", partial(_remove, boundaries, shutil.rmtree))
            boundaries.is_on = True
            try:
                verb()
            except Killed:
                boundaries.go_on()
            boundaries.is_on = False
        check(boundaries.died)
        for path in place.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(as_it_was, place.root, dirs_exist_ok=True)
        if not boundaries.died:
            shutil.rmtree(as_it_was)
            return n - 1


def _remove(boundaries, rmtree, *arguments, **keywords):
    if not boundaries.is_dead:
        rmtree(*arguments, **keywords)


def ys(place, key):
    data = ExperimentData.from_file(place.root / key)
    return [row["y"] for row in map(data.output_rows(), range(len(data)))]


def completed(here, place, key, command):
    """Type a command again, unless its run is recorded; do what its error says, and return the key of the new run."""
    if Store(place.database).has(key):
        return key
    done = here(*command, "--project-job", key)
    if done.code:
        assert (done.code, f"There is a folder {key!r} already, of no run." in done.err) == (2, True), done.err
        key = "other"
        done = here(*command, "--project-job", key)
    assert done.code == 0, done.err
    return key


def test_a_fork(here, place, monkeypatch):
    def check(died):
        key = completed(here, place, "f", ["fork", "r", "--from", "evaluate"])
        assert here("resume", key).code == 0, died
        assert (ys(place, "r"), ys(place, key)) == ([0.0, 2.0, 4.0, 6.0],) * 2, died
        assert here("db", "check").code == 0

    n = killed_at_each_boundary(
        place, monkeypatch, lambda: make_fork(place, prepare_fork(place, "r", "evaluate", "f")), check
    )
    assert n >= 5


def test_an_import(here, place, monkeypatch):
    file = place.root / "r.tar.gz"
    assert here("archive", "r", "-o", str(file)).code == 0
    assert here("clean", "r", "--yes").code == 0

    def verb():
        transfer.import_run(place, file, transfer.read_contents(place, file, "f"), "f")

    def check(died):
        key = completed(here, place, "f", ["import", str(file)])
        assert here("resume", key).code == 0, died
        assert ys(place, key) == [0.0, 2.0, 4.0, 6.0], died
        assert here("list").out.count("succeeded") == 1
        here("clean", "--state", "succeeded", "--dry-run")

    assert killed_at_each_boundary(place, monkeypatch, verb, check) >= 5


def test_a_cancel_of_a_step(here, place, monkeypatch):
    (place.root / "stop").touch()
    assert here("resume", "r", "--from-step", "create", "--yes").code == 130
    before = Counter((place.root / "evaluated").read_text().split())

    def check(died):
        (place.root / "stop").unlink()
        again = here("cancel", "r", "--step", "evaluate", "--yes")
        # The step may have ended before the process was killed, and the run not yet: a resume continues both.
        assert (again.code, "open now" in again.err) in ((0, False), (2, True)), died
        assert here("resume", "r").code == 0, died
        assert ys(place, "r") == [0.0, 2.0, 4.0, 6.0], died
        # Those with a result are not evaluated again.
        new = Counter((place.root / "evaluated").read_text().split()) - before
        assert new["0.0"] == new["1.0"] == 0

    n = killed_at_each_boundary(place, monkeypatch, lambda: steer.cancel_step(place, "r", "evaluate"), check)
    assert n >= 4


def test_a_cancel_that_comes_too_late_says_how_the_step_ended(here, place, monkeypatch):
    (place.root / "stop").touch()
    assert here("resume", "r", "--from-step", "create", "--yes").code == 130

    def complete(store, key, position):
        (place.root / "stop").unlink()
        commands.resume(place, key)
        return store.load(key)

    # The process that advances the run reads the request after the step has ended.
    monkeypatch.setattr(Store, "request_cancel_step", lambda *_: True)
    monkeypatch.setattr(local_run, "cancel_local_step", complete)
    said = steer.cancel_step(place, "r", "evaluate")
    assert said == "Step evaluate succeeded before it could be cancelled. Run r has succeeded."


def test_a_change_of_resources(here, programs, monkeypatch):
    programs.accepts()
    assert here("submit", "slurm.py", "--project-job", "r").code == 0
    place = Workspace.at(here.workspace)

    def check(died):
        assert here("set", "r", "nothing", "--mem", "8G").code == 0, died
        store = Store(place.database)
        assert store.load("r").plan.slot(0).step.resources["mem"] == "8G", died
        names = [name for name in config_of(store.record("r")).scripts if name.startswith("nothing.")]
        assert [("--mem=8G" in next((place.root / "r").rglob(name)).read_text()) for name in names] == [True], died
        assert here("advance", "r").code == 0, died

    n = killed_at_each_boundary(place, monkeypatch, lambda: set_resources(place, "r", "nothing", {"mem": "8G"}), check)
    assert n >= 2
