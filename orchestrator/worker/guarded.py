"""A worker whose script waits for it, so that no other process of Python has to.

On a cluster, the shell of an array's job starts a worker, which may evaluate an experiment in its own process. If that
process dies, the shell starts a second worker. It gets the exit code of the first one, and the mark that the first one
and all its programs have in their environment. The second worker kills these programs, and completes the task with
processes that are supervised (`orchestrator.worker.supervisor`).
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from orchestrator.worker.processes import LONGEST, die_by
from orchestrator.workspace import TASK_MARK, RunFolder

__all__ = ["IN_ORDER", "STOPS", "FirstWorker", "guard_of", "is_guarded"]

IN_ORDER = 113
"""Exit code of a guarded worker that has done its work: the code of the user may end its process with 0."""

STOPS: int = getattr(signal, "SIGRTMAX", 64) - 2  # macOS has none, and no SLURM
"""The signal that a worker gets from its script when another task has stopped the step.

A worker ignores it, but while it evaluates an experiment in its own process it dies by it, also inside code in C.
"""

SIGNALLED = 128
"""The shell adds it to the number of the signal that has ended a process."""


def guard_of(folder: RunFolder) -> dict[str, str]:
    """Return what the script of a run's arrays needs to guard a worker."""
    return {"variable": TASK_MARK, "in_order": str(IN_ORDER), "stops": str(STOPS), "jobs": str(folder.jobs)}


def is_guarded(token: str) -> bool:
    """Whether a script waits for this worker of a job; a job that another one has submitted may inherit its mark."""
    return os.environ.get(TASK_MARK) == f"{token}.{os.environ.get('SLURM_JOB_ID')}"


class FirstWorker(NamedTuple):
    """The worker that has died.

    Attributes
    ----------
    mark : str
        The value of the environment variable.
    status : int
        Its exit code, as the shell has it.
    has_sigterm : bool
        Whether the script was asked to end.
    """

    mark: str
    status: int
    has_sigterm: bool

    @classmethod
    def from_arguments(cls, words: Sequence[str]) -> "FirstWorker | None":
        """Return the first worker from the arguments of the second one; None without arguments."""
        return cls(words[0], int(words[1]), len(words) > 2) if words else None

    @property
    def exit_code(self) -> int:
        """The exit code as Python has it: the negative number of a signal."""
        return SIGNALLED - self.status if self.status > SIGNALLED else self.status

    @property
    def was_stopped(self) -> bool:
        """Whether its script has ended it, because another task has stopped the step."""
        return self.exit_code == -STOPS

    def kill_programs(self) -> None:
        """Kill all processes that have the mark."""
        assignment, until = f"{TASK_MARK}={self.mark}".encode(), time.monotonic() + LONGEST
        while marked := [pid for pid in _processes() if assignment in _environment(pid).split(b"\0")]:
            if time.monotonic() > until:
                return
            for pid in marked:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def die_likewise(self) -> NoReturn:
        """End this process as the first worker has ended, or by SIGTERM if the script was asked to end."""
        if self.has_sigterm:
            die_by(signal.SIGTERM)
        if self.exit_code < 0:
            die_by(-self.exit_code)
        sys.exit(self.exit_code)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return b""
