"""Write a run to one file, and read it into another workspace.

The file is a tar archive: the records as JSON, the run's folder and its logs. It does not contain the environment and
the `env_vars` of the jobs, which may be secrets. Links are stored as links; only those that stay inside are read again.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.amounts import size_text
from orchestrator.atomic import replacing
from orchestrator.db.deletion import cleanable_runs
from orchestrator.db.exported_rows import import_rows, key_of_salt, rows_of
from orchestrator.db.lease_holder import Holder
from orchestrator.db.runs import find_run
from orchestrator.db.store import Store
from orchestrator.definition.validate import check_key
from orchestrator.engine.cleaning import DELETED
from orchestrator.engine.create import FOLDER_OF_RUN, check_new_key
from orchestrator.engine.lease import hold_lease
from orchestrator.engine.preview import usable_record
from orchestrator.errors import Busy, DataError, DefinitionError
from orchestrator.machine.cleanable import Part, why_kept
from orchestrator.no_links import private_folder
from orchestrator.table_folder import LOCK
from orchestrator.tar_files import Size, add, check_format, extract, not_an_archive, reading, writing
from orchestrator.trust import check_links
from orchestrator.version import __version__
from orchestrator.workspace import RunFolder, Workspace

__all__ = ["Contents", "Imported", "about_archive", "archive", "import_run", "read_contents"]

FOLDERS = ("run", "logs")
"""The folders of an archive."""

SECRET = "env_vars."
"""Files that are left out: how the name begins of those with `env_vars`, and the locks of tables."""

RECORDS = "orchestrator.json"
"""The first file of an archive."""

LARGEST = 2**28
"""Size in bytes of the records from which a run is not archived, and no archive is read."""


class Contents(NamedTuple):
    """The records of an archive.

    Attributes
    ----------
    rows : dict
        Of the run.
    size : Size
        Of what it contains, as its records say.
    lines : list of str
        What an import does, in sentences.
    """

    rows: dict[str, Any]
    size: Size
    lines: list[str]

    @property
    def key(self) -> str:
        """The key that the run had."""
        return str(self.rows["run"]["key"])


class Imported(NamedTuple):
    """A run that was imported: its key, and the links that were left out."""

    key: str
    left_out: list[str]


# --- write ---------------------------------------------------------------------------------------


def about_archive(workspace: Workspace, key: str, output: Path, *, dry_run: bool) -> list[str]:
    """Return what `archive` will do, in sentences.

    Raises
    ------
    Busy
        If the run has not ended, or another process holds its lease.
    DefinitionError
        If the file exists, or its name does not say how to compress it.
    """
    _check(workspace, key)
    Store(workspace.database).leases.check(key, Holder.this_process(), time.time(), dry_run=dry_run)
    if output.exists():
        raise DefinitionError(f"{output} exists already.", "Use another name: -o FILE")
    if output.absolute().is_relative_to(workspace.run(key).path):
        raise DefinitionError("The archive can't be written into the folder of the run.", "Use another folder: -o FILE")
    check_format(output)
    size = _size(_folder(workspace, key))
    return [
        f"Writes run {key} to {output}: its records and {_files_text(size)}.",
        "Left out: the environment and the env_vars of its jobs.",
    ]


def archive(workspace: Workspace, key: str, output: Path) -> int:
    """Write a run to a file, and return the size of the file in bytes.

    Raises
    ------
    Busy
        If the run has not ended, or a process advances it.
    DataError
        If a file can't be read or written, or changes meanwhile; or if the records are too large.
    """
    store = Store(workspace.database)
    with hold_lease(store, key):
        _check(workspace, key)
        folder = _folder(workspace, key)
        size = _size(folder)
        records = {**rows_of(workspace.database, key), "orchestrator": __version__, "size": size}
        content = json.dumps(records).encode()
        if len(content) > LARGEST:
            raise DataError(f"The records of run {key} have {len(content)} bytes, more than an archive may have.")
        try:
            with replacing(output) as file, writing(file, output) as tar:
                entry = tarfile.TarInfo(RECORDS)
                entry.size, entry.mtime = len(content), int(time.time())
                tar.addfile(entry, BytesIO(content))
                for path, name in _files(folder):
                    add(tar, path, name)
                written = tar.getmembers()[1:]
                # A file with several names is written once.
                if len(written) > size.n_files or sum(member.size for member in written) > size.n_bytes:
                    raise DataError(
                        f"A file of run {key} has changed while it was archived.", "Type the command again."
                    )
        except OSError as error:
            raise DataError(
                f"Run {key} can't be written to {output}: {error}.", "Check the free space there."
            ) from error
    return output.stat().st_size


def _check(workspace: Workspace, key: str) -> None:
    usable_record(Store(workspace.database), key)
    check_links(_folder(workspace, key).logs.parent, _folder(workspace, key).logs)
    [run] = [run for run in cleanable_runs(workspace.database) if run.key == key]
    kept = why_kept(run, Part.RUN)
    if kept is not None:
        wait = f"Wait for its end: orchestrator wait {key}\n" if kept.is_active else ""
        raise Busy(f"Run {key} can't be archived: {kept.why}.", wait + kept.hint)


def _folder(workspace: Workspace, key: str) -> RunFolder:
    return workspace.run(key, find_run(workspace.database, key).log_dir)


def _size(folder: RunFolder) -> Size:
    sizes = [found.st_size for path, _ in _files(folder) if stat.S_ISREG((found := path.lstat()).st_mode)]
    return Size(sum(1 for _ in _files(folder)), sum(sizes))


def _files_text(size: Size) -> str:
    return f"{size.n_files} files and folders ({size_text(size.n_bytes)})"


def _files(folder: RunFolder) -> Iterator[tuple[Path, str]]:
    """Yield each file, folder and link of a run, and its name in the archive."""
    secret = {folder.environment}
    roots = [(folder.path, "run")] + ([] if folder.shares_logs else [(folder.logs, "logs")])
    for root, name in roots:
        for where, folders, names in os.walk(root):
            for each in sorted([*folders, *names]):
                path = Path(where, each)
                is_secret = path in secret or path.name.startswith(SECRET) or path.name == LOCK
                try:
                    mode = path.lstat().st_mode
                except FileNotFoundError:  # deleted meanwhile
                    continue
                is_known = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
                if is_known and not is_secret:
                    yield path, f"{name}/{path.relative_to(root)}"


# --- read ----------------------------------------------------------------------------------------


def read_contents(workspace: Workspace, file: Path, new_key: str | None) -> Contents:
    """Return the records of an archive, and what its import will do. Nothing is written.

    Raises
    ------
    NotFound
        If there is no such file.
    DataError
        If it is not an archive of a run.
    DefinitionError
        If the run is in this workspace already, or its key is used.
    """
    with reading(file) as tar:
        rows, size = _records(tar, file)
    key = new_key or str(rows["run"]["key"])
    check_key(key)
    if workspace.database.exists():
        same = key_of_salt(workspace.database, str(rows["run"]["salt"]))
        if same is not None:
            raise DefinitionError(
                f"This run is in the workspace already, as {same}.", f"Show it: orchestrator status {same}"
            )
    check_new_key(workspace, key)
    logs = workspace.run(key).logs
    if os.path.lexists(logs):
        raise DefinitionError(f"There is a folder {logs} already.", "Use another key: --project-job KEY")
    lines = [
        f"Imports run {rows['run']['key']}"
        + (f" as {key}" if new_key else "")
        + f": its records and {_files_text(size)}.",
        f"Into: {workspace.root}",
        "Only import what you trust: a resume runs the code of the archive, and its table may name code.",
    ]
    study = rows["run"].get("study")
    if isinstance(study, str) and not os.path.isfile(study):  # noqa: PTH113 - it may hold any characters
        rows["run"] |= {"study": None, "study_attr": None}
        lines.append(f"Its study {study} is not here: where a command has STUDY.py, give your own path.")
    if (rows["run"]["cluster"] or {}).get("env_vars"):
        lines.append("Its env_vars are not in the archive: continue it with resume --update STUDY.py")
    return Contents(rows, size, lines)


def import_run(workspace: Workspace, file: Path, contents: Contents, new_key: str | None) -> Imported:
    """Read a run from a file into a workspace; its code is not run.

    Raises
    ------
    DataError
        If the archive is damaged; nothing is left of it.
    """
    store, key = Store(workspace.database), new_key or contents.key
    store.create()
    temporary = workspace.root / f"{DELETED}import.{os.urandom(4).hex()}"
    folder = workspace.run(key)
    try:
        temporary.mkdir(mode=0o700)
        with reading(file) as tar:
            _records(tar, file)
            left_out = extract(tar, temporary, FOLDERS, RECORDS, contents.size)
        (temporary / "run").mkdir(exist_ok=True)
        private_folder(temporary / "run" / folder.engine.name)
        folder.path.mkdir(FOLDER_OF_RUN)  # a folder of that name that has appeared is not replaced
        (temporary / "run").chmod(stat.S_IMODE(folder.path.stat().st_mode))
        (temporary / "run").rename(folder.path)
        if (temporary / "logs").is_dir():
            folder.logs.parent.mkdir(exist_ok=True)
            (temporary / "logs").rename(folder.logs)
    except OSError as error:
        hint = "Check the free space there, then type the command again."
        raise DataError(f"The archive {file} can't be imported: {error}.", hint) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    try:
        import_rows(store, contents.rows, key, time.time(), f"imported from {file.name}")
    except (DataError, DefinitionError):
        shutil.rmtree(folder.path, ignore_errors=True)
        shutil.rmtree(folder.logs, ignore_errors=True)
        raise
    return Imported(key, left_out)


def _records(tar: tarfile.TarFile, file: Path) -> tuple[dict[str, Any], Size]:
    try:
        entry = tar.next()
        content = tar.extractfile(entry) if entry is not None and entry.name == RECORDS else None
        if content is None or entry is None or entry.size > LARGEST:
            raise ValueError("its first file is not the records of a run")
        rows = json.load(content)
        if not all(isinstance(rows[table], list) for table in ("step_run", "job", "event")):
            raise ValueError("its records are incomplete")
        _ = str(rows["run"]["key"]), str(rows["run"]["salt"])
        if not isinstance(rows["run"]["cluster"], dict | None):
            raise ValueError("its cluster is damaged")
        n_files, n_bytes = map(int, rows["size"])
        return dict(rows), Size(n_files, n_bytes)
    except (
        ValueError,
        LookupError,
        TypeError,
        OverflowError,
        RecursionError,
        EOFError,
        OSError,
        tarfile.TarError,
    ) as error:
        raise not_an_archive(file, str(error)) from error
