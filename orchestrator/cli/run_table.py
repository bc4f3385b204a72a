"""The tables of a run, with the record of each experiment."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.cli.workspace import name_run
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.machine.states import RunState

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.records import Record
    from orchestrator.db.views import RunStatus
    from orchestrator.workspace import Workspace

__all__ = ["RunTable", "evaluated_now", "one_table", "tables_of"]


NOW = "now"
"""What the experiment that is evaluated now has in place of a kind of failure."""


class RunTable(NamedTuple):
    """A table of a run.

    Attributes
    ----------
    project_dir : str
        Its folder, relative to the run's folder.
    data : ExperimentData
        Its experiments, with the results that are not folded yet.
    records : list of Record or None
        How each row got its result.
    """

    project_dir: str
    data: ExperimentData
    records: list[Record | None]


def tables_of(workspace: Workspace, key: str) -> list[RunTable]:
    """Return the tables of a run that exist.

    Raises
    ------
    DataError
        If one can't be read.
    """
    return [_read(workspace, key, name) for name in _names(workspace, key)]


def one_table(workspace: Workspace, key: str, project_dir: str | None = None) -> RunTable:
    """Return the table of a run.

    Parameters
    ----------
    workspace : Workspace
        The workspace.
    key : str
        Key of the run.
    project_dir : str, optional
        Which one, if it has several.

    Raises
    ------
    NotFound
        If there is none, or there are several and none is named.
    DataError
        If it can't be read.
    """
    from orchestrator.db.runs import find_run

    names = _names(workspace, key)
    if project_dir is None and len(names) > 1:
        raise NotFound(
            f"Run {key} has several tables: {', '.join(names)}.",
            f"Name one: {_command()} {key} --project-dir {shlex.quote(names[0])}",
        )
    if project_dir is not None and project_dir not in names:
        has = f"Its tables: {', '.join(names)}" if names else f"Show its status: orchestrator status {key}"
        raise NotFound(f"Run {key} has no table {project_dir!r}.", has)
    if not names:
        has_ended = find_run(workspace.database, key).state is not RunState.ACTIVE
        workspace.run(key).check_exists(has_ended=has_ended)
        raise NotFound(f"Run {key} has no table yet, or it was deleted.", f"Show its status: orchestrator status {key}")
    return _read(workspace, key, project_dir or names[0])


def evaluated_now(workspace: Workspace, status: RunStatus, project_dir: str) -> set[int]:
    """Return the row labels of the experiments of a table that tasks evaluate now."""
    from orchestrator.handoff.jobfile import read_jobfile
    from orchestrator.worker.running import read_cuts

    rows: set[int] = set()
    if status.now is None or status.run.stalled:
        return rows
    for job in status.now.jobs:
        folder = workspace.run(status.run.key).job(job.token)
        paths = folder.running_of() if job.ended_at is None else []
        with suppress(OrchestratorError):
            if paths and read_jobfile(folder.file, job.job_file).project_dir == project_dir:
                cuts = (cut for path in paths for cut in read_cuts(path, NOW, ""))
                rows |= {cut.key[0] for cut in cuts if cut.kind == NOW}
    return rows


def _command() -> str:
    context = click.get_current_context(silent=True)
    return f"orchestrator {'table' if context is None else context.info_name}"


def _names(workspace: Workspace, key: str) -> list[str]:
    from orchestrator.db.runs import project_dirs
    from orchestrator.table_folder import data_folder

    folder, names = workspace.run(key), project_dirs(workspace.database, key)
    return [name for name in names if (data_folder(folder.table(name)) / "domain.json").exists()]


def _read(workspace: Workspace, key: str, name: str) -> RunTable:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.records import records_of

    name_run(key)
    data, _ = ExperimentData.load(workspace.run(key).table(name))
    return RunTable(name, data, records_of(data))
