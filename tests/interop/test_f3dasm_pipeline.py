"""A pipeline written for f3dasm runs here after its imports are changed, and ends with the same table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import ExperimentData

pytestmark = [pytest.mark.acceptance, pytest.mark.interop, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]

THEIRS = """
from f3dasm import Block, ExperimentData, datagenerator
from f3dasm.design import Domain
from f3dasm.pipeline import CollectArrayResults, Loop, Pipeline, SlurmResources, Step
"""
OURS = """
from orchestrator import Block, CollectArrayResults, Domain, ExperimentData, Loop, Pipeline
from orchestrator import SlurmResources, Step, datagenerator
"""
STUDY = """
def create(project_dir, **kwargs):
    domain = Domain()
    domain.add_float("x", low=-2.0, high=2.0)
    domain.add_category("sign", ["plus", "minus"])
    domain.add_output("y")
    rows = [{"x": i / 10, "sign": "plus" if i % 2 else "minus"} for i in range(8)]
    ExperimentData(domain=domain, input_data=rows, project_dir=project_dir).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x, sign, scale=1.0):
    return scale * (x + 1) ** 2 * (1 if sign == "plus" else -1)

class Add(Block):
    def call(self, data, n, **kwargs):
        best = min(float(sample.output_data["y"]) for _, sample in data)
        new = ExperimentData(domain=data.domain, input_data=[{"x": best + i, "sign": "plus"} for i in range(n)])
        return data + new

pipeline = Pipeline(
    name="both",
    steps=[
        Step(block=create, name="create"),
        Step(block=evaluate, name="evaluate", parallel=True, kwargs={"scale": 3.0},
             resources=SlurmResources(time="00:10:00", mem="1G")),
        Step(block=CollectArrayResults(), name="collect"),
        Loop(n_iterations=2, steps=[
            Step(block=Add(), name="add", kwargs={"n": 3}),
            Step(block=evaluate, name="again", parallel=True, dependency="afterany"),
            Step(block=CollectArrayResults(cleanup=True), name="collect"),
        ]),
    ],
)
if __name__ == "__main__":
    pipeline.run(mode="local", project_job="r")
"""


def rows(folder):
    data = ExperimentData.from_file(folder)
    inputs, outputs = data.input_rows(), data.output_rows()
    return [(inputs(place), outputs(place), data.statuses()[place].name) for place in range(len(data))]


def run_both(tmp_path, f3dasm_python, theirs, ours):
    """Run a study on f3dasm, and its port here; return the folders of both."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs/study.py").write_text(theirs)
    (tmp_path / "ours/study.py").write_text(ours)
    hidden = ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE")
    plain = {key: value for key, value in os.environ.items() if key not in hidden}
    for python, folder, environment in (
        (str(f3dasm_python), "theirs", plain),
        (sys.executable, "ours", {**plain, "PYTHONPATH": str(ROOT)}),
    ):
        done = subprocess.run(
            [python, "study.py"], cwd=tmp_path / folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return tmp_path / "theirs/r", tmp_path / "ours/r"


def test_the_same_pipeline_gives_the_same_table(tmp_path, f3dasm_python):
    theirs, ours = map(rows, run_both(tmp_path, f3dasm_python, THEIRS + STUDY, OURS + STUDY))
    assert len(ours) == 14
    assert ours == theirs


def test_the_study_of_metamaterials_runs_here_by_a_change_of_its_imports(tmp_path, f3dasm_python):
    port = (ROOT / "docs" / "examples" / "supercompressible.py").read_text()
    port = port.replace('pipeline.run(mode="local")', 'pipeline.run(mode="local", project_job="r")')
    original, n = re.subn(r"^from orchestrator(?=[. ])", "from f3dasm", port, flags=re.MULTILINE)
    assert n == 2
    folders = run_both(tmp_path, f3dasm_python, original, port)
    theirs, ours = map(rows, folders)
    assert len(ours) == 24
    assert {status for *_, status in ours} == {"FINISHED", "ERROR"}
    assert [(inputs, plain(outputs), status) for inputs, outputs, status in ours] == [
        (inputs, plain(outputs), status) for inputs, outputs, status in theirs
    ]
    curves = [sorted(path.name for path in (folder / "experiment_data" / "curve").iterdir()) for folder in folders]
    assert curves[0] == curves[1]
    assert all((folder / "columns.png").stat().st_size > 10_000 for folder in folders)


def plain(outputs):
    """Return the numbers among outputs: the others are references to files."""
    return {name: value for name, value in outputs.items() if isinstance(value, int | float)}
