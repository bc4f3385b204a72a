"""The same pipeline gives the same table on a cluster, with and without accounting."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.studies import ROOT, Studies

pytestmark = pytest.mark.slurm

EXAMPLES = ROOT / "docs" / "examples"

ON_CLUSTER = """

from orchestrator import SlurmCluster, SlurmResources

cluster = SlurmCluster()
for element in pipeline.steps:
    for step in getattr(element, "steps", [element]):
        step.resources = SlurmResources(max_jobs_per_task=3)
"""


def same_both_ways(studies: Studies, study: Path) -> str:
    """Run a study here and on the cluster, and compare; return the key of the run on the cluster."""
    key = studies.submit(name=study.name)
    studies.orchestrator("run", study.name, "--project-job", "local")
    studies.wait(key, seconds=240)
    assert studies.files(key) == studies.files("local")
    return key


@pytest.mark.parametrize("site", ["studies", "studies_with_accounting"])
def test_the_quickstart_gives_the_same_table(request, site):
    studies = request.getfixturevalue(site)
    study = studies.write("\ncluster = SlurmCluster()", head=(EXAMPLES / "quickstart.py").read_text())
    study.write_text(study.read_text().replace("    Step,\n", "    SlurmCluster,\n    Step,\n"))

    key = same_both_ways(studies, study)

    steps = studies.step_runs(key)
    assert [(name, step["state"], step["n_finished"]) for name, step in steps.items()] == [
        ("create", "succeeded", 0),
        ("evaluate", "succeeded", 40),
        ("collect", "succeeded", 0),
        ("report", "succeeded", 0),
    ]
    assert [job["n_tasks"] for job in studies.jobs(key, "evaluate")] == [40]
    assert "best of 40 experiments" in studies.orchestrator("logs", key, "report").stdout


@pytest.mark.parametrize("site", ["studies", "studies_with_accounting"])
def test_the_digits_study_gives_the_same_table(request, site):
    studies = request.getfixturevalue(site)
    study = studies.write(ON_CLUSTER, name="digits.py", head=(EXAMPLES / "digits_svm.py").read_text())

    key = same_both_ways(studies, study)

    assert (studies.folder / key / "best.json").read_text() == (studies.folder / "local" / "best.json").read_text()
    rounds = [[f"{step}@{i}" for step in ("narrow", "evaluate", "collect")] for i in range(2)]
    steps = ["create", "evaluate", "collect", *rounds[0], *rounds[1], "report"]
    assert studies.states(key) == dict.fromkeys(steps, "succeeded")
    assert [job["n_tasks"] for job in studies.jobs(key, "evaluate@1")] == [6]
