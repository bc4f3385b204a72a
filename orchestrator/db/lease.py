"""Who holds a run, and whether they still live. The words and columns of the lease; `store` takes and gives it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["STALE", "Holder", "is_gone", "silent_for"]

STALE = 180.0
"""Seconds without a beat after which a process of another machine counts as gone."""

SILENT = 600.0
"""Seconds, by two clocks, after which a beat is too old to be believed; for those who only look."""

BOOT = Path("/proc/sys/kernel/random/boot_id")


class Holder(NamedTuple):
    """A process that advances a run.

    Attributes
    ----------
    host : str
    boot : str
        Which boot of that machine: process numbers start anew with each.
    pid : int
    pid_start : str
        When the process started, in the kernel's words: process numbers are used again.
    scheduler_id : str or None
        Of the scheduler's job that the process is part of.
    """

    host: str
    boot: str
    pid: int
    pid_start: str
    scheduler_id: str | None = None

    @classmethod
    def this_process(cls) -> Holder:
        """Describe this process."""
        pid = os.getpid()
        return cls(_host(), _boot(), pid, _start_of(pid) or "", _job_id())


def is_gone(holder: Holder, beat_seen_at: float | None, now: float) -> bool:
    """Tell whether a holder can be taken for dead.

    Parameters
    ----------
    holder : Holder
    beat_seen_at : float or None
        When its last beat was first seen by somebody else, epoch seconds.
    now : float
        Epoch seconds.

    Returns
    -------
    bool
        At once when it was of this machine and its process is no more; else after `STALE` seconds without a beat.
    """
    if holder.host == _host():
        return holder.boot != _boot() or _start_of(holder.pid) != holder.pid_start
    return beat_seen_at is not None and now - beat_seen_at >= STALE


def silent_for(holder: Holder, beat_at: float | None, now: float) -> float | None:
    """Give the seconds since the last beat of a process of another machine: to show them, and for no decision.

    Parameters
    ----------
    holder : Holder
    beat_at : float or None
        When it last beat, by its own clock.
    now : float
        Epoch seconds, by ours.

    Returns
    -------
    float or None
        None while the last beat is recent enough to be believed.
    """
    if holder.host == _host() or beat_at is None or now - beat_at < SILENT:
        return None
    return now - beat_at


def _host() -> str:
    return os.uname().nodename


def _job_id() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Read when a process started; None where it is no more, or is dead and only not yet buried."""
    try:
        # The name in brackets may hold anything, also brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
