"""The scripts of a run, and the sbatch command lines in their heads, as shown to the user and as submitted.

The command line of a submission is made in `orchestrator.engine.cluster.slurm_scheduler`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.addresses import slug
from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import Damaged
from orchestrator.definition.resources import SlurmCluster, time_in_seconds
from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.errors import DataError, DefinitionError
from orchestrator.machine.plan import Plan
from orchestrator.sha256 import sha256_of
from orchestrator.slurm.script import (
    JOB_FILE,
    TOKEN,
    Values,
    cpus,
    digest,
    directives,
    exports,
    literal_path,
    render,
    runner_words,
    values,
)
from orchestrator.text import to_bytes
from orchestrator.trust import read_private
from orchestrator.worker.guarded import guard_of
from orchestrator.workspace import RunFolder

__all__ = ["ORCHESTRATOR", "Script", "Scripts", "all_scripts", "options_of", "runner_of"]

ORCHESTRATOR = "orchestrator"

MAX_LABEL, MAX_PIPELINE = 32, 20
"""Characters of the step's label and of the pipeline's name in the SLURM name of a job."""

TIME_TO_STOP = 120
"""Seconds before its time limit at which an orchestrator job stops polling; its successor continues."""


class Script(NamedTuple):
    """A job's script.

    Attributes
    ----------
    path : Path
        Where it is written: its name contains a digest of what its text depends on.
    options : tuple of str
        Names of the sbatch options that it sets.
    values : Values
        The values for the template.
    comment : str
        The sbatch command line, for its head.
    """

    path: Path
    options: tuple[str, ...]
    values: Values
    comment: str

    @property
    def text(self) -> str:
        """The text of the script."""
        return render(self.values, self.comment)

    def write(self, recorded: str | None) -> str:
        """Write it, unless the file is the one whose SHA-256 is recorded.

        Returns
        -------
        str
            The SHA-256 of the file.

        Raises
        ------
        NotAllowed
            If another user may have written the file.
        DataError
            If the file is not what was written.
        """
        if recorded is not None and _digest_of(self.path) == recorded:
            return recorded
        content = to_bytes(self.text)
        write_atomically(self.path, content, PRIVATE)
        written = sha256_of(content)
        # Another user may have put another folder in the place of this one.
        if _digest_of(self.path) != written:
            raise DataError(f"The script {self.path} was changed after it was written.", "Retry the command.")
        return written


class Scripts:
    """Makes the scripts of one run.

    Parameters
    ----------
    config : ClusterConfig
        The cluster, and how the run uses it.
    folder : RunFolder
        The run's folder.
    database : Path
        Where the run is recorded.
    pipeline : str
        The pipeline's name.
    """

    def __init__(self, config: ClusterConfig, folder: RunFolder, database: Path, pipeline: str) -> None:
        self._config = config
        self._folder = folder
        self._database = database
        self._pipeline = pipeline

    def of_step(self, label: str, resources: Mapping[str, Any], *, in_loop: bool, parallel: bool) -> Script:
        """Return the script of a step, which is the same for all its iterations, batches and attempts.

        Raises
        ------
        DefinitionError
            If sbatch can't express an option.
        """
        iteration, task = "ITERATION" if in_loop else "", ("TOKEN", "%a") if parallel else ()
        log = self._folder.log(label, iteration, *task)
        more = [f"--array=TASKS%{resources['max_concurrent']}"] if parallel else []
        command = ["orchestrator.worker", "job", str(self._folder.workspace), self._folder.key, TOKEN, JOB_FILE]
        guard = guard_of(self._folder) if parallel else None
        return self._script(label, log, more, resources, command, requeue=False, guard=guard)

    def of_orchestrator(self) -> Script:
        """Return the script of the orchestrator jobs, which SLURM may requeue.

        Raises
        ------
        DefinitionError
            If sbatch can't express an option.
        """
        resources = self._config.orchestrator
        command = ["orchestrator", "advance", self._folder.key, "--db", str(self._database)]
        limits = directives(resources, self._config.cluster, chdir=self._config.cwd, requeue=True)
        command += ["--job", TOKEN, "--patience", str(_patience(limits.get("time")))]
        more = ["--dependency=afterany:JOB"]
        return self._script(ORCHESTRATOR, self._folder.orchestrator_log, more, resources, command, requeue=True)

    def _script(
        self,
        label: str,
        log: Path,
        more: Sequence[str],
        resources: Mapping[str, Any],
        command: Sequence[str],
        *,
        requeue: bool,
        guard: Mapping[str, str] | None = None,
    ) -> Script:
        cluster = self._config.cluster
        static = directives(resources, cluster, chdir=self._config.cwd, requeue=requeue)
        script_values = values(
            directives=static,
            env_setup=cluster.env_setup,
            env_vars={},
            env_file=self._env_file(),
            runner=runner_of(cluster),
            threads=cpus(resources, cluster),
            command=command,
            by_hand=["orchestrator", "advance", self._folder.key, "--db", str(self._database)],
            guard=guard,
        )
        line = ["sbatch", *options_of(label, "TOKEN", self._pipeline, log), *more]
        path = self._folder.script(label, digest(script_values, shlex.join(line)))
        arguments = ["TOKEN", "SHA256"] if JOB_FILE in command else ["TOKEN"]
        comment = shlex.join([*line, str(path), *arguments])
        return Script(path, (*static, "job-name", "output", "dependency"), script_values, comment)

    def _env_file(self) -> dict[str, str] | None:
        """Return the file with the `env_vars`; before a submission, without its digest."""
        if self._config.env_vars is None and not exports(self._config.cluster.env_vars):
            return None
        sha256 = self._config.env_vars or "SHA256"
        return {"path": str(self._folder.env_vars(sha256)), "sha256": sha256}


def _digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a script; None if it is missing or damaged. Raise `NotAllowed` as `read_private`."""
    try:
        return sha256_of(read_private(path))
    except (FileNotFoundError, Damaged):
        return None


def runner_of(cluster: SlurmCluster) -> list[str]:
    """Return the words that start Python: this one, unless the user gives another.

    A job has the same PATH as this process, but no shell aliases.
    """
    is_default = cluster.runner == "python" and not cluster.env_setup
    return [shlex.quote(sys.executable)] if is_default else runner_words(cluster.runner)


def all_scripts(scripts: Scripts, plan: Plan) -> dict[str, Script]:
    """Return every script of a run, by label.

    Raises
    ------
    DefinitionError
        If sbatch can't express an option.
    """
    visits = list(plan.walk())
    if any(visit.step.label == ORCHESTRATOR for visit in visits):
        raise DefinitionError(
            f"On a cluster, no step can be named {ORCHESTRATOR!r}: this is the name of orchestrator jobs.",
            "Give the step another name.",
        )
    of_steps = {
        step.label: scripts.of_step(step.label, step.resources, in_loop=depth > 0, parallel=step.parallel)
        for step, _, depth, _ in visits
        if not step.collects
    }
    return {**of_steps, ORCHESTRATOR: scripts.of_orchestrator()}


def options_of(label: str, token: str, pipeline: str, log: Path) -> list[str]:
    """Return the sbatch options that differ between jobs: name and log file. The token is a part of the name."""
    name = f"{label[:MAX_LABEL]}_{token}_{(slug(pipeline) if pipeline else 'pipeline')[:MAX_PIPELINE]}"
    output = f"{literal_path(str(log.parent))}/{log.name}"
    return [f"--job-name={name}", f"--output={output}"]


def _patience(time: str | None) -> int:
    """Return the seconds for which an orchestrator job polls: until `TIME_TO_STOP` before its limit, or half of it."""
    limit = None if time is None else time_in_seconds(time)
    # For SLURM, too, zero means no limit.
    return max(limit - TIME_TO_STOP, limit // 2) if limit else 600
