"""The scripts that are handed to sbatch, and the command lines: one code for what is shown and what is submitted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.atomic import write_atomically
from orchestrator.definition.pipeline import slug
from orchestrator.definition.resources import time_in_seconds
from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.errors import DefinitionError
from orchestrator.machine.plan import Plan
from orchestrator.slurm.script import TOKEN, Values, cpus, digest, directives, literal_path, render, values
from orchestrator.workspace import RunFolder

__all__ = ["ORCHESTRATOR", "Script", "Scripts", "all_scripts", "options_of"]

ORCHESTRATOR = "orchestrator"

LONGEST_LABEL, LONGEST_PIPELINE = 32, 20
"""In the name of a job, which SLURM's tools show."""

MARGIN = 120
"""Seconds before its time is up at which an orchestrator job leaves what is left to do to its successor."""


class Script(NamedTuple):
    """A job's script.

    Attributes
    ----------
    path : Path
        Where it is written, once: the name tells what it says.
    options : tuple of str
        Names of the options of sbatch that it sets.
    values, comment
        What it is printed of.
    """

    path: Path
    options: tuple[str, ...]
    values: Values
    comment: str

    @property
    def text(self) -> str:
        """Print it."""
        return render(self.values, self.comment)

    def write(self) -> None:
        """Write it, unless it is there."""
        if not self.path.exists():
            write_atomically(self.path, self.text.encode())


class Scripts:
    """Prints the scripts of one run.

    Parameters
    ----------
    config : ClusterConfig
    folder : RunFolder
    database : Path
    pipeline : str
        Its name.
    """

    def __init__(self, config: ClusterConfig, folder: RunFolder, database: Path, pipeline: str) -> None:
        self._config = config
        self._folder = folder
        self._database = database
        self._pipeline = pipeline

    def of_step(self, label: str, resources: Mapping[str, Any], *, in_loop: bool, parallel: bool) -> Script:
        """Print the script of a step: the same for all its iterations, batches and attempts.

        Raises
        ------
        DefinitionError
            If something in it can't be said to sbatch.
        """
        iteration, task = "ITERATION" if in_loop else "", ("TOKEN", "%a") if parallel else ()
        log = self._folder.log(label, iteration, *task)
        more = [f"--array=TASKS%{resources['max_concurrent']}"] if parallel else []
        command = ["orchestrator.worker", "job", str(self._folder.workspace), self._folder.key, TOKEN]
        return self._script(label, log, more, resources, command, requeue=False)

    def of_orchestrator(self) -> Script:
        """Print the script of the orchestrator jobs, which SLURM may start again by itself.

        Raises
        ------
        DefinitionError
            If something in it can't be said to sbatch.
        """
        resources = self._config.orchestrator
        command = ["orchestrator", "advance", self._folder.key, "--db", str(self._database)]
        asked = directives(resources, self._config.cluster, chdir=self._config.cwd, requeue=True)
        command += ["--job", TOKEN, "--patience", str(_patience(asked.get("time")))]
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
    ) -> Script:
        cluster = self._config.cluster
        static = directives(resources, cluster, chdir=self._config.cwd, requeue=requeue)
        said = values(
            directives=static,
            env_setup=cluster.env_setup,
            env_vars=cluster.env_vars,
            runner=self._runner,
            threads=cpus(resources, cluster),
            command=command,
        )
        line = ["sbatch", *options_of(label, "TOKEN", self._pipeline, log), *more]
        path = self._folder.script(label, digest(said, shlex.join(line)))
        comment = shlex.join([*line, str(path), "TOKEN"])
        return Script(path, (*static, "job-name", "comment", "output", "dependency"), said, comment)

    @property
    def _runner(self) -> str:
        """Run the Python that submits, unless the user says which: a job has the same PATH, but no shell's aliases."""
        cluster = self._config.cluster
        is_unsaid = cluster.runner == "python" and not cluster.env_setup
        return shlex.quote(sys.executable) if is_unsaid else cluster.runner


def all_scripts(scripts: Scripts, plan: Plan) -> dict[str, Script]:
    """Give every script of a run, by label.

    Raises
    ------
    DefinitionError
        If something in one can't be said to sbatch.
    """
    visits = list(plan.walk())
    if any(visit.step.label == ORCHESTRATOR for visit in visits):
        raise DefinitionError(
            f"On a cluster, no step can be named {ORCHESTRATOR!r}: that is the name of the run's own jobs.",
            "Give the step another name.",
        )
    of_steps = {
        step.label: scripts.of_step(step.label, step.resources, in_loop=depth > 0, parallel=step.parallel)
        for step, _, depth, _ in visits
        if not step.collects
    }
    return {**of_steps, ORCHESTRATOR: scripts.of_orchestrator()}


def options_of(label: str, token: str, pipeline: str, log: Path) -> list[str]:
    """Give the options of a job's own: its name, its comment, and where it logs to."""
    name = f"{label[:LONGEST_LABEL]}_{token}_{(slug(pipeline) if pipeline else 'pipeline')[:LONGEST_PIPELINE]}"
    output = f"{literal_path(str(log.parent))}/{log.name}"
    return [f"--job-name={name}", f"--comment={token}", f"--output={output}"]


def _patience(time: str | None) -> int:
    limit = None if time is None else time_in_seconds(time)
    # To SLURM, too, zero is no limit.
    return max(limit - MARGIN, limit // 2) if limit else 600
