"""A running throwaway cluster, as an object for tests."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.temporary import short_root

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm-sandbox"
Job = tuple[str, str, str]
PREEMPTS = [
    "PreemptType=preempt/partition_prio",
    "PreemptMode=REQUEUE",
    "PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1",
    "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2",
]
"""Lines of slurm.conf with which jobs of the partition `urgent` take the place of others."""


def slurm_sandbox(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Call the script; any exit code is accepted."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Sandbox:
    """A running cluster: its folder, the environment of programs that use it, and its commands."""

    def __init__(self, folder: Path, exports: dict[str, str]) -> None:
        self.folder = folder
        self._exports = exports

    @property
    def environment(self) -> dict[str, str]:
        """The test's environment of this moment, pointed at this cluster and at no other.

        Without a width, sentences are not wrapped: where a line breaks would depend on the folder of the test.
        """
        others = ("SLURM_", "SBATCH_", "COLUMNS")
        mine = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        return mine | self._exports

    def run(self, *command: object, check: bool = True, **more) -> subprocess.CompletedProcess[str]:
        """Run a program that uses the cluster; with `check`, show its output if it fails."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False, **more)
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def sbatch(self, *arguments: object, **more) -> str:
        """Submit; return the job's id."""
        return self.run("sbatch", "--parsable", *arguments, **more).stdout.strip()

    def scancel(self, *arguments: object) -> None:
        self.run("scancel", *arguments)

    def scontrol(self, *arguments: object) -> str:
        return self.run("scontrol", *arguments).stdout

    def squeue(self, *arguments: object) -> list[Job]:
        """List id, name and state of each job that has not ended; elements of an array that wait are one line."""
        lines = self.run("squeue", "--noheader", "--format=%i|%T|%j", *arguments).stdout.splitlines()
        return [(job_id, name, state) for job_id, state, name in (line.split("|", 2) for line in lines)]

    def queue(self) -> list[tuple[str, str]]:
        """List label and state of each job that has not ended, in order."""
        return sorted((name.partition("_")[0], state) for _, name, state in self.squeue())

    def jobs_left(self, text: str = "") -> list[Job]:
        """List the jobs that have not ended and whose name contains the text."""
        return [job for job in self.squeue() if text in job[1]]

    def wait_until_idle(self, name_contains: str = "", seconds: float = 120) -> None:
        """Wait until no job with such a name is left."""
        wait_until(lambda: not self.jobs_left(name_contains), seconds, lambda: self.scontrol("show", "job"))

    def stop(self, server: str) -> None:
        """End a server: slurmctld, slurmd-n1, slurmdbd, ..."""
        self._script("stop", server)

    def kill(self, server: str) -> None:
        """End a server as a crash would: slurmctld loses the requests of the last seconds."""
        self._script("kill", server)

    def start(self, server: str) -> None:
        """Start a server that was stopped or killed."""
        self._script("start", server)

    def _script(self, *arguments: str) -> None:
        done = slurm_sandbox(*arguments, "--dir", self.folder)
        assert done.returncode == 0, done.stderr


def wait_until(
    is_so: Callable[[], object], seconds: float = 60, explain: Callable[[], str] = lambda: "", every: float = 0.1
) -> None:
    """Wait for a fact."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"did not come within {seconds} s. {explain()}"
        time.sleep(every)


@contextlib.contextmanager
def started(*, nodes: int = 4, accounting: bool = False, conf: Sequence[str] = ()) -> Iterator[Sandbox]:
    """Start a cluster and stop it, whatever happens in between, even to this process."""
    # Not below pytest's own folder, whose path is too long.
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-", dir=short_root()))
    options = ["--accounting"] * accounting + [word for line in conf for word in ("--conf", line)]
    done = slurm_sandbox("up", "--dir", folder, "--nodes", nodes, "--until-exit-of", os.getpid(), *options)
    assert done.returncode == 0, done.stderr
    exports = [shlex.split(line)[1].partition("=") for line in done.stdout.splitlines() if line.startswith("export ")]
    try:
        yield Sandbox(folder, {name: value for name, _, value in exports})
    finally:
        if folder.exists():
            done = slurm_sandbox("down", "--dir", folder)
            assert done.returncode == 0, done.stderr
            assert not folder.exists()
