"""The work on the tables of a run between its steps: freeze, fold and collect.

Freezing writes the open experiments to a manifest. Folding brings result files into a table. Collecting folds in a step
of its own, and also brings in the files of f3dasm's array tasks.

An error in a table fails the step that needs the table: otherwise each advance would find it again, and the run would
never end. An error of the file system that may pass is retried instead.

Only a repeated step evaluates failed experiments again: those of the manifests of its earlier epochs
(`_failed_earlier`). Which step a resume repeats is decided by `where_to_resume` in
`orchestrator.machine.resume_point`, which ones a retry repeats by `_retry` in `orchestrator.machine.rewind`, and
whether accepted failures are evaluated again by `freeze_table` in `orchestrator.engine.table_jobs`.

Functions import what needs NumPy, because a fold with nothing to do then costs nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from errno import EAGAIN, ENOMEM
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.damage import NETWORK_ERRORS
from orchestrator.data.expected_results import Expected
from orchestrator.data.fold import FoldReport, fold
from orchestrator.data.many_objects import many_objects
from orchestrator.data.result_folders import all_result_files
from orchestrator.data.results import read_results
from orchestrator.errors import Busy, DataError, OrchestratorError, TableBusy
from orchestrator.handoff.manifest import Entry, Manifest, lines_of, tasks_for, write_manifest
from orchestrator.table_folder import data_folder
from orchestrator.worker.advice import advice_on
from orchestrator.worker.keep_tables import keep
from orchestrator.worker.processes import is_full_disk
from orchestrator.worker.running import read_cuts
from orchestrator.workspace import RunFolder

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.sample_files import CollectedFiles

__all__ = [
    "Collected",
    "Frozen",
    "Request",
    "collect",
    "fold_all",
    "freeze",
    "is_outdated",
    "no_table",
    "results_without_table",
    "take_as_edited",
]

RecordedManifest = tuple[Path, str]
"""A manifest, and its digest as recorded."""

TEMPORARY = NETWORK_ERRORS | {EAGAIN, ENOMEM}
"""Errors of the file system after which a table can be read later."""


# --- freeze -------------------------------------------------------------------------------------


@dataclass
class Request:
    """What is to be frozen; only JSON values.

    Attributes
    ----------
    position, epoch : int
        Position and epoch of the step run.
    mark : str
        `Run.mark`, a part of the manifest's path.
    project_dir : str
        Folder of the table, relative to the run's.
    per_task, max_tasks : int or None
        How the experiments are divided into tasks; see `tasks_for`.
    earlier_kinds : dict of str to str
        Tokens of the jobs of all epochs, with the kind of failure if an experiment may be to blame, else empty.
    manifests : dict of str to str
        Digests of the manifests that are recorded, by epoch.
    reopens_failed : bool
        Whether experiments that failed in an earlier epoch are evaluated again.
    expected : dict of str to int
        The results that must be there; as `JobFile.expected`.
    moved : list of [int, int, str]
        Position, epoch and digest of the manifests of the step at other positions, before a loop became longer.
    counted : list of [int, int, str]
        The same of the step runs that count the results of their experiments themselves.
    max_tables : int or None
        How many tables of the run are kept; None: all.
    """

    position: int
    epoch: int
    mark: str
    project_dir: str
    per_task: int | None = None
    max_tasks: int | None = None
    earlier_kinds: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    reopens_failed: bool = True
    expected: dict[str, int] = field(default_factory=dict)
    moved: list[list[Any]] = field(default_factory=list)
    counted: list[list[Any]] = field(default_factory=list)
    max_tables: int | None = None


@dataclass(frozen=True)
class Frozen:
    """The result of `freeze`.

    Attributes
    ----------
    n_experiments, n_tasks : int
        Number of experiments and tasks in the manifest.
    sha256 : str
        Digest of the manifest.
    n_quarantined : int
        Number of results that were quarantined: they belong to no row.
    n_finished_before, n_failed_before : int
        Number of experiments of earlier epochs that are not in the manifest, by their status in the table.
    """

    n_experiments: int
    n_tasks: int
    sha256: str
    n_quarantined: int
    n_finished_before: int = 0
    n_failed_before: int = 0


def freeze(folder: RunFolder, request: Request) -> Frozen:
    """Write the manifest of a step run; an existing one is not changed, unless it is damaged.

    Experiments that failed in an earlier epoch of the step run are set to open, unless that is accepted; those that the
    user has marked as failed are not.

    Raises
    ------
    DataError
        If there is no table, or it can't be read or stored.
    Busy
        If the table can't be reached now, or another process has locked it.
    """
    path, *others = (folder.manifest(request.position, epoch, request.mark) for epoch in range(request.epoch, -1, -1))
    digests = [request.manifests.get(str(epoch)) for epoch in range(request.epoch - 1, -1, -1)]
    earlier = [(other, sha256) for other, sha256 in zip(others, digests, strict=True) if sha256 and other.exists()]
    project_dir = folder.table(request.project_dir)
    n_quarantined = 0
    if not _is_manifest(path):
        with _translated_errors(project_dir), many_objects():
            cuts = _cuts_of(folder, request.earlier_kinds)
            again = earlier if request.reopens_failed else ()
            must = expected_of(request.expected)
            lines, n_quarantined, expected = _fold_and_reopen(project_dir, again, cuts, must)
            keep(folder, request.project_dir, request.position, request.epoch, request.mark, request.max_tables)
            write_manifest(path, tasks_for(lines, request.per_task, request.max_tasks), expected)
    manifest = Manifest.open(path)
    with _translated_errors(project_dir):
        n_finished, n_failed = _counts_before(project_dir, manifest, earlier)
        if request.moved:
            moved, counted = (_recorded(folder, request, each) for each in (request.moved, request.counted))
            n_finished += _finished_before_a_move(project_dir, moved, [(path, manifest.sha256), *earlier, *counted])
    return Frozen(manifest.n_experiments, manifest.n_tasks, manifest.sha256, n_quarantined, n_finished, n_failed)


def _recorded(folder: RunFolder, request: Request, manifests: Sequence[Sequence[Any]]) -> list[RecordedManifest]:
    return [(folder.manifest(position, epoch, request.mark), sha256) for position, epoch, sha256 in manifests]


def _finished_before_a_move(
    project_dir: Path, moved: Sequence[RecordedManifest], counted: Sequence[RecordedManifest]
) -> int:
    """Return how many experiments finished that the step evaluated at another position, and no other step counts.

    Failed ones are not judged again.
    """
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.job_status import JobStatus
    from orchestrator.data.row_texts import keys_with

    evaluated = _keys_in(moved) - _keys_in(counted)
    return len(keys_with(ExperimentData.from_file(project_dir), JobStatus.FINISHED) & evaluated) if evaluated else 0


def _counts_before(project_dir: Path, manifest: Manifest, earlier: Sequence[RecordedManifest]) -> tuple[int, int]:
    """Return how many experiments of earlier manifests, which are not in this one, finished and failed.

    Those that the user has marked as failed or open, changed or dropped since are not counted.
    """
    evaluated = _keys_in(earlier)
    if evaluated:
        evaluated -= {(entry.row, entry.digest) for entry in manifest}
    if not evaluated:
        return 0, 0
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.job_status import JobStatus
    from orchestrator.data.row_texts import keys_with

    data = ExperimentData.from_file(project_dir)
    finished = keys_with(data, JobStatus.FINISHED) & evaluated
    failed = keys_with(data, JobStatus.ERROR) & evaluated
    return len(finished), len(failed & _recorded_failures(project_dir) if failed else ())


def _is_manifest(path: Path) -> bool:
    """Whether a manifest exists, and none of its tasks is damaged. No job has started yet, so it may be replaced."""
    try:
        manifest = Manifest.open(path)
        manifest.expected_outputs()
        for _ in manifest:
            pass
    except (FileNotFoundError, DataError):
        return False
    return True


def _experiments_of(path: Path, sha256: str | None) -> Iterator[Entry]:
    """Yield the experiments of a manifest, except those of damaged tasks; none if it is another one."""
    with suppress(DataError):
        manifest = Manifest.open(path, sha256)
        for task in range(manifest.n_tasks):
            with suppress(DataError):
                yield from manifest.task(task)


def _keys_in(manifests: Sequence[RecordedManifest]) -> set[tuple[int, str]]:
    """Return row and digest of all experiments of manifests."""
    return {(entry.row, entry.digest) for recorded in manifests for entry in _experiments_of(*recorded)}


def is_outdated(folder: RunFolder, request: Request) -> bool:
    """Whether a manifest contains an experiment without a result that is no longer open in the table.

    The user has marked it, changed or dropped it since. A table that is missing or can't be read is not outdated: the
    step that needs it fails.

    Raises
    ------
    Busy
        If the table can't be reached now.
    """
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.job_status import JobStatus
    from orchestrator.data.row_texts import keys_with

    project_dir = folder.table(request.project_dir)
    with suppress(DataError), _translated_errors(project_dir):
        data = ExperimentData.from_file(project_dir)
        known = keys_with(data, JobStatus.OPEN)
        known |= {(line["row"], line["inputs"]) for line in _lines_of(project_dir)}
        manifest = folder.manifest(request.position, request.epoch, request.mark)
        sha256 = request.manifests.get(str(request.epoch))
        return any((entry.row, entry.digest) not in known for entry in _experiments_of(manifest, sha256))
    return False


def _fold_and_reopen(
    project_dir: Path,
    reopen: Sequence[RecordedManifest],
    cuts: Mapping[tuple[int, str], list[str]],
    must_find: Sequence[Expected],
) -> tuple[list[str], int, list[str] | None]:
    """Fold results into a table, set failed experiments to open and store it.

    Returns
    -------
    lines : list of str
        The open experiments, as a manifest contains them.
    n_quarantined : int
        Number of results that were quarantined.
    expected_outputs : list of str or None
        Names of the outputs that the domain expects.
    """
    from orchestrator.data.experiment_data import ExperimentData
    from orchestrator.data.row_texts import open_rows_of

    n_quarantined = len(fold(project_dir, expected=must_find).quarantined)
    data = ExperimentData.from_file(project_dir)
    failed = _failed_earlier(data, project_dir, reopen)
    if failed:
        data.mark(failed, "open", in_place=True)
        data.store(project_dir)
    # An experiment that has failed and is to be evaluated again has all its tries again.
    cuts = {(label, digest): kinds for (label, digest), kinds in cuts.items() if label not in failed}
    return lines_of(*open_rows_of(data), cuts), n_quarantined, data.domain.expected_outputs


def _failed_earlier(data: ExperimentData, project_dir: Path, manifests: Sequence[RecordedManifest]) -> set[int]:
    """Return the experiments that failed when they were evaluated; others with that status the user has marked."""
    if not manifests:
        return set()
    from orchestrator.data.job_status import JobStatus
    from orchestrator.data.row_texts import keys_with

    failed = keys_with(data, JobStatus.ERROR) & _keys_in(manifests)
    return {label for label, _ in failed & _recorded_failures(project_dir)} if failed else set()


def _recorded_failures(project_dir: Path) -> set[tuple[int, str]]:
    """Return row and digest of the experiments that failed when they were evaluated."""
    from orchestrator.data.job_status import JobStatus

    error = JobStatus.ERROR.name
    return {(line["row"], line["inputs"]) for line in _lines_of(project_dir) if line["status"] == error}


def _lines_of(project_dir: Path) -> Iterator[Mapping[str, Any]]:
    """Yield all lines of the result files of a table, also of those that are in the table."""
    for path in all_result_files(project_dir):
        with suppress(FileNotFoundError):
            yield from read_results(path)


def _cuts_of(folder: RunFolder, kinds: Mapping[str, str]) -> dict[tuple[int, str], list[str]]:
    """Return the kinds of failure of the jobs that ended while an experiment was evaluated."""
    found: dict[tuple[int, str], list[str]] = {}
    for token, kind in kinds.items():
        for path in folder.job(token).running_of():
            for cut in read_cuts(path, kind, ""):
                found.setdefault(cut.key, []).append(cut.kind)
    return found


# --- fold and collect ---------------------------------------------------------------------------


def fold_all(
    folder: RunFolder, project_dirs: Iterable[str], expected: Mapping[str, Mapping[str, int]] | None = None
) -> list[FoldReport]:
    """Fold the results of a run into its tables.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    project_dirs : iterable of str
        Folders of tables, relative to the run's.
    expected : mapping of str to mapping, optional
        The results that must be there, by folder; as `JobFile.expected`.

    Returns
    -------
    list of FoldReport
        One per table.

    Raises
    ------
    DataError
        If a table is missing, or can't be read or stored. Its results stay in their files; other tables are folded.
    Busy
        If a table can't be reached now, or another process has locked it.
    """
    reports, errors = [], []
    for project_dir in project_dirs:
        try:
            with _translated_errors(folder.table(project_dir)):
                must = expected_of((expected or {}).get(project_dir, {}))
                reports.append(fold(folder.table(project_dir), expected=must))
        except OrchestratorError as error:
            # The other tables are still folded.
            errors.append(error)
    if errors:
        raise errors[0]
    return reports


@dataclass(frozen=True)
class Collected:
    """The result of `collect`.

    Attributes
    ----------
    n_quarantined : int
        Number of results that were quarantined: they belong to no row.
    unmatched : dict of str to list of int
        By reason: numbers of the files of f3dasm's tasks that belong to no row. These files are not changed.
    """

    n_quarantined: int
    unmatched: dict[str, list[int]]


def expected_of(counts: Mapping[str, int]) -> list[Expected]:
    """Return what folding must find, from numbers of experiments by tokens, joined by commas."""
    return [Expected(tokens.split(","), n) for tokens, n in counts.items()]


def collect(folder: RunFolder, project_dir: str, expected: Mapping[str, int] | None = None) -> Collected:
    """Do the work of `CollectArrayResults`; a second call finds nothing to do.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    project_dir : str
        Folder of the table, relative to the run's.
    expected : mapping of str to int, optional
        The results that must be there; as `JobFile.expected`.

    Raises
    ------
    DataError
        If there is no table, or it or a file can't be read, or results are missing. Files that were not collected stay
        in their place.
    Busy
        If the table can't be reached now, or another process has locked it.
    """
    from orchestrator.data.sample_files import collect_sample_files, read_sample_files, remove_collected

    where = folder.table(project_dir)
    collected: list[CollectedFiles] = []

    def put(table: ExperimentData) -> int:
        collected.append(collect_sample_files(table, sample_files))
        return len(collected[-1].new)

    with _translated_errors(where):
        sample_files = read_sample_files(where)
        report = fold(where, more=put, expected=expected_of(expected or {}))
        remove_collected([*collected[-1].new, *collected[-1].known])
    unmatched: dict[str, list[int]] = {}
    for found, why in collected[-1].unmatched:
        unmatched.setdefault(why, []).append(found.row)
    return Collected(len(report.quarantined), unmatched)


def take_as_edited(folder: RunFolder, project_dirs: Iterable[str]) -> None:
    """Store tables as they are now, although a file has changed in a way that damage would.

    Raises
    ------
    DataError
        If a table can't be read in this way either.
    Busy
        If a table can't be reached now, or another process has locked it.
    """
    from orchestrator.data.experiment_data import ExperimentData

    for project_dir in project_dirs:
        where = folder.table(project_dir)
        if data_folder(where).exists():
            with _translated_errors(where):
                ExperimentData.from_file(where, as_edited=True).store(where)


# --- errors -------------------------------------------------------------------------------------


@contextmanager
def _translated_errors(project_dir: Path) -> Iterator[None]:
    """Turn any exception in a block into an error about the table of a project folder.

    Raises
    ------
    Busy
        If the file system does not answer now, or there is too little memory: then nothing is known about the table.
    DataError
        For every other exception.
    """
    try:
        yield
    except AssertionError:
        raise  # a bug of the orchestrator
    except Exception as error:
        raise _translated(data_folder(project_dir), error) from error


def no_table(project_dir: Path) -> DataError:
    """Return the error of a step that needs a table where there is none."""
    return DataError(
        f"there is no table in {project_dir / 'experiment_data'}: no step has stored one, or it was deleted.",
        "A step before this one must store a table: ExperimentData(...).store(project_dir)",
    )


def results_without_table(project_dir: Path, key: str) -> DataError:
    """Return the error of a step that finds results, but no table."""
    table = data_folder(project_dir)
    return DataError(
        f"{table} has results of experiments, but no table: it was deleted.",
        f"To see which tables can be put back: orchestrator snapshots {key}\n"
        f"To do without the results: rm -r {shlex.quote(str(table))}",
    )


def _translated(table: Path, error: Exception) -> OrchestratorError:
    cause = error.__cause__ if isinstance(error, DataError) else error
    if isinstance(cause, OSError) and cause.errno in TEMPORARY:
        return TableBusy(f"The table in {table} can't be reached now: {cause.strerror}.", "Retry the command later.")
    if isinstance(cause, OSError) and is_full_disk(cause):
        return DataError(
            f"the table in {table} can't be used: {advice_on(cause)}.",
            "Make room, then type the command again.",
        )
    if isinstance(cause, MemoryError):
        return Busy(
            f"There is too little memory here for the table in {table}.",
            "Retry the command on a machine with more memory.",
        )
    if isinstance(error, OrchestratorError):
        return error
    if isinstance(error, FileNotFoundError) and not (table / "domain.json").exists():
        return no_table(table.parent)
    return DataError(
        f"the table in {table} can't be used: {type(error).__name__}: {error}",
        "Fix or restore its files.",
    )
