"""Fork a run: a new run that begins at one of its steps, with the tables as they were when that step began.

Which tables these are is decided in `orchestrator.machine.earlier_tables`. All that the new run needs is copied, so
that neither run can break the other. Its folder is made under another name, and gets its own just before the run is
recorded.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from orchestrator.amounts import plural, size_text
from orchestrator.atomic import PRIVATE, write_atomically
from orchestrator.damage import Damaged, open_regular
from orchestrator.data.kept_table import KeptTable, put_back
from orchestrator.data.open_table import opened_table
from orchestrator.data.table_links import is_link_of_a_table
from orchestrator.db.store import NewRun, RunRecord, Store
from orchestrator.engine.cleaning import DELETED
from orchestrator.engine.code import CheckedPipeline, asks_again, study_change_message
from orchestrator.engine.create import check_new_key, make_engine_folder
from orchestrator.engine.kept_tables import about_edits, read_then, tables_then
from orchestrator.engine.resume import position_of
from orchestrator.errors import DataError
from orchestrator.holes import copy_written
from orchestrator.machine.plan import Plan
from orchestrator.machine.replan import NewSteps, where_new_steps_begin
from orchestrator.machine.rewind import WHERE_IT_STOPPED, check_position, where_to_fork
from orchestrator.table_folder import DATA_FOLDER, RESULTS, SCRATCH, TABLE_FILES
from orchestrator.trust import ENGINE, check_run_folder, read_private
from orchestrator.workspace import RunFolder, Workspace

__all__ = ["Fork", "make_fork", "prepare_fork"]


class Fork(NamedTuple):
    """A fork that is about to be made.

    Attributes
    ----------
    record : RunRecord
        The run that it is made of.
    plan : Plan
        Its steps: those of the run, or of the new code where the new run continues a longer pipeline.
    position : int
        Where it begins.
    address : str
        The step there.
    tables : dict of str to KeptTable
        Its tables, by their folder; None for one that is copied as it is.
    key : str
        The key of the new run.
    lines : list of str
        What will be done, in sentences.
    """

    record: RunRecord
    plan: Plan
    position: int
    address: str
    tables: dict[str, KeptTable | None]
    key: str
    lines: list[str]


def prepare_fork(
    workspace: Workspace,
    key: str,
    from_step: str | None,
    new_key: str | None,
    update: str | None = None,
    checked: CheckedPipeline | None = None,
) -> Fork:
    """Return what a fork will do. Nothing is written.

    Parameters
    ----------
    workspace : Workspace
        Where the run is recorded.
    key : str
        The run's key.
    from_step : str, optional
        Address of the step with which the new run begins; by default the one at which the run stands.
    new_key : str, optional
        The key of the new run; by default the run's with a number.
    update : str, optional
        The study whose code the new run gets.
    checked : CheckedPipeline, optional
        Its pipeline. If it is longer than that of a run that has succeeded, the new run may begin with what is new.

    Raises
    ------
    DefinitionError
        If there is no such step, the run has not reached it, its table is not kept, or the new key can't be used.
    """
    store = Store(workspace.database)
    record, run, steps = store.own_record(key), store.load(key), store.history.valid_step_runs(key)
    workspace.run(key).check_exists(has_ended=run.has_ended)
    check_run_folder(workspace.run(key).path)
    begin = None
    if checked is not None:
        again = asks_again(workspace.run(key), record, WHERE_IT_STOPPED, checked)
        begin = where_new_steps_begin(run, steps, checked.plan, from_step, asks_again=again, study=checked.study)
    if begin is None:
        if from_step is None:
            position = where_to_fork(run, store.history.first_failed(key))
        else:
            position = position_of(key, run.plan, from_step)
        check_position(run, position, {step.position for step in steps})
        begin = NewSteps(run.plan, position, position)
    position, address = begin.position, begin.plan.slot(begin.position).address
    folder = workspace.run(key)
    tables = {
        name: None if then is None else read_then(folder, run.mark, then)
        for name, then in tables_then(store, key, begin.at_tables).items()
    }
    new = _key(store, key, new_key)
    copied = [path.lstat().st_size for path in _copied_files(folder, tables)]
    is_new = begin.plan is not run.plan
    what = f"continues run {key} with {address}" if is_new else f"begins with {address}, as it is in run {key}"
    lines = [f"New run {new}: {what}."]
    if any(table is not None for table in tables.values()):
        lines.append(f"Its table is that of run {key} when {run.plan.slot(begin.at_tables).address} began.")
    lines += [line for table in tables.values() if table is not None for line in about_edits(table)]
    if copied:
        n = plural(len(copied), "other file")
        lines.append(f"Copies {n} ({size_text(sum(copied))}) of the run's folder as they are now.")
    if update is not None:
        lines.append(f"It gets the code of {update}.")
    elif study_change_message(folder, record) is not None:
        source = record.study or "STUDY.py"
        lines.append(
            "Attention: the study has changed since. The new run uses the code that is stored with the old one."
        )
        lines.append(f"For the code as it is now: orchestrator fork {key} --from {address} --update {source}")
    return Fork(record, begin.plan, position, address, tables, new, lines)


def make_fork(workspace: Workspace, fork: Fork) -> str:
    """Make the folder of the new run, record the run, and return its key.

    Raises
    ------
    DataError
        If a file can't be copied, or a folder of that name has appeared meanwhile.
    """
    store, record = Store(workspace.database), fork.record
    temporary = workspace.run(f"{DELETED}fork.{os.urandom(4).hex()}")
    try:
        _copy_folder(workspace.run(record.key), temporary, fork)
        target = workspace.run(fork.key).path
        target.mkdir()  # a folder of that name that has appeared is not replaced
        temporary.path.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(temporary.path, ignore_errors=True)
        raise DataError(
            f"Run {record.key} can't be forked: {_why(error)}.", "Check the free space, then fork again."
        ) from error
    values = {name: getattr(record, name) for name in NewRun.__dataclass_fields__}
    salt = os.urandom(16).hex()
    values |= {"key": fork.key, "salt": salt, "first_position": fork.position, "root": workspace.real_root}
    values |= {"plan": fork.plan, "forked_from": record.key, "forked_step": fork.address}
    store.create_run(replace(NewRun(**values)), time.time())
    return fork.key


def _why(error: OSError) -> str:
    """Return why files could not be copied: the first reason of what may be a list of them."""
    if isinstance(error, shutil.Error):
        source, _, why = error.args[0][0]
        return str(why) if source in str(why) else f"{source}: {why}"
    return str(error)


def _key(store: Store, key: str, new: str | None) -> str:
    """Return the key of a fork: the given one, else that of its run with the first free number, from `KEY-2` on."""
    root = store.workspace.root
    if new is None:
        number = 2
        while store.has(f"{key}-{number}") or os.path.lexists(root / f"{key}-{number}"):
            number += 1
        return f"{key}-{number}"
    check_new_key(store.workspace, new)
    return new


def _copy_folder(source: RunFolder, target: RunFolder, fork: Fork) -> None:
    record = fork.record
    # Links are copied as links: they are not followed.
    ignored = _ignored(source, fork.tables)
    shutil.copytree(source.path, target.path, symlinks=True, ignore=ignored, copy_function=_copy_file)
    make_engine_folder(target)
    if record.bundle_digest is not None:
        shutil.copytree(source.bundle(record.bundle_digest), target.bundle(record.bundle_digest), symlinks=True)
    secrets = (record.cluster or {}).get("env_vars")
    if secrets is not None:
        target.env_vars(secrets).parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(target.env_vars(secrets), read_private(source.env_vars(secrets)), PRIVATE)
    for name, table in fork.tables.items():
        if table is None:
            _copy_table(source.table(name), target.table(name))
        elif table.contents:
            put_back(target.table(name), table.contents)


def _copy_table(source: Path, target: Path) -> None:
    """Copy a table as it is, with the results that are not folded yet."""
    with suppress(FileNotFoundError), opened_table(source) as opened:
        put_back(target, {name: file.read() for name, file in opened.files.items()})
        for path in opened.results:
            to = target / DATA_FOLDER / RESULTS / path.parent.name / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(path, to)


def _copy_file(source: Path | str, target: Path | str) -> None:
    """Copy a file that is not a link, with its holes."""
    try:
        with open_regular(Path(source)) as file, Path(target).open("xb") as copy:
            copy_written(file, copy)
    except Damaged as error:
        raise OSError(f"{source}: {error}") from error
    shutil.copystat(source, target)


def _ignored(folder: RunFolder, tables: dict[str, KeptTable | None]) -> Callable[[str, list[str]], set[str]]:
    """Return which names of a folder are not copied: the files of the engine and of tables, and of experiments."""
    of_tables = {folder.table(name) for name in tables}

    def ignored(where: str, names: list[str]) -> set[str]:
        path = Path(where)
        if path.parent in of_tables and path.name == DATA_FOLDER:
            return {name for name in names if name.startswith(".") or name in TABLE_FILES}
        return {
            name
            for name in names
            if (path == folder.path and name == ENGINE)
            or (path in of_tables and name == SCRATCH)
            or is_link_of_a_table(path / name)
        }

    return ignored


def _copied_files(folder: RunFolder, tables: dict[str, KeptTable | None]) -> list[Path]:
    ignored, found = _ignored(folder, tables), []
    for where, folders, names in os.walk(folder.path):
        left_out = ignored(where, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out]
        found += [Path(where, name) for name in names if name not in left_out]
    return found
