"""Every path of a workspace.

::

    <workspace>/orchestrator.db                                         the records
    <workspace>/logs/<key>/<label>[@<iteration>].log                    what a step printed
    <workspace>/logs/<key>/<label>[@<iteration>].<token>.<task>.log     what a task printed
    <workspace>/logs/<key>/orchestrator.log                             messages of the processes that advanced the run
    <workspace>/<key>/                                                  the run's folder
        <project_dir>/experiment_data/                                  a table
            .results/<token>/<task>.<restart>.jsonl                     results that are not folded yet
        <project_dir>/scratch/<label>[@<iteration>]/<experiment>        files of an experiment
        .orchestrator/
            bundle/<digest>/                                            code
            environment.json                                            environment of all jobs; private
            scripts/<label>.<digest>.sh                                 scripts for sbatch
            scripts/env_vars.<digest>                                   the env_vars of the cluster; private
            steps/<position>.<epoch>.<mark>/manifest.jsonl              experiments of each task
            tables/<position>.<epoch>.<mark>/                           the table with which a step run began
            jobs/<token>/{job.json, claim, receipts/<task>.<restart>.json}
            jobs/<token>/running/<task>.<restart>                       what a task evaluates now, and how far it is
            jobs/<token>/stopped/<task>.<restart>                       the same, of a task whose step stopped
            jobs/<token>/counts/<task>.<restart>.<finished>.<failed>.*  of a task with failed experiments: how many
            jobs/<token>/stop                                           the end of an array

A run's folder may contain files of another run: of one whose records were deleted, or after the folder was copied. So
the names of the engine's files contain the run's salt (`token`, `mark`) or a digest of the content.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import os
from pathlib import Path
from typing import NamedTuple

from orchestrator.addresses import format_address
from orchestrator.errors import DataError
from orchestrator.table_folder import ARCHIVE, DATA_FOLDER, RESULTS
from orchestrator.trust import ENGINE

__all__ = ["DATABASE", "LOG_DIR", "TASK_MARK", "JobFolder", "RunFolder", "Workspace", "relocated", "root_of_bundles"]

DATABASE = "orchestrator.db"
"""Name of the database in a workspace."""

LOG_DIR = "logs/{project_job}"
"""Where the logs of a run are by default, relative to the workspace."""

TASK_MARK = "ORCHESTRATOR_TASK"
"""The environment variable by which the programs of a task are found; a task does not pass it to jobs."""


class Workspace(NamedTuple):
    """The root folder of runs, with the database that records them.

    Parameters
    ----------
    database : Path
        Absolute path. Its folder is the root folder.
    """

    database: Path

    @classmethod
    def at(cls, root: str | Path) -> "Workspace":
        """Return the workspace with this root folder."""
        return cls(Path(root).absolute() / DATABASE)

    @property
    def root(self) -> Path:
        """The folder of the database, the runs and their logs."""
        return self.database.parent

    @property
    def real_root(self) -> str:
        """The root folder without symbolic links."""
        return str(self.root.resolve())

    def run(self, key: str, log_dir: str = LOG_DIR) -> "RunFolder":
        """Return the files of a run."""
        return RunFolder(self.root, key, log_dir)


def relocated(path: str, old_root: str, root: str) -> str:
    """Return a path that was recorded before the workspace was moved.

    Parameters
    ----------
    path : str
        The absolute path.
    old_root, root : str
        Root folder of the workspace then and now, without symbolic links.

    Returns
    -------
    str
        The path at the same place relative to the workspace, if it was in the workspace or has gone with it.
    """
    new = os.path.normpath(Path(root, os.path.relpath(path, old_root)))
    if Path(path).is_relative_to(old_root):
        return new
    # Not Path.exists: it raises an exception for a file in a folder that this user may not enter.
    return new if not os.path.exists(path) and os.path.exists(new) else path  # noqa: PTH110


def root_of_bundles(bundles: Path) -> str:
    """Return the root folder of the workspace, without symbolic links, from `RunFolder.bundles`."""
    return str(bundles.resolve().parents[2])


def _files_in(folder: Path, begin: str, end: str = "") -> list[Path]:
    """Return the files whose names begin and end so, in order; none of a folder that does not exist.

    `Path.glob` would compile a pattern in each task.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.startswith(begin) and path.name.endswith(end))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


class JobFolder(NamedTuple):
    """The files of one job.

    Parameters
    ----------
    path : Path
        Folder of the job.
    """

    path: Path

    @property
    def file(self) -> Path:
        """The job file."""
        return self.path / "job.json"

    @property
    def claim(self) -> Path:
        """The claim of the first submission that started."""
        return self.path / "claim"

    @property
    def receipts(self) -> Path:
        """Folder of the receipts."""
        return self.path / "receipts"

    @property
    def counts(self) -> Path:
        """Folder of empty files whose names say how many experiments of a task have failed."""
        return self.path / "counts"

    @property
    def stop(self) -> Path:
        """The file that makes all tasks of the job stop."""
        return self.path / "stop"

    def receipt(self, task: int, restart: int = 0) -> Path:
        """Return the path of a task's receipt."""
        return self.receipts / f"{task}.{restart}.json"

    def running(self, task: int, restart: int = 0) -> Path:
        """Return the path of the file in which a task says what it evaluates."""
        return self.path / "running" / f"{task}.{restart}"

    def running_of(self, task: int | None = None) -> list[Path]:
        """Return the files that say what was evaluated when a task ended without a receipt; by default of all tasks."""
        return _files_in(self.path / "running", "" if task is None else f"{task}.")

    def stopped(self) -> list[Path]:
        """Return the files that say what was evaluated when a task ended because its step stopped."""
        return _files_in(self.path / "stopped", "")


class RunFolder(NamedTuple):
    """The files of one run.

    Parameters
    ----------
    workspace : Path
        Absolute path of the root folder.
    key : str
        The run's key.
    log_dir : str, default "logs/{project_job}"
        Folder of the logs, relative to the workspace.
    """

    workspace: Path
    key: str
    log_dir: str = LOG_DIR

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.workspace / self.key

    @property
    def engine(self) -> Path:
        """Folder of the engine's own files."""
        return self.path / ENGINE

    @property
    def environment(self) -> Path:
        """The environment of all jobs."""
        return self.engine / "environment.json"

    @property
    def bundles(self) -> Path:
        """Folder of the bundles: all code that the run has had."""
        return self.engine / "bundle"

    def check_exists(self, *, has_ended: bool = True) -> None:
        """Raise `DataError` if the folder was removed, or moved away; only a run that has ended can be deleted."""
        if not self.path.is_dir():
            delete = f"delete the rest of the run: orchestrator clean {self.key}"
            hint = f"Put it back, or {delete}"
            if not has_ended:
                hint = f"Put it back, or end the run: orchestrator cancel {self.key}\nAfter that, {delete}"
            raise DataError(f"The folder of run {self.key} is missing: {self.path}.", hint)

    def bundle(self, digest: str) -> Path:
        """Return the folder of a bundle.

        Raises
        ------
        DataError
            If the digest is not valid: as a path, it could lead to another folder.
        """
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise DataError(
                f"the code of run {self.key} can't be found: {digest!r} is not a valid digest.",
                f"Give the run its code again: orchestrator resume {self.key} --update STUDY.py",
            )
        return self.bundles / digest

    def script(self, label: str, digest: str) -> Path:
        """Return the path of the script of a step's jobs."""
        return self.engine / "scripts" / f"{label}.{digest}.sh"

    def env_vars(self, digest: str) -> Path:
        """Return the path of the `env_vars` of the cluster, from the SHA-256 of the file."""
        return self.engine / "scripts" / f"env_vars.{digest[:16]}"

    def manifest(self, position: int, epoch: int, mark: str) -> Path:
        """Return the path of the manifest of a step run."""
        return self.engine / "steps" / f"{position}.{epoch}.{mark}" / "manifest.jsonl"

    @property
    def kept_tables(self) -> Path:
        """Folder of the tables with which step runs began."""
        return self.engine / "tables"

    def kept_table(self, position: int, epoch: int, mark: str) -> Path:
        """Return the folder of the table with which a step run began."""
        return self.kept_tables / f"{position}.{epoch}.{mark}"

    @property
    def jobs(self) -> Path:
        """Folder of the folders of jobs."""
        return self.engine / "jobs"

    def job(self, token: str) -> JobFolder:
        """Return the folder of a job."""
        return JobFolder(self.jobs / token)

    def table(self, project_dir: str) -> Path:
        """Return the folder that a step is called with; its table is in the subfolder `experiment_data`."""
        return self.path / project_dir

    def results(self, project_dir: str, token: str) -> Path:
        """Return the folder of a job's result files."""
        return self._results(project_dir) / token

    def result_file(self, project_dir: str, token: str, task: int, restart: int) -> Path:
        """Return the file to which a task appends its results."""
        return self.results(project_dir, token) / f"{task}.{restart}.jsonl"

    def results_of(self, project_dir: str, token: str, task: int) -> list[Path]:
        """Return the result files of a task that are not folded into the table."""
        return _files_in(self.results(project_dir, token), f"{task}.", ".jsonl")

    def result_files(self, project_dir: str, token: str) -> list[Path]:
        """Return the result files of a job, also those that are folded into the table."""
        archive = self._results(project_dir).with_name(ARCHIVE)
        folders = [self.results(project_dir, token), *sorted(archive.glob(f"{token}*"))]
        return [path for folder in folders for path in sorted(folder.glob("*.jsonl"))]

    def has_results(self, project_dir: str) -> bool:
        """Whether a table has results that are not folded yet."""
        folder = self._results(project_dir)
        return folder.is_dir() and any(folder.iterdir())

    def _results(self, project_dir: str) -> Path:
        return self.table(project_dir) / DATA_FOLDER / RESULTS

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.workspace / self.log_dir.format(project_job=self.key)

    @property
    def shares_logs(self) -> bool:
        """Whether logs of other runs may be in the same folder."""
        return "{project_job}" not in self.log_dir

    @property
    def orchestrator_log(self) -> Path:
        """Log of the processes that advanced the run."""
        return self.logs / "orchestrator.log"

    def log(self, label: str, iteration: str, token: str | None = None, task: int | str | None = None) -> Path:
        """Return the path of the log of a step, or of one task of a job; `%a` as task: SLURM's pattern for all."""
        name = format_address(label, iteration)
        return self.logs / (f"{name}.log" if token is None else f"{name}.{token}.{task}.log")
