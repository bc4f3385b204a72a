"""Begin and end a receipt, and describe an exception for it."""

from __future__ import annotations

import os
import resource
import time
import traceback
from pathlib import Path

from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.receipt import Receipt, write_receipt
from orchestrator.host import rss_in_mb
from orchestrator.workspace import RunFolder

__all__ = ["begin_receipt", "describe_exception", "end_receipt"]

OURS = str(Path(__file__).resolve().parents[1])
LONGEST = 20_000


def begin_receipt() -> Receipt:
    """Return a receipt for work that begins now. `end_receipt` completes it."""
    now = time.time()
    return Receipt("succeeded", now, now, os.uname().nodename, os.getpid(), cpu_seconds=-_cpu_seconds())


def end_receipt(folder: RunFolder, job: JobFile, task: int, restart: int, receipt: Receipt) -> Receipt:
    """Complete and write a receipt: the work has ended."""
    receipt.ended_at = time.time()
    receipt.cpu_seconds = round(receipt.cpu_seconds + _cpu_seconds(), 3)
    receipt.max_rss_mb = rss_in_mb(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    write_receipt(folder.job(job.token).receipt(task, restart), receipt)
    return receipt


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def describe_exception(error: BaseException) -> dict[str, str]:
    """Describe an exception.

    Returns
    -------
    dict of str to str
        `type`, `message` and `traceback`. The traceback begins with the user's code; if it is longer than 20,000
        characters, its middle is left out.
    """
    begin = error.__traceback__
    while begin is not None and begin.tb_next is not None and begin.tb_frame.f_code.co_filename.startswith(OURS):
        begin = begin.tb_next
    text = "".join(traceback.format_exception(type(error), error, begin))
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}\n... {len(text) - LONGEST} characters left out ...\n{text[-half:]}"
    return {"type": type(error).__name__, "message": _message(error), "traceback": text}


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # the __str__ of the user's exception may raise, too
        text = f"(the message can't be shown: {type(broken).__name__})"
    return text[:LONGEST]
