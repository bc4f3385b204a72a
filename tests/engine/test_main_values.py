"""What a worker finds of values that a script changes before it runs its pipeline, and of code without a file."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator import ExperimentData

pytestmark = pytest.mark.slow

STUDY = """
import pickle
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator

FACTOR = 1
SETTINGS = {"offset": 0.0}
UNCHANGED = [1.0]

class Model:
    def __init__(self, value):
        self.value = value

def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=9.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": 1.0}, {"x": 2.0}]).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x):
    return pickle.loads(pickle.dumps(Model(x))).value * FACTOR + SETTINGS["offset"] + UNCHANGED[0]

pipeline = Pipeline("study", [Step(create), Step(evaluate, name="evaluate", parallel=True)])
if __name__ == "__main__":
    FACTOR = 3
    SETTINGS["offset"] = 100.0
    pipeline.run(project_job="r")
"""


def outputs_of(tmp_path, *command, **options):
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return ExperimentData.from_file(tmp_path / "r").to_pandas()[1]["y"].tolist()


def test_a_worker_uses_the_values_that_the_main_guard_has_set_and_changed(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    assert outputs_of(tmp_path, "study.py") == [104.0, 107.0]


def test_a_worker_uses_objects_that_the_main_guard_has_changed(tmp_path):
    """By an attribute, an item or a method; itself, or in a function that it calls."""
    study = STUDY.replace(
        "FACTOR = 1\n",
        "from types import SimpleNamespace\nconfig = SimpleNamespace(factor=1)\nmore, parts = dict(a=0.0), list()\n"
        "def configure(value):\n    more['a'] += value\n",
    )
    study = study.replace("* FACTOR", "* config.factor + more['a'] + len(parts)")
    study = study.replace("    FACTOR = 3\n", "    config.factor = 3\n    parts.append(1)\n    configure(1000.0)\n")
    (tmp_path / "study.py").write_text(study)
    assert outputs_of(tmp_path, "study.py") == [1105.0, 1108.0]


def test_a_study_on_standard_input_can_pickle_its_objects_in_a_worker(tmp_path):
    assert outputs_of(tmp_path, "-", input=STUDY) == [104.0, 107.0]


def test_a_study_on_the_command_line_can_pickle_its_objects_in_a_worker(tmp_path):
    assert outputs_of(tmp_path, "-c", STUDY) == [104.0, 107.0]


def test_a_resume_in_another_folder_continues_in_the_folder_of_the_run(tmp_path):
    study = STUDY.replace("import pickle", "import os, pickle").replace(
        "    return pickle",
        "    if not os.path.exists('fixed'):\n        raise ValueError('not fixed')\n    return pickle",
    )
    (tmp_path / "study.py").write_text(study)
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "orchestrator"]
    assert subprocess.run([*command, "run", "study.py", "--project-job", "r"], cwd=tmp_path).returncode == 1
    (tmp_path / "fixed").touch()
    resume = [*command, "resume", "r", "--rootdir", ".."]
    assert subprocess.run(resume, cwd=tmp_path / "elsewhere").returncode == 0
    assert ExperimentData.from_file(tmp_path / "r").to_pandas()[1]["y"].tolist() == [2.0, 3.0]
