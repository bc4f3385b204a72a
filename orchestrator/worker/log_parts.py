"""Which part of a task's log an experiment has printed.

The line with its result says it, unless it has printed nothing. While it is evaluated, and after the death of its
task, the file that says what is evaluated (`orchestrator.worker.running`) has the begin. Then the part ends where the
next one begins, or with the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.damage import Damaged, written_part
from orchestrator.data.results import unframe
from orchestrator.errors import DataError
from orchestrator.handoff.jobfile import JobFile
from orchestrator.worker.running import read_cuts, read_together
from orchestrator.workspace import RunFolder

__all__ = ["LogPart", "find_part"]


class LogPart(NamedTuple):
    """A part of a log.

    Attributes
    ----------
    task : int
        The task whose log it is.
    begin : int
        First byte.
    end : int or None
        The byte after the last one; None: the end of the log.
    n_experiments : int
        Number of experiments that were evaluated together, by one call.
    """

    task: int
    begin: int
    end: int | None
    n_experiments: int


def find_part(folder: RunFolder, job: JobFile, row: int) -> LogPart | None:
    """Return what an experiment has printed in a job, the last time; None if it was not evaluated there."""
    finished = [part for path in folder.result_files(job.project_dir, job.token) for part in _of_results(path, row)]
    if finished:
        return finished[-1]
    job_folder = folder.job(job.token)
    begun = [part for path in (*job_folder.stopped(), *job_folder.running_of()) for part in _of_running(path, row)]
    return begun[-1] if begun else None


def _of_results(path: Path, row: int) -> Iterator[LogPart]:
    """Yield the parts of an experiment that a result file names."""
    task = _task_of(path)
    try:
        content = written_part(path)
    except (OSError, Damaged):
        return
    # Most lines are of other experiments, and are not decoded.
    for found in re.finditer(rb'\{"row":%d,' % row, content):
        begin_of_line, end_of_line = content.rfind(b"\n", 0, found.start()) + 1, content.find(b"\n", found.end())
        try:
            line = unframe(content[begin_of_line : end_of_line + 1])
        except DataError:
            continue
        part = line.get("log", [0, 0])
        if task is None or line.get("row") != row or not _is_part(part):
            continue
        begin, end = part
        n = len(re.findall(rb',"log":\[%d,%d\]\}\n' % (begin, end), content)) if end is not None else 1
        yield LogPart(task, begin, _end(content, begin) if end is None else end, max(n, 1))


def _of_running(path: Path, row: int) -> Iterator[LogPart]:
    """Yield the parts of an experiment that is evaluated now, or that was cut."""
    task, rows = _task_of(path), read_together(path)
    cuts = [cut for cut in read_cuts(path, "", "") if cut.log_begin is not None]
    begins = [cut.log_begin for cut in cuts if cut.log_begin is not None]
    for number, cut in enumerate(cuts):
        is_last = cut.key[0] in rows and number == len(cuts) - 1
        if task is not None and cut.log_begin is not None and row in (rows if is_last else [cut.key[0]]):
            later = [begin for begin in begins if begin > cut.log_begin]
            yield LogPart(task, cut.log_begin, min(later, default=None), len(rows) if is_last else 1)


def _end(content: bytes, begin: int) -> int | None:
    """Return where the first part begins that follows one."""
    begins = [int(found[1]) for found in re.finditer(rb',"log":\[(\d+),', content)]
    return min((other for other in begins if other > begin), default=None)


def _is_part(part: object) -> bool:
    if not isinstance(part, list) or len(part) != 2:
        return False
    begin, end = part
    return type(begin) is int and begin >= 0 and (end is None or (type(end) is int and end >= begin))


def _task_of(path: Path) -> int | None:
    number = path.name.partition(".")[0]
    return int(number) if number.isdecimal() else None
