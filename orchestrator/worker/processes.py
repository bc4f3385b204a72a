"""The processes that a worker, or the user's code in it, has started: find them and kill them.

Who kills what an experiment has left behind: after the experiment, the process that has waited for it
(`orchestrator.worker.supervisor`; `orchestrator.worker.alone` for a task of one experiment). A step in the process of a
local run kills them only if it is interrupted (`killing_programs`). If that process was killed, the one above it does:
`orchestrator.worker.reaper`, or the second worker that the script of a job starts (`orchestrator.worker.guarded`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path

from orchestrator.host import adopt_orphans, children, oom_kills

__all__ = [
    "NO_SPACE",
    "TRACKERS_PATIENCE",
    "die_by",
    "kill_children",
    "kill_programs",
    "killing_programs",
    "how_it_died",
    "how_it_ended",
    "is_full_disk",
    "kill_group",
    "left_children",
    "trackers",
    "why_full",
]

LONGEST = 5.0
"""Seconds for which `kill_children` waits for a process that can't be killed now."""

TRACKERS_PATIENCE = 1.0
"""Seconds in which the resource trackers of a process that has ended may remove its shared memory."""

NO_SPACE = "no space is left on the disk"
"""Why a task can't be completed, as the begin of a clause."""

GRACE = 0.05
"""Seconds for which a process may outlive its experiment, because it is just ending."""


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or a quota used up."""
    return isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)


def why_full(error: OSError, folder: object = None) -> str:
    """Return that the disk of a folder is full, by default that of the file in the error; raise any other error."""
    if not is_full_disk(error):
        raise error
    where = folder or error.filename
    return f"{NO_SPACE} of {where}" if where else NO_SPACE


# The child processes from before the block of `killing_programs`; None outside of one.
_kept: set[int] | None = None


def kill_children(keep: Container[int] = (), *, patience: float = 0.0) -> None:
    """Kill all child processes.

    The children of an adopting process (`orchestrator.host.adopt_orphans`) become its own children when their parent
    is killed, so that all descendants are killed.

    Parameters
    ----------
    keep : container of int, default ()
        Processes that are not killed.
    patience : float, default 0
        Seconds in which resource trackers may end by themselves.
    """
    begin = time.monotonic()
    until = begin + LONGEST
    while left := [pid for pid in children() if pid not in keep]:
        spared = trackers() if time.monotonic() < begin + patience else []
        for pid in left:
            if pid not in spared:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > until:
            return
        time.sleep(0.002)


def trackers() -> list[int]:
    """Return the child processes that are resource trackers of `multiprocessing` or joblib.

    When the processes of their pool have ended, they remove the shared memory of these, and end.
    """
    return [pid for pid in children() if b"resource_tracker" in _command(pid)]


@contextmanager
def killing_programs() -> Iterator[None]:
    """Kill the programs that this block has started if it is interrupted, or by `kill_programs`.

    This is for user code in a process that is not ours alone.
    """
    global _kept
    _kept = set(children())
    adopt_orphans()
    try:
        yield
    except KeyboardInterrupt:
        kill_programs()
        raise
    finally:
        adopt_orphans(False)
        _kept = None


def kill_programs() -> None:
    """Kill the programs that a `killing_programs` block of this process has started; outside of one do nothing."""
    if _kept is not None:
        kill_children(_kept)


def kill_group(pid: int) -> None:
    """Kill all processes of the process group of a process."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def left_children() -> list[str]:
    """Return the names of the child processes that still run.

    Without any child, as after most experiments, this takes one call of the kernel.
    """
    until = time.monotonic() + GRACE
    while _has_children():
        running = [name for name in map(_name, children()) if name is not None]
        if time.monotonic() > until:
            return running or ["?"]
        time.sleep(0.005)
    return []


def how_it_ended(code: int) -> str:
    """Return how a process has ended, as a part of a sentence, from its exit code as Python has it."""
    if code < 0:
        known = -code in signal.Signals.__members__.values()
        return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"ended with exit code {code}"


def how_it_died(code: int, oom_kills_before: int | None) -> tuple[str, str]:
    """Return the kind of failure of an experiment whose process has died, and what became of the process.

    Parameters
    ----------
    code : int
        Exit code of the process, as Python has it.
    oom_kills_before : int or None
        What `oom_kills` returned when the process began; None if that is not known. It counts the whole host, so that
        a process that something else has killed is taken for one without memory if another one had none meanwhile.

    Returns
    -------
    kind, why : str
        `out_of_memory` or `crashed`, and a clause. A kind of failure of an experiment is the type of its error, and not
        a `FailureKind`, which is that of a job or task.
    """
    if code == -signal.SIGKILL and oom_kills_before is not None and oom_kills() > oom_kills_before:
        return "out_of_memory", "its process was killed because there was no memory left"
    return "crashed", f"its process {how_it_ended(code)}"


def die_by(number: int) -> None:
    """End this process by a signal, so that its parent sees the reason."""
    if number != signal.SIGKILL:  # no process may handle it
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _has_children() -> bool:
    """Whether a child runs. Those that have ended are removed from the kernel's list."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _name(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/comm") as file:  # noqa: PTH123 - Path is slower
            return file.read().strip()
    except OSError:
        return None
