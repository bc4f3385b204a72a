"""What a run on a cluster has used, by its tasks and by SLURM's accounting, and its report."""

from __future__ import annotations

import json

import pytest

from tests.slurm.sandboxes import wait_until

pytestmark = pytest.mark.slurm

LARGE = """
import time

@datagenerator(output_names="y")
def evaluate(x):
    large = b"x" * (200 * 1024 ** 2)
    time.sleep(3)  # SLURM measures once a second
    return len(large)


cluster = SlurmCluster(grace=2)
pipeline = Pipeline("large", steps=[
    Step(create, name="create", kwargs={"n": 2}),
    Step(evaluate, name="run", parallel=True, resources=SlurmResources(mem="1G", time="01:00:00")),
])
"""


def test_the_memory_of_a_run_is_that_of_accounting_too(studies_with_accounting):
    studies = studies_with_accounting
    key = studies.finish(LARGE)

    def efficiency():
        return json.loads(studies.orchestrator("efficiency", key, "--json").stdout)

    # Accounting is late.
    wait_until(lambda: efficiency()["source"] == "sacct")
    run = {step["step"]: step for step in efficiency()["steps"]}["run"]
    assert (run["n_tasks"], run["memory_requested"], run["seconds_requested"]) == (2, 1024, 3600)
    assert 200 < run["memory"] < 500
    assert run["resources"] == {"mem": "512M", "time": "00:05:00"}

    studies.orchestrator("report", key, "-o", "report.html")
    assert "SlurmResources(mem=" in (studies.folder / "report.html").read_text(encoding="utf-8")


def test_without_accounting_the_tasks_say_what_they_used(studies):
    key = studies.finish(LARGE)
    found = json.loads(studies.orchestrator("efficiency", key, "--json").stdout)
    assert found["source"] == "tasks"
    assert found["steps"][1]["memory"] > 200
    for step in found["steps"]:
        median, longest = step["queue_seconds"]
        assert 0 <= median <= longest < 600
    assert "WAITED IN THE QUEUE" in studies.orchestrator("efficiency", key).stdout
