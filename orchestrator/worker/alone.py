"""Evaluate the only experiment of a task in the process of its job: a process of its own takes a tenth of a short task.

If this process dies, the shell of the job starts a second worker (`orchestrator.worker.guarded`).
"""

from __future__ import annotations

import resource
import signal
from types import FrameType

from orchestrator.host import adopt_orphans, children, count_threads, die_with_parent, oom_kills, rss_in_mb
from orchestrator.worker.evaluator import evaluate_left, run_exit_functions
from orchestrator.worker.guarded import STOPS
from orchestrator.worker.processes import TRACKERS_PATIENCE, die_by, kill_children
from orchestrator.worker.task import SupervisedTask

__all__ = ["evaluate_alone"]

SHELL_DIED = signal.SIGRTMAX - 1
"""The signal that this process gets when the shell dies; the code of the user hardly uses it."""


def evaluate_alone(task: SupervisedTask) -> None:
    """Evaluate what is left of a task, and end what that leaves behind.

    Parameters
    ----------
    task : SupervisedTask
        A task that `is_alone`. It is not ended.
    """
    adopt_orphans()
    task.running.alone_since = oom_kills()
    not_ours, n_threads, before = set(children()), count_threads(), _used()
    signal.signal(SHELL_DIED, _kill_all)
    die_with_parent(number=SHELL_DIED)
    signal.signal(STOPS, signal.SIG_DFL)
    try:
        done = evaluate_left(task)
        # Before the receipt, as in a process that does nothing else: a file is complete when its experiment is.
        run_exit_functions(is_alone=not done["left"] and count_threads() == n_threads)
    finally:
        signal.signal(STOPS, signal.SIG_IGN)
        kill_children(not_ours, patience=TRACKERS_PATIENCE)
        # The tail of the job must not become a child.
        adopt_orphans(False)
    task.add_usage(_used() - before, rss_in_mb(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    task.add_done(done["n_units"], done["n_finished"], done["failures"])


def _kill_all(number: int, frame: FrameType | None) -> None:
    kill_children()
    die_by(signal.SIGKILL)


def _used() -> float:
    """Return the seconds of CPU that this process has used, and the programs that it has waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)
