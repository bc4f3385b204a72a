"""The job file: everything that a job needs besides its task number.

The code of the step and its keyword arguments are in the bundle (`orchestrator.definition.bundle`).
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import Damaged, checked_fields, parse_object, refuse
from orchestrator.errors import DataError
from orchestrator.machine.step_kind import StepKind
from orchestrator.sha256 import sha256_of
from orchestrator.trust import read_private
from orchestrator.workspace import LOG_DIR

__all__ = ["JobFile", "digest_of", "read_jobfile", "write_jobfile"]


class JobFile(NamedTuple):
    """The content of a job file.

    Attributes
    ----------
    run_key, workspace : str
        Key of the run, and path of its workspace.
    mark : str
        `Run.mark`, a part of the names of the run's files.
    token, role : str
        Token and role of the job.
    position, epoch, iteration : int, int, str
        Position, epoch and iteration of the step run.
    kind : StepKind
        What the step does.
    parallel : bool
        Whether its tasks may run at the same time.
    path : str
        Place of the step in the definition; also the name of its pickle in the bundle.
    until_path : str or None
        Place of the loop's `until`, if this job calls it after the step.
    project_dir : str
        Folder of the table, relative to the run's.
    bundle_digest : str
        Digest of the bundle with the code.
    batch, attempt : int
        Number of the batch, and of the attempt at it.
    tasks : str
        Its tasks, as an index list.
    first_task : int
        The first task of its batch, which has index 0 in the scheduler's array.
    earlier_tokens : sequence of str
        Tokens of the earlier attempts. Experiments that these evaluated are not evaluated again, and a block is not
        called on a table that one of these stored.
    earlier_kinds : mapping of str to str
        By token of an earlier attempt: its kind of failure, if an experiment may be to blame, else an empty text.
    max_tries : int
        How often an experiment is tried whose process or job dies.
    timeout : float or None
        Seconds after which an experiment is ended.
    stop_after : int or None
        Number of failed experiments of this job after which it stops.
    stop_if_first_fail : int or None
        Number of first experiments after which it stops, if all of them failed with the same exception.
    seed : int
        Seed for the user's code; see `orchestrator.definition.injection.seed_for`.
    seeds_samplers : bool
        Whether samplers without a seed use it, because the pipeline has a seed.
    name : str
        Name of the step.
    label : str
        Name of the step in the name of its log.
    threads : int
        Number of CPUs of a task.
    max_tables : int or None
        How many tables of the run are kept; None: all.
    expected_results : mapping of str to int
        By the tokens of the jobs of the last parallel step, joined by commas: the number of experiments in their
        receipts.
    manifest : str or None
        SHA-256 of the manifest, for a batch.
    resources : mapping
        The fields of `SlurmResources` of its step.
    database : str or None
        The workspace's database, if the last task shall advance the run.
    cwd : str or None
        Working directory of the job: that of the user who submitted the run.
    log_dir : str
        Folder of the run's logs, relative to the workspace.
    log_level : str or None
        Level from which log records are shown, where the environment of the job does not say it.
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
    # These defaults are never modified.
    earlier_tokens: Sequence[str] = []
    earlier_kinds: Mapping[str, str] = {}
    max_tries: int = 2
    timeout: float | None = None
    stop_after: int | None = None
    stop_if_first_fail: int | None = None
    seed: int = 0
    seeds_samplers: bool = False
    name: str = ""
    label: str = ""
    threads: int = 1
    max_tables: int | None = None
    expected_results: Mapping[str, Any] = {}
    manifest: str | None = None
    resources: Mapping[str, Any] = {}
    database: str | None = None
    cwd: str | None = None
    log_dir: str = LOG_DIR
    log_level: str | None = None

    @property
    def evaluates(self) -> bool:
        """Whether it evaluates experiments of the manifest."""
        return self.kind == StepKind.BATCH

    @property
    def asks_until(self) -> bool:
        """Whether it only calls the `until` of a loop."""
        return self.kind == StepKind.UNTIL

    @property
    def injectable(self) -> dict[str, int | str]:
        """Values for parameters of the user's code with these names; the iteration is that of the innermost loop."""
        innermost = int(self.iteration.rpartition(".")[2] or 0)
        return {"iteration": innermost, "project_job": self.run_key, "seed": self.seed}


def write_jobfile(path: Path, file: JobFile) -> str:
    """Write a job file, and return its SHA-256."""
    content = _content_of(file)
    write_atomically(path, content, PRIVATE)
    return sha256_of(content)


def digest_of(file: JobFile) -> str:
    """Return the SHA-256 of a job file, which its job compares."""
    return sha256_of(_content_of(file))


def _content_of(file: JobFile) -> bytes:
    return json.dumps(file._asdict(), indent=1).encode()


def read_jobfile(path: Path, sha256: str | None = None) -> JobFile:
    """Read a job file.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str, optional
        Its digest, as the job was given it or as it is recorded. It is missing if the process that submitted the job
        died before it recorded that.

    Raises
    ------
    DataError
        If the file is missing, was changed, or is not a job file.
    """
    try:
        content = read_private(path)
        if sha256 is not None and sha256_of(content) != sha256:
            refuse("it was changed after it was written")
        values = checked_fields(JobFile, parse_object(content), _REQUIRED)
        return JobFile(**{**values, "kind": StepKind(values["kind"]), "tasks": _indexes(values.get("tasks", "0"))})
    except (OSError, ValueError, Damaged) as error:
        raise DataError(f"the job file {path} can't be used: {error}") from error


_REQUIRED = tuple(name for name in JobFile._fields if name not in JobFile._field_defaults)


def _indexes(text: str) -> str:
    numbers = [number for part in text.split(",") for number in part.split("-", 1)]
    # Without `re`, which each task would have to compile the pattern for.
    are_valid = all(number.isascii() and number.isdigit() and len(number) <= 7 for number in numbers)
    return text if are_valid else refuse(f"its tasks are {text!r}")
