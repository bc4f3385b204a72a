"""What a job is told: everything that it needs besides its task number, in one small file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.atomic import write_atomically
from orchestrator.errors import DataError
from orchestrator.machine.kinds import StepKind
from orchestrator.workspace import LOG_DIR

__all__ = ["JobFile", "read_jobfile", "write_jobfile"]


class JobFile(NamedTuple):
    """One job.

    Attributes
    ----------
    run_key, workspace, mark, token, role : str
        `mark` is the run's.
    position, epoch : int
        Of its step run.
    iteration : str
    kind : StepKind
    parallel : bool
        Whether its tasks may run side by side.
    path : str
        Of the step in the plan; names its pickle in the bundle.
    until_path : str or None
        Of the loop's question, where this process is the one to answer it.
    project_dir, bundle_digest : str
    batch, attempt : int
    tasks : str
        Index list.
    first_task : int
        The first task of its batch: a scheduler's array counts from there.
    earlier_tokens : sequence of str
        Of the earlier attempts at the same work: what they evaluated is not evaluated again, and a block is not called
        on the table that one of them stored.
    seed : int
        63 bits.
    label : str
        Names its log.
    threads : int
        CPUs of a task.
    resources : mapping
        The fields of `SlurmResources` of its step.
    database : str or None
        The workspace's database, where the last task is to advance the run itself.
    cwd : str or None
        The folder that the job runs in: the submitter's.
    log_dir : str
        Where the run's logs are, relative to the workspace.
    """

    run_key: str
    workspace: str
    mark: str
    token: str
    role: str
    position: int
    epoch: int
    iteration: str
    kind: StepKind
    parallel: bool
    path: str
    until_path: str | None
    project_dir: str
    bundle_digest: str
    batch: int = 0
    attempt: int = 1
    tasks: str = "0"
    first_task: int = 0
    # Defaults that nobody changes.
    earlier_tokens: Sequence[str] = []
    seed: int = 0
    label: str = ""
    threads: int = 1
    resources: Mapping[str, Any] = {}
    database: str | None = None
    cwd: str | None = None
    log_dir: str = LOG_DIR

    @property
    def evaluates(self) -> bool:
        """Whether it evaluates experiments of the manifest."""
        return self.kind == StepKind.BATCH

    @property
    def asks_until(self) -> bool:
        """Whether it asks a loop's `until`, and nothing else."""
        return self.kind == StepKind.UNTIL

    @property
    def injectable(self) -> dict[str, int | str]:
        """What the user's code may ask for by naming a parameter; the iteration is that of the innermost loop."""
        innermost = int(self.iteration.rpartition(".")[2] or 0)
        return {"iteration": innermost, "project_job": self.run_key, "seed": self.seed}


def write_jobfile(path: Path, file: JobFile) -> None:
    """Write a job's file."""
    write_atomically(path, json.dumps(file._asdict(), indent=1).encode())


def read_jobfile(path: Path) -> JobFile:
    """Read what `write_jobfile` wrote.

    Raises
    ------
    DataError
    """
    try:
        return JobFile(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"the job's file {path} can't be read: {error}") from error
