"""Begin and end a receipt, and describe an exception for it: how long its text may be, and where it was raised.

How many different errors of experiments are in it is decided in `orchestrator.failure_groups` (`MAX_CAUSES`), and what
else is, and when it is believed, in `orchestrator.handoff.receipt`.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from orchestrator.errors import StudyError
from orchestrator.handoff.counts import Counts, write_counts
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.receipt import Receipt, write_receipt
from orchestrator.host import rss_in_mb
from orchestrator.text import clean, shortened
from orchestrator.worker.library_code import is_of_a_library
from orchestrator.workspace import RunFolder

__all__ = ["begin_receipt", "describe_exception", "describe_reason", "end_receipt", "fail_receipt"]

OURS = str(Path(__file__).resolve().parents[1])

LONGEST_TYPE = 200
LONGEST_MESSAGE = 2_000
LONGEST_TRACEBACK = 20_000
"""Characters that are recorded of an exception. Of a longer text the middle is left out."""


def begin_receipt() -> Receipt:
    """Return a receipt for work that begins now. `end_receipt` completes it."""
    now = time.time()
    return Receipt("succeeded", now, now, os.uname().nodename, os.getpid(), cpu_seconds=-_cpu_seconds())


def end_receipt(
    folder: RunFolder,
    job: JobFile,
    task: int,
    restart: int,
    receipt: Receipt,
    usage: tuple[float, float] | None = None,
) -> Receipt:
    """Complete and write a receipt: the work has ended.

    Parameters
    ----------
    folder, job, task, restart
        Of which task, and how often it was restarted.
    receipt : Receipt
        The receipt that was begun.
    usage : tuple of float, optional
        CPU time in seconds and peak memory in MB of the work; by default those of this process.
    """
    receipt.ended_at = time.time()
    if usage is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        usage = (receipt.cpu_seconds + _cpu_seconds(), rss_in_mb(peak))
    receipt.cpu_seconds, receipt.max_rss_mb = round(usage[0], 3), usage[1]
    write_receipt(folder.job(job.token).receipt(task, restart), receipt)
    return receipt


def fail_receipt(folder: RunFolder, job: JobFile, task: int, restart: int, error: StudyError) -> Receipt:
    """Write the receipt of a task whose code can't be loaded: the user's code raised an exception. Also print it."""
    receipt, cause = begin_receipt(), error.__cause__ or error
    where, _, _ = error.message.partition(f": {type(cause).__name__}: ")
    cure = f". {error.hint}" if isinstance(cause, ModuleNotFoundError) else ""
    receipt.state, receipt.kind, receipt.exception = "failed", "exception", cause
    receipt.error = described = describe_exception(cause)
    described["message"] = f"{described['message']} ({where}{cure})"
    print(described["traceback"], error.hint, sep="", file=sys.stderr, flush=True)
    if job.evaluates:
        write_counts(folder.job(job.token), task, restart, Counts())
    return end_receipt(folder, job, task, restart, receipt)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def describe_exception(error: BaseException) -> dict[str, str]:
    """Describe an exception of the user's code, whatever its class does when it is asked for its text.

    Returns
    -------
    dict of str to str
        `type`, `message` and `traceback`: clean text. The traceback begins with the user's code. If the message is
        longer than 2,000 characters, or the traceback longer than 20,000, its middle is left out. `place`: file and
        line of the last line of the user's code in the traceback; without one, that of a library; empty if this package
        raised it. The
        message and the traceback end with advice on an error that says little about what to do (`advice_on`).
    """
    from orchestrator.worker.advice import advice_on  # Few tasks need it.

    message, traceback = _text(lambda: str(error), LONGEST_MESSAGE), _text(lambda: _traceback(error), LONGEST_TRACEBACK)
    if advice := advice_on(error):
        message = f"{message} ({advice})" if message else advice
        traceback += f"Advice: {advice}.\n"
    return {
        "type": shortened(clean(str(type(error).__name__)), LONGEST_TYPE),
        "message": message,
        "traceback": traceback,
        "place": clean(_place(error))[-LONGEST_MESSAGE:],
    }


def describe_reason(reason: str) -> dict[str, str]:
    """Describe why a data generator has marked an experiment as an error, as `describe_exception` does."""
    return {"type": "marked", "message": clean(shortened(str(reason), LONGEST_MESSAGE)), "traceback": ""}


def _place(error: BaseException) -> str:
    """Return the last line of the user's code in a traceback, as `file:line`; without one, that of a library."""
    from traceback import walk_tb

    all_lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    lines = [place for place in all_lines if not _is_no_users(place[0])]
    of_user = [place for place in lines if not is_of_a_library(place[0])]
    return "".join(f"{file}:{line}" for file, line in (of_user or lines)[-1:])


def _traceback(error: BaseException) -> str:
    from traceback import format_exception  # Few tasks need it.

    begin = error.__traceback__
    while begin is not None and begin.tb_next is not None and _is_no_users(begin.tb_frame.f_code.co_filename):
        begin = begin.tb_next
    if begin is not None and _is_no_users(begin.tb_frame.f_code.co_filename):
        begin = None  # an error that this package has found in what the user gave: its own line says nothing
    return "".join(format_exception(type(error), error, begin))


def _is_no_users(file: str) -> bool:
    return file.startswith((OURS, "<frozen ")) or file == import_module.__code__.co_filename


def _text(function: Callable[[], str], longest: int) -> str:
    try:
        text = function()
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # the user's exception may raise anything when it is asked for its text
        return f"(the text can't be shown: {type(broken).__name__})"
    # First shorter, because a message may have many megabytes.
    return clean(shortened(text, longest))
