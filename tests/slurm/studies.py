"""Studies in a workspace on a running cluster: written, submitted by a process of their own, and waited for."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import ExperimentData
from orchestrator.db.status import run_status
from tests.slurm.sandboxes import Sandbox, wait_until

ROOT = Path(__file__).resolve().parents[2]

HEAD = '''\
import os
import signal
import time
from pathlib import Path

from orchestrator import *

cluster = SlurmCluster(grace=2)


def rows(first, n):
    """Return a table of open experiments x = first, first + 1, ..."""
    domain = Domain()
    domain.add_float("x", low=0.0, high=1e6)
    domain.add_output("y")
    return ExperimentData(domain=domain, input_data=[{"x": float(first + i)} for i in range(n)])


def create(project_dir, n=3):
    rows(0, n).store(project_dir)


@datagenerator(output_names="y")
def double(x):
    return 2 * x


def nothing(project_dir):
    pass


def fail(project_dir):
    raise ValueError("this step can't work")


def die():
    """End the whole task: the process that evaluates, and its worker, which would blame the experiment."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


'''
"""The start of every study here."""


class Studies:
    """A workspace, and the commands that a user types there."""

    def __init__(self, folder: Path, cluster: Sandbox) -> None:
        self.folder = folder
        self.cluster = cluster
        self.variables: dict[str, str] = {"PYTHONPATH": str(ROOT)}

    def write(self, body: str, name: str = "study.py", head: str = HEAD) -> Path:
        """Write a study."""
        path = self.folder / name
        path.write_text(head + textwrap.dedent(body))
        return path

    def run(self, *command: object, code: int | None = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Type a command on the login node; it must end with this exit code."""
        words = [str(word) for word in command]
        environment = self.cluster.environment | self.variables
        done = subprocess.run(
            words, cwd=cwd or self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert code in (None, done.returncode), f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def orchestrator(self, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
        """Type a command of ours."""
        return self.run(sys.executable, "-m", "orchestrator", *words, **more)

    def submit(
        self, body: str | None = None, *options: object, name: str = "study.py", attr: str = "pipeline", **more: Any
    ) -> str:
        """Submit a study, or one that is there already; return the run's key."""
        path = self.folder / name if body is None else self.write(body, name)
        done = self.orchestrator("submit", f"{path.name}:{attr}", *options, **more)
        return Path(done.stdout.splitlines()[0]).name

    def wait(self, key: str, code: int = 0, seconds: float = 120) -> str:
        """Wait until a run has ended with this exit code; return what was printed."""
        done = self.orchestrator("wait", key, "--timeout", seconds, code=None)
        assert done.returncode == code, f"ended with {done.returncode}: {done.stdout}{done.stderr}{self.story(key)}"
        if code in (0, 1, 3, 4):
            # The process that ended the run still cancels the waiting orchestrator job; after a kill its lease remains.
            wait_until(lambda: not self._is_held(key) or not self.cluster.jobs_left())
        return done.stdout + done.stderr

    def _is_held(self, key: str) -> bool:
        return run_status(self.folder / "orchestrator.db", key, time.time()).run.holder is not None

    def finish(self, body: str, *options: object, code: int = 0, **more: Any) -> str:
        """Submit a study and wait for its end; return the run's key."""
        key = self.submit(body, *options, **more)
        self.wait(key, code)
        return key

    def status(self, key: str) -> dict[str, Any]:
        """Return all that is known of a run."""
        found: dict[str, Any] = json.loads(self.orchestrator("status", key, "--json").stdout)
        return found

    def step_runs(self, key: str) -> dict[str, dict[str, Any]]:
        """Return what counts of a run's steps, by address."""
        return {each["address"]: each for each in self.status(key)["step_runs"] if each["withdrawn_at"] is None}

    def states(self, key: str) -> dict[str, str]:
        """Return the state of each step of a run."""
        return {address: each["state"] for address, each in self.step_runs(key).items()}

    def jobs(self, key: str, address: str) -> list[Mapping[str, Any]]:
        """Return the jobs that a step has had."""
        jobs: list[Mapping[str, Any]] = self.step_runs(key)[address]["jobs"]
        return jobs

    def data(self, key: str) -> ExperimentData:
        """Return a run's table."""
        return ExperimentData.from_file(self.folder / key)

    def outputs(self, key: str) -> list[float]:
        """Return the table's one output."""
        column: list[float] = self.data(key).to_pandas()[1].iloc[:, 0].tolist()
        return column

    def files(self, key: str) -> dict[str, Any]:
        """Return the files of a run's table, but for which job wrote them."""
        folder = self.folder / key / "experiment_data"
        domain = json.loads((folder / "domain.json").read_text())
        domain.pop("stored_by", None)
        return {"domain": domain, **{path.name: path.read_text() for path in folder.glob("*.csv")}}

    def story(self, key: str) -> str:
        """Return all about a run, to explain why it did not end as expected."""
        log = self.folder / "logs" / key / "orchestrator.log"
        printed = log.read_text() if log.exists() else "only the process that submitted it has advanced it"
        return f"\n{self.orchestrator('status', key).stdout}\n{printed}\n{self.cluster.scontrol('show', 'job')}"
