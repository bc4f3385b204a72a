"""Which code runs in a job, and what it loads: generators of all kinds, packages, runners, configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import uv

pytestmark = pytest.mark.slurm

LIGHT = '''
import sys
from pathlib import Path

from orchestrator import DataGenerator, Pipeline, SlurmCluster, SlurmResources, Step, datagenerator

cluster = SlurmCluster(grace=2)
HEAVY = ("pandas", "orchestrator.data.experiment_data")


def loaded():
    """Return what is expensive and yet in the task's process."""
    return " ".join(name for name in HEAVY if name in sys.modules)


def create(project_dir):
    from orchestrator import Domain, ExperimentData

    domain = Domain()
    domain.add_float("x", low=0.0, high=1e6)
    for name in ("loaded", "y"):
        domain.add_output(name)
    ExperimentData(domain=domain, input_data=[{"x": float(x)} for x in range(5)]).store(project_dir)


def pipeline_of(generator):
    return Pipeline("light", steps=[
        Step(create, name="create"),
        Step(generator, name="run", parallel=True, resources=SlurmResources(max_jobs_per_task=2)),
    ])


@datagenerator(output_names=["loaded", "y"])
def function(x):
    return loaded(), 2 * x


class Plain(DataGenerator):
    def execute(self, experiment_sample):
        experiment_sample.store("loaded", loaded())
        experiment_sample.store("y", 2 * experiment_sample.input_data["x"])
        return experiment_sample


class Armed(Plain):
    """Its value is relative to the whole table."""

    def arm(self, data):
        values = [sample.input_data["x"] for _, sample in data]
        self.mean = sum(values) / len(values)

    def execute(self, experiment_sample):
        super().execute(experiment_sample)
        experiment_sample.store("y", experiment_sample.input_data["x"] - self.mean)
        return experiment_sample


class Called(Plain):
    """Evaluates at once all that it gets: its value is how many those are."""

    def call(self, data, **kwargs):
        result = data.copy()
        for label, sample in data:
            sample = self.execute(sample)
            sample.store("y", len(data))
            sample.mark("finished")
            result.store_experimentsample(sample, label)
        return result


plain_function = pipeline_of(function)
plain = pipeline_of(Plain())
armed = pipeline_of(Armed())
called = pipeline_of(Called())
'''


@pytest.mark.parametrize(
    ("attr", "has_table", "values"),
    [
        ("plain_function", False, [0, 2, 4, 6, 8]),
        ("plain", False, [0, 2, 4, 6, 8]),
        ("armed", True, [-2, -1, 0, 1, 2]),
        ("called", True, [2, 2, 1, 2, 2]),
    ],
)
def test_a_task_loads_the_table_only_for_a_generator_that_needs_it(studies, attr, has_table, values):
    studies.write("", head=LIGHT)
    key = studies.submit(name="study.py", attr=attr)
    studies.wait(key)
    outputs = studies.data(key).to_pandas()[1]
    assert outputs["y"].tolist() == values
    assert outputs["loaded"].tolist() == ["orchestrator.data.experiment_data" if has_table else ""] * 5


INSTALLED = """
import models
from models.physics import Model

cluster = SlurmCluster(grace=2)
pipeline = Pipeline("installed", steps=[
    Step(create, name="create"),
    Step(Model(factor=3), name="run", parallel=True),
    Step(models.report, name="report", kwargs={"name": "reported"}),
])
"""


def test_a_study_uses_an_installed_package(studies, tmp_path_factory):
    """It is where Python finds it, not beside the study, and is loaded by name, not copied."""
    packages = tmp_path_factory.mktemp("site-packages")
    (packages / "models").mkdir()
    (packages / "models" / "__init__.py").write_text(
        "def report(project_dir, name):\n    (project_dir / name).write_text(__file__)\n"
    )
    (packages / "models" / "physics.py").write_text(
        "from orchestrator import DataGenerator\n"
        "class Model(DataGenerator):\n"
        "    def __init__(self, factor):\n"
        "        self.factor = factor\n"
        "    def execute(self, experiment_sample):\n"
        "        experiment_sample.store('y', self.factor * experiment_sample.input_data['x'])\n"
        "        return experiment_sample\n"
    )
    studies.variables["PYTHONPATH"] += f":{packages}"
    key = studies.finish(INSTALLED)
    assert studies.outputs(key) == [0, 3, 6]
    assert Path((studies.folder / key / "reported").read_text()) == packages / "models" / "__init__.py"


YAML = """
enabled: true
partition: batch
account: null
grace: 2.0
log_dir: runlogs/{project_job}
env_setup:
  - export FROM_SETUP=set
runner: ${oc.env:PYTHON_OF_STUDY}
env_vars:
  GREETING: hello ${oc.env:WHOM}
  RECEIVED: $FROM_SETUP
"""

READS_YAML = """
cluster = SlurmCluster.from_yaml("cluster.yaml")


def note(project_dir):
    (project_dir / "noted").write_text(os.environ["GREETING"] + ", " + os.environ["RECEIVED"])


pipeline = Pipeline("yaml", steps=[Step(note, name="note")])
"""


def test_a_cluster_can_be_described_in_a_file(studies):
    """What it fills in is that of the submission."""
    (studies.folder / "cluster.yaml").write_text(YAML)
    studies.variables |= {"WHOM": "world", "PYTHON_OF_STUDY": sys.executable}
    key = studies.finish(READS_YAML)
    assert (studies.folder / key / "noted").read_text() == "hello world, set"
    assert (studies.folder / "runlogs" / key / "orchestrator.log").exists()


UV_PROJECT = """
[project]
name = "study"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["slurm-orchestrator"]
"""

UV = """
cluster = SlurmCluster(grace=2, runner="uv run")


def note(project_dir):
    (project_dir / "noted").write_text(os.environ.get("UV", "") + "|" + os.environ.get("VIRTUAL_ENV", ""))


pipeline = Pipeline("uv", steps=[
    Step(create, name="create"),
    Step(double, name="run", parallel=True),
    Step(note, name="note"),
])
"""


def test_uv_runs_every_job(studies):
    """In a project whose environment exists already: no job installs packages."""
    program, environment = Path(uv.find_uv_bin()), sys.prefix
    (studies.folder / "pyproject.toml").write_text(UV_PROJECT)
    studies.variables |= {
        "PATH": f"{program.parent}{os.pathsep}{studies.cluster.environment['PATH']}",
        "UV_NO_SYNC": "1",
        "UV_OFFLINE": "1",
        "UV_PROJECT_ENVIRONMENT": environment,
    }
    path = studies.write(UV)
    done = studies.run("uv", "run", "orchestrator", "submit", path.name)
    key = Path(done.stdout.splitlines()[0]).name
    studies.wait(key)
    assert studies.outputs(key) == [0, 2, 4]
    assert (studies.folder / key / "noted").read_text() == f"{program}|{environment}"
