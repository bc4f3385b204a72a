"""The command line in a process of its own, in a workspace with a few studies."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from programs import Programs

from orchestrator.cli.main import main
from tests.isolation import as_in_a_process_of_its_own
from tests.users import has_two_mounts, two_views

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
    "slurm.py": """
from orchestrator import Pipeline, SlurmCluster, Step
def nothing(project_dir):
    print("nothing happens")
pipeline = Pipeline("quiet", [Step(nothing)])
cluster = SlurmCluster(partition=None, account=None, grace=1)
""",
    "batch.py": """
from orchestrator import Loop, Pipeline, Step, datagenerator
from tests.studies import store_numbers
@datagenerator(output_names="y")
def evaluate(x):
    if x == 3:
        print("three comes")
        raise ValueError("three is not welcome")
    return x
def look(project_dir, iteration):
    print("look", iteration)
pipeline = Pipeline("batch", [Step(store_numbers(10)), Step(evaluate, parallel=True), Loop(3, [Step(look)])])
""",
}


@dataclass
class Outcome:
    """The outcome of a command on a real run, whose times vary."""

    exact = False
    command: str
    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Call the command with arguments, in a process of its own."""

    workspace: Path
    before: tuple[str, ...] = ()

    def __call__(self, *arguments: str, **environment: str) -> Outcome:
        done = self.python("-m", "orchestrator.cli.main", *arguments, **environment)
        return replace(done, command=shlex.join(["orchestrator", *arguments]))

    def python(self, *arguments: str, **environment: str) -> Outcome:
        done = subprocess.run(
            [*self.before, sys.executable, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        return Outcome(shlex.join(["python", *arguments]), done.returncode, done.stdout, done.stderr)


@pytest.fixture
def workspace(request, workspace, monkeypatch):
    """Make the folder of other tests, too, the current one; with a parameter, one on that file system."""
    if not hasattr(request, "param"):
        yield workspace
        return
    if request.param == "two mounts" and not has_two_mounts():
        pytest.skip("needs root, bindfs and /dev/fuse")
    with two_views(request.param) as (folder, _), monkeypatch.context() as there:
        there.chdir(folder)
        yield folder


@pytest.fixture
def cli(workspace):
    for name, text in STUDIES.items():
        (workspace / name).write_text(text.lstrip())
    return Cli(workspace)


class InThisProcess(Cli):
    """Calls the command in this process: many tests need no process of their own, and this is faster."""

    capsys: pytest.CaptureFixture
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments):
        self.monkeypatch.setattr("sys.argv", ["orchestrator", *arguments])
        with as_in_a_process_of_its_own(), pytest.raises(SystemExit) as ended:
            main()
        return Outcome(shlex.join(["orchestrator", *arguments]), ended.value.code, *self.capsys.readouterr())


@pytest.fixture
def here(cli, capsys, monkeypatch):
    """Call the command line in this process."""
    here = InThisProcess(cli.workspace)
    here.capsys, here.monkeypatch = capsys, monkeypatch
    return here


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Replace SLURM's programs; a program exists only after a test has set its output."""
    programs = Programs(tmp_path / "programs")
    monkeypatch.setenv("PATH", programs.path)
    return programs
