"""A small process around a worker that kills all that the worker leaves behind, however the worker ends.

The worker forks the processes that run the user's code. If one of these is killed, the worker kills the programs that
it had started. If the worker is killed, the reaper does that; if the reaper is killed, the worker. So nothing survives
a `kill -9` of any one of them, or of the process that started the reaper.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from orchestrator.host import adopt_orphans, die_with_parent
from orchestrator.worker.processes import die_by, kill_children

__all__ = ["fork_below_reaper"]

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def fork_below_reaper(*, ends_with_parent: bool) -> None:
    """Fork: this function returns in the worker. The other process is the reaper, and ends with it.

    Parameters
    ----------
    ends_with_parent : bool
        Whether all ends at once when the parent ends, closes the standard input of this process, or sends SIGTERM.
        Otherwise the reaper passes signals to the worker.
    """
    reaper, parent = os.getpid(), os.getppid()
    adopt_orphans()
    worker = os.fork()
    if worker == 0:
        # On SIGTERM the worker ends all that it has started.
        die_with_parent(reaper, signal.SIGTERM)
        return
    status = 1
    try:
        if ends_with_parent:
            die_with_parent(parent, signal.SIGTERM)
        status = _wait_for(worker, ends_with_parent)
    finally:
        kill_children()
        if os.WIFSIGNALED(status):
            die_by(os.WTERMSIG(status))
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def _wait_for(worker: int, ends_with_parent: bool) -> int:
    """Return the status of the worker when it has ended, or that of SIGTERM when it is to be ended."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _wake)
    for handled in _FORWARDED:
        if signal.getsignal(handled) != signal.SIG_IGN:  # as after `nohup`
            signal.signal(handled, _wake)
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    if ends_with_parent:
        poll.register(sys.stdin.fileno(), 0)  # only its end
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return status
        for descriptor, _ in poll.poll():
            if descriptor != woken:
                return int(signal.SIGTERM)
            for number in os.read(woken, 64):
                if number == signal.SIGCHLD:
                    continue
                if ends_with_parent:
                    return int(signal.SIGTERM)
                os.kill(worker, number)


def _wake(number: int, frame: object) -> None:
    """Do nothing: the number of the signal is in the pipe."""
