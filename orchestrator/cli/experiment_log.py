"""Find and print the part of a log that one experiment has printed."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from os import SEEK_CUR
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.addresses import format_address
from orchestrator.cli.render import echo, echo_output, screen_width, shorten
from orchestrator.damage import Damaged, open_regular
from orchestrator.errors import DataError, NotFound, NotYet
from orchestrator.holes import skip_hole
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.db.views import StepLogs
    from orchestrator.worker.log_parts import LogPart

__all__ = [
    "Output",
    "address_of_experiment",
    "find_output",
    "follow_experiment",
    "print_experiment",
    "print_part",
    "print_why_failed",
]

CHUNK = 1 << 20


class Output(NamedTuple):
    """What an experiment has printed.

    Attributes
    ----------
    log : Path
        The log of its task.
    part : LogPart
        Which part of the log it is.
    printed_until : int
        The end of what was printed when this was found, as a position in the log.
    """

    log: Path
    part: LogPart
    printed_until: int


def find_output(database: Path, step_logs: StepLogs, row: int) -> Output | None:
    """Return the output of the last evaluation of an experiment in a step run; None if it did not begin there."""
    from orchestrator.db.step_runs import jobs_of_step

    address = step_logs.step_run.address
    jobs = reversed(jobs_of_step(database, step_logs.key, step_logs.step_run.name))
    found = (_of_job(database, step_logs, token, sha256, row) for token, sha256, of in jobs if of == address)
    return next(filter(None, found), None)


def address_of_experiment(database: Path, key: str, row: int) -> str:
    """Return the address of the step run that evaluates an experiment now, or has evaluated it last.

    Raises
    ------
    NotFound
        If it was not evaluated.
    """
    from orchestrator.cli.run_table import tables_of
    from orchestrator.db.status import run_status
    from orchestrator.db.step_runs import find_step_run

    now = run_status(database, key).now
    if now is not None and now.n_all is not None:
        step_logs = find_step_run(database, key, now.address)
        if find_output(database, step_logs, row) is not None:
            return now.address
    found = [
        record
        for table in tables_of(Workspace(database), key)
        for label, record in zip(table.data.labels(), table.records, strict=True)
        if label == row and record is not None
    ]
    if found:
        last = max(found, key=lambda record: record.started_at)
        return format_address(last.step, last.iteration)
    address = _address_in_jobs(database, key, row)
    if address is None:
        raise NotFound(
            f"Run {key} has not evaluated experiment {row}.", f"Show its experiments: orchestrator table {key}"
        )
    return address


def _address_in_jobs(database: Path, key: str, row: int) -> str | None:
    """Return the last step run that has evaluated an experiment that is not in the table any more."""
    from orchestrator.db.runs import step_names
    from orchestrator.db.step_runs import find_step_run, jobs_of_step

    for name in reversed(step_names(database, key)[1]):
        with suppress(NotFound, NotYet):
            step_logs = find_step_run(database, key, name)
            for token, sha256, address in reversed(jobs_of_step(database, key, name)):
                if _of_job(database, step_logs, token, sha256, row) is not None:
                    return address
    return None


def print_experiment(database: Path, step_logs: StepLogs, row: int) -> None:
    """Print what an experiment has printed so far.

    Raises
    ------
    NotFound
        If the step run has not evaluated it.
    """
    found = find_output(database, step_logs, row)
    if found is None:
        raise _not_found(database, step_logs, row)
    _print_note(found, row)
    if print_part(found.log, found.part.begin, found.printed_until) == found.part.begin:
        echo(f"Experiment {row} printed nothing.", err=True)


def follow_experiment(database: Path, step_logs: StepLogs, row: int, poll_seconds: float) -> None:
    """Print what an experiment prints, until it or its step has ended; if it is evaluated again, also that.

    Raises
    ------
    NotFound
        If the step run ended and has not evaluated it.
    """
    from orchestrator.db.step_runs import find_step_run

    last: Output | None = None
    offset = 0
    while True:
        # Read first, so that nothing that was printed before the end is missed.
        now = find_step_run(database, step_logs.key, step_logs.step_run.address)
        found = find_output(database, step_logs, row)
        if found is not None:
            if last is None or (last.log, last.part.begin) != (found.log, found.part.begin):
                _print_note(found, row)
                last, offset = found, found.part.begin
            offset = print_part(found.log, offset, found.printed_until)
        if (found is not None and found.part.end is not None) or now.step_run.ended_at is not None or now.stalled:
            break
        time.sleep(poll_seconds)
    if found is None:
        raise _not_found(database, step_logs, row)


def print_why_failed(workspace: Workspace, step_logs: StepLogs, row: int) -> None:
    """Print the error of an experiment that has failed in this step run, as it is in the table now."""
    from orchestrator.cli.run_table import tables_of

    step_run = step_logs.step_run
    for table in tables_of(workspace, step_logs.key):
        for label, record in zip(table.data.labels(), table.records, strict=True):
            if label != row or record is None or record.error is None:
                continue
            if (record.step, record.iteration) == (step_run.name, step_run.iteration):
                _print_error(row, record.error)


def _print_error(row: int, error: Mapping[str, str]) -> None:
    # To standard error: what the experiment has printed may be read by a program.
    why = shorten(f"experiment {row} failed: {error['type']}: {error['message']}", screen_width() - 8)
    echo(f"==> {why} <==", err=True)
    if error.get("traceback"):
        echo(error["traceback"].rstrip(), err=True)


def print_part(log: Path, begin: int = 0, end: int | None = None) -> int:
    """Print a part of a log, without reading it as a whole, and return where it ended.

    Parts that were never written, as a log has that a program shortened while another one writes to it, are left out.

    Raises
    ------
    DataError
        If it is no regular file, which could block the command.
    """
    with _opened(log) as file:
        file.seek(begin)
        while content := file.read(CHUNK if end is None else max(0, min(CHUNK, end - file.tell()))):
            before = file.tell() - len(content)
            if content.endswith(b"\0") and skip_hole(file, end):
                written = content.rstrip(b"\0")
                echo_output(written)
                n_left_out = file.tell() - before - len(written)
                echo(f"==> {n_left_out} bytes of {log} were never written, and are left out <==", err=True)
                continue
            n_printed = echo_output(content)
            if n_printed < len(content):
                file.seek(n_printed - len(content), SEEK_CUR)
            if not n_printed:
                break
        return file.tell()


def _opened(log: Path) -> BinaryIO:
    try:
        return open_regular(log, follow=True)
    except Damaged as error:
        raise DataError(
            f"The log {log} can't be read: {error}.", f"Show its permissions: ls -l {shlex.quote(str(log))}"
        ) from error


def _of_job(database: Path, step_logs: StepLogs, token: str, sha256: str | None, row: int) -> Output | None:
    from orchestrator.handoff.jobfile import read_jobfile
    from orchestrator.worker.log_parts import find_part

    run = Workspace(database).run(step_logs.key, step_logs.log_dir)
    if not run.job(token).file.exists():
        return None
    try:
        job = read_jobfile(run.job(token).file, sha256)
    except DataError as error:
        address = shlex.quote(step_logs.step_run.address)
        command = f"orchestrator logs {step_logs.key} {address}"
        raise DataError(f"{error.message}.", f"Show the log of the step: {command}") from error
    part = find_part(run, job, row)
    if part is None:
        return None
    index = part.task - job.first_task if step_logs.numbered_by_batch else part.task
    log = run.log(job.label, job.iteration, *((token, index) if job.parallel else ()))
    if not log.exists():
        address = shlex.quote(step_logs.step_run.address)
        raise NotFound(
            f"The log of experiment {row} is missing: {log}",
            f"Show the failures of its step: orchestrator logs {step_logs.key} {address}",
        )
    # If the experiment has still not ended after this, nothing of the next one is among these bytes.
    size = log.stat().st_size
    part = find_part(run, job, row) or part
    return Output(log, part, size if part.end is None else part.end)


def _print_note(found: Output, row: int) -> None:
    if found.part.n_experiments > 1:
        note = f"Experiment {row} was evaluated by one call with {found.part.n_experiments - 1} others. All printed:"
        echo(note, err=True)


def _not_found(database: Path, step_logs: StepLogs, row: int) -> NotFound:
    from orchestrator.db.step_runs import jobs_of_step

    address, key = step_logs.step_run.address, step_logs.key
    message = f"Step {address} of run {key} has not evaluated experiment {row}."
    for token, sha256, other in reversed(jobs_of_step(database, key, step_logs.step_run.name)):
        if other != address and _of_job(database, step_logs, token, sha256, row) is not None:
            command = f"orchestrator logs {key} {shlex.quote(other)} --experiment {row}"
            return NotFound(message, f"{other} has. Show its output: {command}")
    return NotFound(message, f"Show the log of the step: orchestrator logs {key} {shlex.quote(address)}")
