"""A search in a pipeline, with a loop and a parallel step: killed and resumed, it evaluates the same experiments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from orchestrator import ExperimentData
from orchestrator.errors import OrchestratorError

NEEDS_OPTUNA = pytest.mark.skipif(find_spec("optuna") is None, reason="Optuna is not installed; scripts/test does it")

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
import sys, time
from pathlib import Path
from orchestrator import *

def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=-2.0, high=2.0)
    domain.add_float("z", low=-2.0, high=2.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": -1.5, "z": 1.0}]).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x, z):
    time.sleep(0.05)
    return (x - 1) ** 2 + 10 * (z + 0.5) ** 2 + (x * z) ** 2

options = {"n_samples": 2} if sys.argv[1] == "tpesampler" else {}
optimizer = create_optimizer(sys.argv[1], output_name="y", **options)
search = [Step(evaluate, name="evaluate", parallel=True), Step(optimizer, name="propose")]

if __name__ == "__main__":
    Pipeline("search", [Step(create), Loop(5, search)]).run(project_job="r", jobs=2)
"""


def start(folder, name):
    folder.mkdir(exist_ok=True)
    (folder / "study.py").write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "study.py", name]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def n_rows(folder):
    try:
        return len(ExperimentData.from_file(folder / "r"))
    except (OSError, OrchestratorError):
        return 0  # there is no table yet


@pytest.mark.acceptance
@pytest.mark.parametrize("name", [pytest.param("tpesampler", marks=NEEDS_OPTUNA), "cg", "lbfgsb", "nelder_mead"])
def test_a_search_that_is_killed_and_resumed_evaluates_the_same_experiments(workspace, name):
    undisturbed = start(workspace / "undisturbed", name)
    killed = workspace / "killed"
    process = start(killed, name)
    while n_rows(killed) < 4 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    last = start(killed, name)
    for process in (undisturbed, last):
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed.decode()
    tables = [ExperimentData.from_file(workspace / folder / "r").to_pandas() for folder in ("undisturbed", "killed")]
    assert len(tables[0][0]) >= 6
    for undisturbed_part, killed_part in zip(*tables, strict=True):
        assert killed_part.equals(undisturbed_part)
