"""`Pipeline`: what the user runs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Literal

from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.definition.resources import SlurmCluster
from orchestrator.errors import DefinitionError

__all__ = ["Pipeline"]


class Pipeline(PipelineDefinition):
    """Steps in order, run with a record of everything that happens.

    Parameters
    ----------
    name : str, default ""
        For humans, and for the names of jobs.
    steps : list of Step or Loop
        In the order in which they run.
    orchestrator_resources : SlurmResources, optional
        For the orchestrator's own jobs on SLURM.

    Examples
    --------
    >>> pipeline = Pipeline("study", steps=[Step(create), Step(evaluate, parallel=True)])  # doctest: +SKIP
    >>> key = pipeline.run(mode="local")  # doctest: +SKIP
    """

    def run(
        self,
        mode: Literal["local", "slurm"] = "local",
        cluster: SlurmCluster | None = None,
        project_job: str | None = None,
        rootdir: str | Path | None = None,
        *,
        jobs: int | None = None,
    ) -> str:
        """Run the pipeline; with the `project_job` of a run that exists, go on with that run.

        Parameters
        ----------
        mode : {"local", "slurm"}, default "local"
            `"local"`: here, to the end. `"slurm"`: submitted to a cluster, whose jobs bring it to its end; returns at
            once.
        cluster : SlurmCluster, optional
            For `mode="slurm"`, where it is required.
        project_job : str, optional
            Key of the run, and name of its folder. By default a new one, of digits.
        rootdir : path-like, optional
            The workspace. By default the current folder.
        jobs : int, optional
            Worker processes for parallel steps of a local run. By default the CPUs that this process may use.

        Returns
        -------
        str
            The run's key.

        Raises
        ------
        DefinitionError
            If something in the pipeline can't work; nothing was written.
        LeaseHeld
            If another process is advancing the run.
        Busy
            If SLURM does not answer, or takes no job now; the run is recorded, and resume goes on.
        RunFailed
            If the run ended, and not well; an exception of the user's code is the cause.
        Interrupted
            After Ctrl-C, or `orchestrator cancel` from elsewhere.
        """
        from orchestrator.engine.commands import start, submit

        if mode not in ("local", "slurm"):
            raise DefinitionError(f"mode={mode!r} is not a mode.", 'Use mode="local" or mode="slurm".')
        if not isinstance(self.steps, list | tuple):
            raise DefinitionError(
                f"The steps of a pipeline must be a list, not {type(self.steps).__name__}.", "Use steps=[...]."
            )
        if rootdir is not None and not isinstance(rootdir, str | os.PathLike):
            raise DefinitionError(f"rootdir must be text or a path, not {type(rootdir).__name__}.", "Name a folder.")
        if rootdir is not None and Path(rootdir).exists() and not Path(rootdir).is_dir():
            raise DefinitionError(f"rootdir={str(rootdir)!r} is no folder.", "Name a folder, or leave it out.")
        if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
            raise DefinitionError(f"jobs={jobs!r} is no number of processes.", "Use 1 or more, or None.")
        if mode == "slurm":
            key = submit(self, cluster, rootdir=Path(rootdir or "."), project_job=project_job)
            _say_how_to_watch(key, rootdir)
            return key
        return start(self, rootdir=Path(rootdir or "."), project_job=project_job, jobs=jobs)

    def generate_scripts(
        self, cluster: SlurmCluster, project_job: str = "PLACEHOLDER", rootdir: str | Path | None = None
    ) -> dict[str, str]:
        """Print the scripts that would be handed to sbatch; nothing is written or asked.

        Parameters
        ----------
        cluster : SlurmCluster
        project_job : str, default "PLACEHOLDER"
            Key of the run.
        rootdir : path-like, optional
            The workspace. By default the current folder.

        Returns
        -------
        dict of str to str
            By label: `create`, in a loop `loop1_run`, and `orchestrator`. In the command line that each one shows,
            ITERATION, TASKS, TOKEN and JOB stand for what is known at submission only.

        Raises
        ------
        DefinitionError
            If something in the pipeline can't work.
        """
        from orchestrator.engine.cluster.check import print_scripts

        return print_scripts(self, cluster, project_job, Path(rootdir or "."))


def _say_how_to_watch(key: str, rootdir: str | Path | None) -> None:
    where = "" if rootdir is None else f" --rootdir {shlex.quote(str(rootdir))}"
    print(f"Watch it: orchestrator status {key}{where}", file=sys.stderr)
