"""`status` counts the experiments of arrays while they run: also packed ones, several batches, and a second attempt."""

from __future__ import annotations

import json

import pytest

from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slurm

STUDY = """
@datagenerator(output_names="y")
def evaluate(x):
    while x == 5.0 and not Path("go").exists():
        time.sleep(0.05)
    if x == 11.0 and not Path("died").exists():
        Path("died").touch()
        die()
    if x % 3 == 1:
        raise ValueError("bad licence")
    return x * x


R = SlurmResources(max_array_size=3, max_jobs_per_task={per_task})
pipeline = Pipeline("live", steps=[
    Step(create, name="create", kwargs={{"n": 12}}),
    Step(evaluate, name="run", parallel=True, resources=R, retries=1, max_failed=1.0, abort_early=False),
])
"""


@pytest.mark.parametrize(
    ("per_task", "counts"),
    [
        # Batch 0 has the rows 0, 1, 2; batch 1 has 3, 4, 5, of which 5 waits; 6 to 11 have not been submitted.
        (1, (3, 2, 1, 6)),
        # Three tasks with every third row: task 0 has finished, all of task 1 have failed, task 2 is at row 5.
        (4, (5, 4, 1, 2)),
    ],
)
def test_arrays_are_counted_while_they_run(studies, per_task, counts):
    key = studies.submit(STUDY.format(per_task=per_task))
    names = [f"n_{what}" for what in ("finished", "failed", "running", "waiting")]
    seen = []

    def is_so():
        now = studies.status(key)["now"]
        seen.append(now and tuple(now[name] for name in names))
        return seen[-1] == counts

    wait_until(is_so, explain=lambda: f"there were {seen[-5:]}")
    status = studies.status(key)
    [run] = json.loads(studies.orchestrator("list", "--json").stdout)
    assert tuple(run[name] for name in names) == counts
    # What has been recorded and what has not are one failure.
    [failure] = [failure for failure in status["failures"] if failure["what"] == "experiments failed"]
    assert (failure["why"], failure["n"]) == ("ValueError: bad licence", counts[1])
    assert failure["inputs"] in ({"x": 1.0}, {"x": 4.0})
    (studies.folder / "go").touch()
    studies.wait(key, code=3)
    # A task has died, and its second attempt has evaluated what was left.
    status = studies.status(key)
    run, steps = status["run"], status["steps"]
    assert tuple(run[name] for name in names) == (8, 4, 0, 0)
    # A run and its steps say how long they only waited.
    assert 0 < run["queue_seconds"] < run["seconds"]
    assert run["queue_seconds"] == pytest.approx(sum(step["queue_seconds"] for step in steps))
    assert all(step["queue_seconds"] < step["seconds"] for step in steps)
