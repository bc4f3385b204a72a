"""`Pipeline`: steps, and the methods that run them."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.definition.resources import SlurmCluster
from orchestrator.errors import DatabaseError, DefinitionError
from orchestrator.host import open_streams
from orchestrator.loading import EndOfLoading, is_child_import, is_loading
from orchestrator.trust import is_foreign, owner_of
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.db.views import RunStatus

__all__ = ["Pipeline"]


class Pipeline(PipelineDefinition):
    """Steps that run in order, with a record of every run in a database.

    Parameters
    ----------
    name : str, default ""
        Name of the pipeline; it is part of the names of its SLURM jobs.
    steps : list of Step or Loop, default []
        The steps, in the order in which they run.
    orchestrator_resources : SlurmResources or None, default None
        Resources of each orchestrator job. None: 10 minutes, 1 GB and 1 CPU.
    seed : int or None, default None
        Seed of the whole study, from 0 to 2**64 - 1. With a seed, the parameter `seed` of steps, and samplers that are
        steps and have no seed of their own, are the same in each run; else `seed` depends on the run's key.

    Examples
    --------
    >>> def create(project_dir):
    ...     domain = Domain()
    ...     domain.add_float("x", low=0.0, high=1.0)
    ...     data = ExperimentData(domain=domain, project_dir=project_dir)
    ...     create_sampler("latin", seed=1).call(data, n_samples=8).store()
    >>> @datagenerator(output_names="y")
    ... def evaluate(x):
    ...     return x**2
    >>> pipeline = Pipeline("parabola", steps=[Step(create), Step(evaluate, parallel=True)])
    >>> key = pipeline.run()
    >>> data = ExperimentData.from_file(key)
    >>> data.is_all_finished()
    True
    """

    def run(
        self,
        mode: Literal["local", "slurm"] = "local",
        cluster: SlurmCluster | None = None,
        project_job: str | None = None,
        rootdir: str | Path | None = None,
        *,
        jobs: int | None = None,
        console: Literal["nothing", "progress", "output"] = "progress",
    ) -> str:
        """Run the pipeline, or continue the run whose key is `project_job`.

        A process that imports the study to run a step of it ends the import at this call. So does `orchestrator run`,
        which then runs the pipeline itself.

        Parameters
        ----------
        mode : {"local", "slurm"}, default "local"
            `"local"`: run on this machine, and return when the run has ended. `"slurm"`: submit to a cluster, and
            return immediately.
        cluster : SlurmCluster, optional
            The cluster; required with `mode="slurm"`.
        project_job : str, optional
            Key of the run, and name of its folder. By default a new key of digits.
        rootdir : path-like, optional
            The workspace. By default the current folder. `~`, `$NAME` and `${NAME}` are expanded.
        jobs : int, optional
            Number of experiments that a local run evaluates at the same time. By default the number of CPUs that
            this process may use.
        console : {"nothing", "progress", "output"}, default "progress"
            What a local run shows. What its steps print goes to their logs; with `"output"`, what those print that run
            in this process is printed, too. With `"nothing"` only errors are shown.

        Returns
        -------
        str
            The run's key.

        Raises
        ------
        DefinitionError
            If the pipeline or an argument is not valid; nothing was written.
        StudyChanged
            If the run with this key has recorded other steps than those of this pipeline.
        LeaseHeld
            If another process advances the run.
        Busy
            If SLURM does not answer, or accepts no job now. The run is recorded, and can be resumed.
        RunFailed
            If the run failed or was cancelled. An exception that a step raised in this process is its `__cause__`.
        Interrupted
            After Ctrl-C, SIGTERM or SIGHUP, or after `orchestrator cancel` in another process.
        """
        _end_import(self)  # first, because a task may call this, which needs none of these modules
        from orchestrator.engine.commands import start, submit
        from orchestrator.machine.kinds import Mode

        open_streams()
        if mode not in tuple(Mode):
            raise DefinitionError(f"mode={mode!r} is not valid.", 'Use mode="local" or mode="slurm".')
        if not isinstance(self.steps, list | tuple):
            raise DefinitionError(
                f"The steps of a pipeline must be a list, not {type(self.steps).__name__}.", "Use steps=[...]."
            )
        if rootdir is not None and not isinstance(rootdir, str | os.PathLike):
            raise DefinitionError(
                f"rootdir must be text or a path, not {type(rootdir).__name__}.", "Use the path of a folder."
            )
        workspace = _workspace(rootdir)
        if workspace.root.exists() and not workspace.root.is_dir():
            raise DefinitionError(
                f"rootdir={str(rootdir)!r} is not a folder.", "Use the path of a folder, or omit rootdir."
            )
        if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
            raise DefinitionError(f"jobs={jobs!r} is not valid.", "Use an integer, 1 or more, or None.")
        if Mode(mode) is Mode.SLURM:
            key = cast(str, submit(self, cluster, workspace, project_job=project_job))
            _say_how_to_watch(key, rootdir)
            return key
        with _console(console):
            return cast(str, start(self, workspace, project_job=project_job, jobs=jobs))

    def resume(
        self,
        project_job: str | None = None,
        rootdir: str | Path | None = None,
        *,
        from_step: str | None = None,
        accept_failed: bool = False,
        update: bool = False,
        jobs: int | None = None,
        console: Literal["nothing", "progress", "output"] = "progress",
    ) -> str:
        """Resume a run, with the code that is stored with it or with this pipeline.

        Parameters
        ----------
        project_job : str, optional
            Key of the run. By default the latest run in the workspace.
        rootdir : path-like, optional
            The workspace. By default the current folder.
        from_step : str, optional
            Address of the step to run again first: `"evaluate@3"` is the step at iteration 3; a name without iteration
            is iteration 0. By default the run continues where it stopped.
        accept_failed : bool, default False
            Whether the failed experiments of the step that failed because of them are accepted.
        update : bool, default False
            Whether the run continues with this pipeline. A loop in it may have more or fewer iterations than before,
            and another `until`; the steps after it run again.
        jobs : int, optional
            Number of experiments that a local run evaluates at the same time. By default the number of CPUs that
            this process may use.
        console : {"nothing", "progress", "output"}, default "progress"
            What a local run shows, as in `run`.

        Returns
        -------
        str
            The run's key.

        Raises
        ------
        NotFound
            If there is no such run.
        DefinitionError
            If the run has no such step, or has not reached it; or if there are no failed experiments to accept.
        StudyChanged
            If a step that has run is missing in this pipeline, or is at another position.
        LeaseHeld, Busy, RunFailed, Interrupted
            See `run`.

        Examples
        --------
        >>> key = pipeline.resume("4711", from_step="evaluate@3")  # doctest: +SKIP
        """
        _end_import(self)
        from orchestrator.db.run_rows import latest_key
        from orchestrator.engine.commands import checked_pipeline, resume

        open_streams()
        workspace = _workspace(rootdir)
        key = latest_key(workspace.database) if project_job is None else project_job
        new = checked_pipeline(workspace, key, self) if update else None
        with _console(console):
            return resume(workspace, key, from_step=from_step, accepts_failed=accept_failed, update=new, jobs=jobs)

    def retry(
        self,
        project_job: str | None = None,
        rootdir: str | Path | None = None,
        *,
        jobs: int | None = None,
        console: Literal["nothing", "progress", "output"] = "progress",
    ) -> str:
        """Evaluate the failed experiments of a run again, and no others, with the code that is stored with it.

        Parameters
        ----------
        project_job : str, optional
            Key of the run, which has ended. By default the latest run in the workspace.
        rootdir : path-like, optional
            The workspace. By default the current folder.
        jobs : int, optional
            Number of experiments that a local run evaluates at the same time. By default the number of CPUs that
            this process may use.
        console : {"nothing", "progress", "output"}, default "progress"
            What a local run shows, as in `run`.

        Returns
        -------
        str
            The run's key.

        Raises
        ------
        NotFound
            If there is no such run.
        DefinitionError
            If no experiment of the run has failed.
        LeaseHeld, Busy, RunFailed, Interrupted
            See `run`.

        Examples
        --------
        >>> key = pipeline.retry("4711")  # doctest: +SKIP
        """
        _end_import(self)
        from orchestrator.db.run_rows import latest_key
        from orchestrator.engine.commands import retry

        open_streams()
        workspace = _workspace(rootdir)
        key = latest_key(workspace.database) if project_job is None else project_job
        with _console(console):
            return retry(workspace, key, jobs=jobs)

    def status(self, project_job: str | None = None, rootdir: str | Path | None = None) -> RunStatus:
        """Return the status of a run, from the records and the files of tasks that run; SLURM is not asked.

        Parameters
        ----------
        project_job : str, optional
            Key of the run. By default the latest run in the workspace.
        rootdir : path-like, optional
            The workspace. By default the current folder.

        Returns
        -------
        RunStatus
            The run, its steps, running jobs, failures and their reasons: the values that `orchestrator status --json`
            prints (docs/reference/json.md).

        Raises
        ------
        NotFound
            If there is no such run.

        Examples
        --------
        >>> pipeline = Pipeline("samples", steps=[Step(lambda project_dir: None, name="nothing")])
        >>> key = pipeline.run()
        >>> str(pipeline.status(key).run.state)
        'succeeded'
        """
        from orchestrator.db.status import run_status
        from orchestrator.engine.live import live_status

        workspace, now = _workspace(rootdir), time.time()
        return live_status(workspace, run_status(workspace.database, project_job, now, whole=True), now)

    def generate_scripts(
        self, cluster: SlurmCluster, project_job: str = "PLACEHOLDER", rootdir: str | Path | None = None
    ) -> dict[str, str]:
        """Return the scripts of the jobs that `run` would submit. Nothing is written, and SLURM is not asked.

        Parameters
        ----------
        cluster : SlurmCluster
            The cluster.
        project_job : str, default "PLACEHOLDER"
            Key of the run.
        rootdir : path-like, optional
            The workspace. By default the current folder.

        Returns
        -------
        dict of str to str
            The scripts by label: `create`, in a loop `loop1_run`, and `orchestrator`. ITERATION, TASKS, TOKEN and JOB
            in their commands are placeholders for values that are known only at submission.

        Raises
        ------
        DefinitionError
            If the pipeline or the cluster is not valid.

        Examples
        --------
        >>> pipeline = Pipeline("samples", steps=[Step(lambda project_dir: None, name="nothing")])
        >>> list(pipeline.generate_scripts(SlurmCluster(partition="compute")))
        ['nothing', 'orchestrator']
        """
        from orchestrator.engine.cluster.check import script_texts

        return script_texts(self, cluster, project_job, _workspace(rootdir).root)


def _end_import(pipeline: Pipeline) -> None:
    """Raise an exception if the study is imported and not run."""
    if is_loading():
        raise EndOfLoading(pipeline)
    if is_child_import():
        raise DefinitionError(
            "A child process of multiprocessing imports the study, so it does not run the pipeline again.",
            'Put the call of run or resume under: if __name__ == "__main__":',
        )


def _workspace(rootdir: str | Path | None) -> Workspace:
    from orchestrator.expansion import expanded
    from orchestrator.sharing import is_allowed

    if "\0" in str(rootdir):
        raise DefinitionError(f"rootdir={str(rootdir)!r} can't be a folder.", "Use a path without NUL.")
    workspace = Workspace.at(expanded(rootdir or ".", "rootdir"))
    if rootdir is None and is_foreign(workspace.database) and not is_allowed(workspace.database):
        raise DatabaseError(
            f"{workspace.database} belongs to {owner_of(workspace.database)}, so it is used only if it is named.",
            'Name it: rootdir="."',
        )
    return workspace


def _console(shows: str) -> AbstractContextManager[None]:
    """Return the context in which the console shows this."""
    from orchestrator.engine.progress import Console, console

    if shows not in tuple(Console):
        raise DefinitionError(f"console={shows!r} is not valid.", 'Use "nothing", "progress" or "output".')
    return console(Console(shows))


def _say_how_to_watch(key: str, rootdir: str | Path | None) -> None:
    import shlex

    where = "" if rootdir is None else f" --rootdir {shlex.quote(str(rootdir))}"
    print(f"Show its status: orchestrator status {key}{where}", file=sys.stderr)
