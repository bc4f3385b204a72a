"""The same pipeline gives the same table on a cluster, with and without accounting."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.slurm.studies import ROOT, Studies

pytestmark = pytest.mark.slurm

EXAMPLES = ROOT / "docs" / "examples"

ON_CLUSTER = """

from orchestrator import SlurmCluster, SlurmResources

cluster = SlurmCluster()
for element in pipeline.steps:
    for step in getattr(element, "steps", [element]):
        step.resources = SlurmResources(max_jobs_per_task=4)
"""


Files = dict[str, Any]


def changed(name: str, changes: dict[str, str]) -> str:
    """Return the text of an example that was made shorter."""
    text = (EXAMPLES / name).read_text()
    for before, after in changes.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text


def files(studies: Studies, key: str) -> Files:
    """Return what a run leaves: its table, and the best model if there is one."""
    best = studies.folder / key / "best.json"
    return studies.files(key) | ({best.name: best.read_text()} if best.exists() else {})


@pytest.mark.parametrize("site", ["studies", "studies_with_accounting"])
def test_the_quickstart_gives_the_same_table(request, site):
    studies = request.getfixturevalue(site)
    study = studies.write("\ncluster = SlurmCluster()", head=(EXAMPLES / "quickstart.py").read_text())
    study.write_text(study.read_text().replace("    Step,\n", "    SlurmCluster,\n    Step,\n"))

    key = studies.submit(name=study.name)
    studies.orchestrator("run", study.name, "--project-job", "local")
    studies.wait(key, seconds=240)

    assert files(studies, key) == files(studies, "local")
    steps = studies.step_runs(key)
    assert [(name, step["state"], step["n_finished"]) for name, step in steps.items()] == [
        ("create", "succeeded", 0),
        ("evaluate", "succeeded", 40),
        ("collect", "succeeded", 0),
        ("report", "succeeded", 0),
    ]
    assert [job["n_tasks"] for job in studies.jobs(key, "evaluate")] == [40]
    assert "best of 40 experiments" in studies.orchestrator("logs", key, "report").stdout


def test_the_digits_study_gives_the_same_table(studies_with_accounting):
    studies = studies_with_accounting
    head = changed(
        "digits_svm.py",
        # Five of the ten digits.
        {"SAMPLES_PER_ROUND = 16": "SAMPLES_PER_ROUND = 6", "return_X_y=True": "return_X_y=True, n_class=5"},
    )
    study = studies.write(ON_CLUSTER, name="digits.py", head=head)

    key = studies.submit(name=study.name)
    studies.orchestrator("run", study.name, "--project-job", "here_digits")
    studies.wait(key, seconds=240)

    here = files(studies, "here_digits")
    assert files(studies, key) == here
    assert json.loads(here["best.json"])["evaluations"] == 18
    rounds = [[f"{step}@{i}" for step in ("propose", "evaluate", "collect")] for i in range(2)]
    steps = ["create", "evaluate", "collect", *rounds[0], *rounds[1], "report"]
    assert studies.states(key) == dict.fromkeys(steps, "succeeded")
    assert [job["n_tasks"] for job in studies.jobs(key, "evaluate@1")] == [2]


STUDIES = [
    # Name, what is changed so that it is short, and the numbers of experiments: all, and those that failed.
    ("tumours_optuna.py", {"n_iterations=12": "n_iterations=2"}, 16, 5),
    pytest.param(
        "plate_calculix.py",
        {"n_iterations=8": "n_iterations=1", "FIRST = 12": "FIRST = 6"},
        10,
        1,
        marks=pytest.mark.skipif(shutil.which("ccx") is None, reason="needs CalculiX: apt-get install calculix-ccx"),
    ),
    ("supercompressible.py", {}, 24, 6),
]


@pytest.mark.parametrize(("name", "changes", "n", "n_failed"), STUDIES)
def test_a_study_with_failures_gives_the_same_table(studies, name, changes, n, n_failed):
    text = changed(name, changes)
    for template in EXAMPLES.glob("*.jinja"):
        shutil.copy(template, studies.folder)
    study = studies.write(ON_CLUSTER, name=name, head=text)

    key = studies.submit(name=study.name)
    studies.orchestrator("run", study.name, "--project-job", f"here_{study.stem}", code=3)
    studies.wait(key, code=3, seconds=240)

    assert files(studies, key) == files(studies, f"here_{study.stem}")
    states = [status.name for status in studies.data(key).statuses()]
    assert (len(states), states.count("ERROR")) == (n, n_failed)
    assert len(list((studies.folder / key).glob("*.png"))) == 1
    if name == "plate_calculix.py":
        # On the nodes, too, the folders of failed experiments are kept, and only these.
        kept = [int(path.name) for path in (studies.folder / key).glob("scratch/*/*")]
        assert kept == [row for row, state in enumerate(states) if state == "ERROR"]
