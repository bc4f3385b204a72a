"""Which process holds the lease of a run, and whether it still lives.

`leases` takes and releases the lease; `orchestrator.engine.lease` holds it and sends the heartbeat.

On a cluster, a holder in a job that has ended, as SLURM says, is dead at once: `hold_lease_on_cluster` in
`orchestrator.engine.cluster.session`.

The 180 s of `STALE` begin when a process that was refused the lease first sees the heartbeat: `Leases.take` in
`orchestrator.db.leases`.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.db.rows import Row
from orchestrator.errors import LeaseHeld

__all__ = ["NO_HOLDER", "STALE", "Holder", "describe", "holder_of", "is_dead", "lease_held", "silent_for"]

STALE = 180.0
"""Seconds after which a process of another host counts as dead, if no heartbeat followed the one that was seen."""

SILENT = 600.0
"""Seconds since the last heartbeat, by two clocks, after which commands that only read show the run as stalled."""

BOOT = Path("/proc/sys/kernel/random/boot_id")

NUMBERING = Path("/proc/self/ns/pid")
"""The PID namespace: processes of two containers of one host may have the same number."""


class Holder(NamedTuple):
    """A process that advances a run.

    Attributes
    ----------
    host : str
        Name of its host.
    boot : str
        Identifiers of the boot of that host and of the PID namespace, with a space between: each boot and each
        container numbers processes from the beginning.
    pid : int
        Process number.
    pid_start : str
        Start time of the process as the kernel writes it: process numbers are reused.
    scheduler_id : str or None
        Id of the scheduler's job that the process runs in.
    """

    host: str
    boot: str
    pid: int
    pid_start: str
    scheduler_id: str | None = None

    @classmethod
    def this_process(cls) -> Holder:
        """Return this process as a holder."""
        pid = os.getpid()
        return cls(_host(), _boot(), pid, _start_of(pid) or "", _job_id())


NO_HOLDER = {f"lease_{name}": None for name in (*Holder._fields, "taken_at")}
"""The columns of a run's row while no process holds its lease."""


def holder_of(row: Row) -> Holder | None:
    """Return the process that holds the lease, from the row of a run; None if there is none."""
    if row.lease_host is None:
        return None
    return Holder(row.lease_host, row.lease_boot, row.lease_pid, row.lease_pid_start, row.lease_scheduler_id)


def describe(holder: Holder) -> str:
    """Return the words for a holder in a message."""
    job_id = f" (job {holder.scheduler_id})" if holder.scheduler_id else ""
    return f"process {holder.pid} on {holder.host}{job_id}"


def lease_held(row: Row, holder: Holder) -> LeaseHeld:
    """Return the error for a process that is refused the lease of a run."""
    since = time.strftime("%H:%M:%S", time.localtime(row.lease_taken_at))
    return LeaseHeld(
        f"Run {row.key} is being advanced by {describe(holder)}, since {since}.",
        f"The run continues. Watch it with: orchestrator status {row.key}",
        holder=holder,
    )


def is_dead(holder: Holder, beat_seen_at: float | None, now: float) -> bool:
    """Whether the lease holder is dead.

    Parameters
    ----------
    holder : Holder
        The process that holds the lease.
    beat_seen_at : float or None
        When another process first saw its last heartbeat, epoch seconds.
    now : float
        Epoch seconds.

    Returns
    -------
    bool
        For a process of this host: whether it has ended. Otherwise, whether it has sent no heartbeat for `STALE`
        seconds. That also counts for a process in another container, and where the system does not say when processes
        started: then another one may have its number now.
    """
    if holder.host == _host() and _boot_alone(holder.boot) != _boot_alone(_boot()):
        return True
    if _is_visible(holder):
        is_listed = _is_listed(holder.pid)
        if is_listed is False:
            return True
        start = _start_of(holder.pid)
        # The system may hide the processes of other users: then nothing follows from a missing start.
        if holder.pid_start and (start is not None or is_listed):
            return start != holder.pid_start
    return beat_seen_at is not None and now - beat_seen_at >= STALE


def silent_for(holder: Holder, beat_at: float | None, now: float) -> float | None:
    """Return the seconds since the last heartbeat of a process of another host or container. Only for display.

    Parameters
    ----------
    holder : Holder
        The process that holds the lease.
    beat_at : float or None
        Time of its last heartbeat, by its own clock.
    now : float
        Epoch seconds, by the clock of this host.

    Returns
    -------
    float or None
        None if the last heartbeat is less than `SILENT` seconds old.
    """
    if _is_visible(holder) or beat_at is None or now - beat_at < SILENT:
        return None
    return now - beat_at


def _host() -> str:
    return os.uname().nodename


def _job_id() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _is_visible(holder: Holder) -> bool:
    """Whether a process number means here what it means to the holder."""
    return holder.host == _host() and holder.boot == _boot()


def _boot_alone(boot: str) -> str:
    return boot.partition(" ")[0]


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        boot = BOOT.read_text(encoding="utf-8").strip()
        return f"{boot} {NUMBERING.readlink()}"
    except OSError:
        return ""


def _is_listed(pid: int) -> bool | None:
    """Whether there is a process with a number; None for one of another user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return None
    return True


def _start_of(pid: int) -> str | None:
    """Return when a process started; None if it is not listed, "" if it has ended and is listed as a zombie."""
    try:
        # The program's name is in brackets, and may contain brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]
