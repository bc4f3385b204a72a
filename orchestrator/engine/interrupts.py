"""Signals that stop a local run: the first stops it cleanly, a second Ctrl-C or SIGTERM ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from orchestrator.errors import Interrupted, OrchestratorError
from orchestrator.machine.kinds import StopSignal
from orchestrator.worker.processes import die_by, kill_programs

__all__ = ["Interrupts", "interrupted_as", "interrupts"]

SAME = 0.1
"""Seconds after the first signal in which others belong to it: `timeout`, for one, sends its signal twice."""

RECORD_WAIT = 2.0
"""Seconds for which the second signal waits for the record of the first, which may take a moment."""


class Interrupts:
    """Holds back the first signal until `KeyboardInterrupt` may be raised.

    Raised in the middle of an access to the database, it would leave the lock and the transaction behind, and the
    process would wait for itself.

    Attributes
    ----------
    stopped_by : StopSignal or None
        The first signal of a user or of the machine; None before, and for a cancel.
    """

    def __init__(self) -> None:
        self.stopped_by: StopSignal | None = None
        self._first_at: float | None = None
        self._is_allowed = False
        self._is_cancel = False
        self._is_raised = False
        # Its `put` may interrupt any code, other than that of an Event.
        self._to_record: SimpleQueue[StopSignal | None] = SimpleQueue()
        self._is_recorded = threading.Event()
        self._is_recorded.set()

    @property
    def exit_code(self) -> int:
        """Exit code of a process that ends because of the first signal, as a shell has it."""
        return 128 + signal.Signals[self.stopped_by or StopSignal.INTERRUPT]

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Raise a `KeyboardInterrupt` in this block for a signal, and at its start for one that came before."""
        self._is_allowed = True
        try:
            if self._first_at is not None:
                self._is_raised = True
                raise KeyboardInterrupt
            yield
        finally:
            self._is_allowed = False

    @contextmanager
    def recorded_by(self, record: Callable[[StopSignal], None]) -> Iterator[None]:
        """Call `record` at the first signal in this block: a step that ignores it may be killed by the second one.

        Parameters
        ----------
        record : callable
            Called in another thread, with the signal.
        """
        self._is_recorded.clear()
        thread = threading.Thread(target=self._record_first, args=(record,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._to_record.put(None)
            thread.join()

    def _record_first(self, record: Callable[[StopSignal], None]) -> None:
        first = self._to_record.get()
        try:
            if first is not None:
                with suppress(OrchestratorError):  # the main thread retries it, unless it is killed
                    record(first)
        finally:
            self._is_recorded.set()

    def cancel(self, thread: threading.Thread) -> None:
        """Raise a `KeyboardInterrupt` in the main thread because a user has requested to cancel what it runs."""
        # By a signal, because a step that sleeps would not notice anything else.
        if thread is threading.main_thread() and thread.ident is not None:
            self._is_cancel = True
            signal.pthread_kill(thread.ident, signal.SIGINT)

    def forget_cancel(self) -> None:
        """Handle the next signal as the first: the process continues after the cancelled step."""
        self._first_at = None

    def handle_signal(self, number: int, frame: object) -> None:
        """Handle a signal. The records survive that the second one ends the process at once."""
        if self._is_cancel and number == signal.SIGINT:
            self._is_cancel = False
            self._begin()
        elif self._first_at is None:
            self.stopped_by = StopSignal(signal.Signals(number).name)
            self._to_record.put(self.stopped_by)
            self._begin()
        # A shell that ends and the kernel both send SIGHUP.
        elif number != signal.SIGHUP and time.monotonic() - self._first_at > SAME:
            self._is_recorded.wait(RECORD_WAIT if self.stopped_by is not None else 0.0)
            kill_programs()
            die_by(number)

    def _begin(self) -> None:
        self._first_at = time.monotonic()
        if self._is_allowed:
            self._is_raised = True
            raise KeyboardInterrupt

    def raise_late_signal(self) -> None:
        """Raise SIGTERM or SIGHUP again if it came after the last step: it is for what the process does next."""
        if self.stopped_by not in (None, StopSignal.INTERRUPT) and not self._is_raised:
            signal.raise_signal(signal.Signals[self.stopped_by])


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle Ctrl-C, SIGTERM and SIGHUP in this block; only the main thread receives signals.

    SIGTERM and SIGHUP are handled where they would end the process: not below `nohup`, and not in a program that
    handles them itself.
    """
    handler = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    before: dict[int, Any] = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    before |= {n: signal.SIG_DFL for n in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(n) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, handler.handle_signal)
    outer = dict(_replaced)
    _replaced.update(before)
    _replaced.update(outer)
    try:
        yield handler
    finally:
        _replaced.clear()
        _replaced.update(outer)
        for number, old in before.items():
            signal.signal(number, old)
    handler.raise_late_signal()


# --- processes that the user's code forks --------------------------------------------------------
#
# They get the handlers from before. With these, a process that waits in C would not end by SIGTERM, and a
# `multiprocessing.Pool` would wait for its end. A signal during the fork waits until the child has its own handlers.

_replaced: dict[int, Any] = {}
"""The handlers from before, by signal."""

_masks = threading.local()


def _before_fork() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _replaced)


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _after_fork_in_child() -> None:
    for number, old in _replaced.items():
        signal.signal(number, old)
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


@contextmanager
def interrupted_as(message: str, hint: str, signals: Interrupts | None = None) -> Iterator[None]:
    """Raise `Interrupted` on a Ctrl-C in this block, to say what is not done and may be done by another process.

    Parameters
    ----------
    message, hint : str
        As in `Interrupted`.
    signals : Interrupts, optional
        Which signals also count as a Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message, hint, None if signals is None else signals.exit_code) from None
