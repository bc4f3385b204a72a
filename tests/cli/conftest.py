"""The command line in a process of its own, in a workspace with a few studies."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STUDIES = {
    "study.py": """
from orchestrator import Pipeline, Step
def nothing(project_dir):
    print("nothing happens")
pipeline = Pipeline("quiet", [Step(nothing)])
""",
    "other.py": """
from orchestrator import Pipeline, Step
def something(project_dir):
    pass
pipeline = Pipeline("other", [Step(something)])
""",
    "two_names.py": """
from orchestrator import Pipeline, Step
def nothing(project_dir):
    pass
pipeline = Pipeline("twice", [Step(nothing), Step(nothing)])
""",
    "broken.py": "1 / 0\n",
    "fails.py": """
from orchestrator import Pipeline, Step
def fails(project_dir):
    raise ValueError("no licence")
pipeline = Pipeline("failing", [Step(fails)])
""",
    "batch.py": """
from orchestrator import Domain, ExperimentData, Loop, Pipeline, Step, datagenerator
def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=10.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(i)} for i in range(10)]).store(project_dir)
@datagenerator(output_names="y")
def evaluate(x):
    if x == 3:
        print("three comes")
        raise ValueError("three is not welcome")
    return x
def look(project_dir, iteration):
    print("look", iteration)
pipeline = Pipeline("batch", [Step(create), Step(evaluate, parallel=True), Loop(3, [Step(look)])])
""",
}


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Call it with arguments, as a shell would."""

    workspace: Path
    before: tuple[str, ...] = ()

    def __call__(self, *arguments: str, **environment: str) -> Outcome:
        done = subprocess.run(
            [*self.before, sys.executable, "-m", "orchestrator.cli.main", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cli(workspace):
    for name, text in STUDIES.items():
        (workspace / name).write_text(text.lstrip())
    return Cli(workspace)
