"""How much of SLURM a run uses: tasks at once, jobs that wait, calls of SLURM's programs."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.slurm.sandboxes import wait_until
from tests.slurm.studies import Studies

pytestmark = pytest.mark.slurm

SPANS = '''
@datagenerator(output_names="y")
def spans(x):
    """Last until three have begun, and then long enough for a fourth."""
    import time

    begin = time.time()
    Path(f"begun-{x}").touch()
    while len(list(Path().glob("begun-*"))) < 3:
        time.sleep(0.05)
    time.sleep(1)
    Path(f"span-{x}").write_text(f"{begin} {time.time()}")
    return 2 * x


pipeline = Pipeline("spans", steps=[
    Step(create, name="create", kwargs={"n": 9}),
    Step(spans, name="run", parallel=True, resources=SlurmResources(max_concurrent=3, max_array_size=5)),
])
'''


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """Count how many of these overlapped when they were most."""
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, change in steps:
        now += change
        most = max(most, now)
    return most


def test_no_more_tasks_run_at_once_than_the_step_allows(studies):
    """The sandbox has room for all of them; and arrays come one after the other."""
    key = studies.finish(SPANS)
    spans = [tuple(map(float, path.read_text().split())) for path in studies.folder.glob("span-*")]
    assert len(spans) == 9
    assert most_at_once(spans) == 3
    assert [job["n_tasks"] for job in studies.jobs(key, "run")] == [5, 4]


LOOP = """
def alone(project_dir):
    \"""Last until the process that submitted this is done: of two that advance at once, the second ends.\"""
    import contextlib
    import sqlite3
    import time

    with contextlib.closing(sqlite3.connect("orchestrator.db")) as records:
        while records.execute("SELECT lease_host FROM run").fetchone() != (None,):
            time.sleep(0.05)


@datagenerator(output_names="y")
def double_alone(x):
    alone(None)
    return 2 * x


pipeline = Pipeline("loops", steps=[
    Step(create, name="create"),
    Loop(2, steps=[
        Step({call}, name="before"),
        Step({evaluate}, name="run", parallel=True),
    ]),
    Step({call}, name="last"),
])
cluster.wake = "{wake}"
"""


@pytest.mark.parametrize(
    ("wake", "call", "evaluate", "n_orchestrators"),
    [
        ("job", "nothing", "double", range(2, 20)),
        # Steps so short that they may end before the process that submitted them has released the run.
        ("both", "nothing", "double", range(1, 20)),
        # Where each step's job wakes the run itself, one orchestrator job is enough for all its life.
        ("both", "alone", "double_alone", range(1, 2)),
    ],
)
def test_at_most_one_orchestrator_job_waits(studies, wake, call, evaluate, n_orchestrators):
    """Observed all the time, from the first submission to the end."""
    key = studies.submit(LOOP.format(wake=wake, call=call, evaluate=evaluate))
    seen: Counter[int] = Counter()
    waited: set[str] = set()

    def is_over() -> bool:
        names = ("squeue", "--noheader", "--states=PENDING", "--format=%i %j")
        waiting = [line.split()[0] for line in studies.cluster.run(*names).stdout.splitlines() if "orchestr" in line]
        seen[len(waiting)] += 1
        waited.update(waiting)
        return not studies.cluster.jobs_left()

    wait_until(is_over, 120, lambda: studies.story(key))
    studies.wait(key)
    assert max(seen) == 1, seen
    assert len(waited) in n_orchestrators


COUNTING = """#!/bin/sh
echo {name} >> {log}
exec {real} "$@"
"""

MANY = """
pipeline = Pipeline("many", steps=[
    Step(create, name="create", kwargs={"n": 120}),
    Step(double, name="run", parallel=True, resources=SlurmResources(extra_sbatch={"hold": True})),
    Step(nothing, name="last"),
])
"""


class Calls:
    """Programs in front of SLURM's own that count their calls."""

    def __init__(self, studies: Studies, folder: Path) -> None:
        self._log = folder / "calls"
        path = studies.cluster.environment["PATH"]
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            real = shlex.quote(str(shutil.which(name, path=path)))
            (folder / name).write_text(COUNTING.format(name=name, log=shlex.quote(str(self._log)), real=real))
            (folder / name).chmod(0o755)
        studies.variables["PATH"] = f"{folder}:{path}"

    def since_last_asked(self) -> dict[str, int]:
        """Count the calls of each program."""
        names = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return dict(Counter(names))


def submit_many(studies: Studies) -> str:
    """Submit a study, and wait until nothing happens: its array is held, and an orchestrator job waits for that."""
    key = studies.submit(MANY)

    def is_quiet() -> bool:
        return studies.cluster.queue() == [("orchestrator", "PENDING"), ("run", "PENDING")]

    wait_until(is_quiet, 60, lambda: studies.story(key))
    return key


def test_an_advance_calls_squeue_once_and_sacct_at_most_once(studies_with_accounting, tmp_path_factory):
    studies = studies_with_accounting
    key = submit_many(studies)
    calls = Calls(studies, tmp_path_factory.mktemp("bin"))
    studies.orchestrator("advance", key)
    assert calls.since_last_asked() == {"squeue": 1}
    studies.orchestrator("list")
    assert calls.since_last_asked() == {}
    studies.orchestrator("status", key)
    # Whether it asks depends on the time since the last change.
    assert calls.since_last_asked() in ({}, {"squeue": 1})
    studies.orchestrator("status", key, "--refresh")
    assert calls.since_last_asked() == {"squeue": 1}

    # Soon squeue knows none of its jobs any more, and accounting is asked.
    ids = {name.partition("_")[0]: job_id.partition("_")[0] for job_id, name, _ in studies.cluster.squeue()}
    studies.cluster.scancel(ids["orchestrator"], ids["run"])
    wait_until(lambda: not studies.cluster.squeue("--states=all"))
    states = ("sacct", "--noheader", "--allocations", "--jobs", ids["run"], "--format=state")
    wait_until(lambda: all("CANCEL" in line for line in studies.cluster.run(*states).stdout.splitlines()))
    studies.orchestrator("advance", key)
    assert calls.since_last_asked() == {"squeue": 1, "sacct": 1}
    studies.wait(key, code=1)


def test_a_run_is_cancelled_by_one_call(studies, tmp_path_factory):
    key = submit_many(studies)
    calls = Calls(studies, tmp_path_factory.mktemp("bin"))
    studies.orchestrator("cancel", key)
    counted = calls.since_last_asked()
    assert counted.pop("scancel") == 1
    assert set(counted) == {"squeue"}
    assert studies.cluster.jobs_left() == []
