"""Every path of a workspace.

::

    <workspace>/orchestrator.db                                         the records
    <workspace>/logs/<key>/<label>[@<iteration>].log                    what a step printed
    <workspace>/logs/<key>/<label>[@<iteration>].<token>.<task>.log     what a task printed
    <workspace>/logs/<key>/orchestrator.log                             what those who advanced it said
    <workspace>/<key>/                                                  the run's folder
        <project_dir>/experiment_data/                                  a table
            .results/<token>/<task>.<restart>.jsonl                     results that wait to be folded
        .orchestrator/
            bundle/<digest>/                                            code
            environment.json                                            what every job is submitted in; private
            scripts/<label>.<digest>.sh                                 what is handed to sbatch
            steps/<position>.<epoch>.<mark>/manifest.jsonl              which experiments each task has
            jobs/<token>/{job.json, claim, receipts/<task>.<restart>.json}

The folder may have been another run's: one whose records were deleted, or that it was copied from. So what the engine
believes is named by the run's salt (`token`, `mark`), or by what is in it (`digest`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from orchestrator.addresses import format_address
from orchestrator.errors import DataError

__all__ = ["DATABASE", "LOG_DIR", "JobFolder", "RunFolder", "Workspace"]

DATABASE = "orchestrator.db"
"""Name of the database in a workspace."""

LOG_DIR = "logs/{project_job}"
"""Where the logs of a run are by default, relative to the workspace."""


class Workspace(NamedTuple):
    """The root folder of runs, with the database that records them.

    Parameters
    ----------
    database : Path
        Absolute. The root folder is the one that holds it.
    """

    database: Path

    @classmethod
    def at(cls, root: str | Path) -> Workspace:
        """Return the workspace with this root folder."""
        return cls(Path(root).absolute() / DATABASE)

    @property
    def root(self) -> Path:
        """The folder that holds the database, the runs and their logs."""
        return self.database.parent

    def run(self, key: str, log_dir: str = LOG_DIR) -> RunFolder:
        """Return the files of a run."""
        return RunFolder(self.root, key, log_dir)


class JobFolder(NamedTuple):
    """The files of one job.

    Parameters
    ----------
    path : Path
    """

    path: Path

    @property
    def file(self) -> Path:
        """What the job has to do."""
        return self.path / "job.json"

    @property
    def claim(self) -> Path:
        """Who started it first."""
        return self.path / "claim"

    @property
    def receipts(self) -> Path:
        """Folder of the receipts."""
        return self.path / "receipts"

    def receipt(self, task: int, restart: int = 0) -> Path:
        """Receipt of a task."""
        return self.receipts / f"{task}.{restart}.json"


class RunFolder(NamedTuple):
    """The files of one run.

    Parameters
    ----------
    workspace : Path
        Absolute.
    key : str
        The run's key.
    log_dir : str, default "logs/{project_job}"
        Where the logs are, relative to the workspace.
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
        """What is ours in it, and no user's business."""
        return self.path / ".orchestrator"

    @property
    def environment(self) -> Path:
        """The environment that every job is submitted in."""
        return self.engine / "environment.json"

    @property
    def bundles(self) -> Path:
        """Folder of all code that the run has had."""
        return self.engine / "bundle"

    def bundle(self, digest: str) -> Path:
        """Folder of one bundle.

        Raises
        ------
        DataError
            If that is no digest: it could lead to any folder.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise DataError(
                f"run {self.key} keeps no code: {digest!r} is not the digest of a bundle.",
                f"Give the run its code again: orchestrator resume {self.key} --update STUDY.py",
            )
        return self.bundles / digest

    def script(self, label: str, digest: str) -> Path:
        """Script of a step's jobs, by what it says."""
        return self.engine / "scripts" / f"{label}.{digest}.sh"

    def manifest(self, position: int, epoch: int, mark: str) -> Path:
        """Manifest of a step run of the run with that mark."""
        return self.engine / "steps" / f"{position}.{epoch}.{mark}" / "manifest.jsonl"

    def job(self, token: str) -> JobFolder:
        """Folder of a job."""
        return JobFolder(self.engine / "jobs" / token)

    def table(self, project_dir: str) -> Path:
        """Folder that a step is called with; its table is in `experiment_data` below."""
        return self.path / project_dir

    def results(self, project_dir: str, token: str) -> Path:
        """Folder of a job's result files."""
        return self._results(project_dir) / token

    def has_results(self, project_dir: str) -> bool:
        """Tell whether results of a table wait to be folded."""
        folder = self._results(project_dir)
        return folder.is_dir() and any(folder.iterdir())

    def _results(self, project_dir: str) -> Path:
        return self.table(project_dir) / "experiment_data" / ".results"

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.workspace / self.log_dir.format(project_job=self.key)

    @property
    def orchestrator_log(self) -> Path:
        """What those who advanced the run said."""
        return self.logs / "orchestrator.log"

    def log(self, label: str, iteration: str, token: str | None = None, task: int | None = None) -> Path:
        """Log of a step, or of one task of a job."""
        name = format_address(label, iteration)
        return self.logs / (f"{name}.log" if token is None else f"{name}.{token}.{task}.log")
