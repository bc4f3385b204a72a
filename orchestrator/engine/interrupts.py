"""Ctrl-C: the first stops a local run cleanly, the second ends the process at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import Interrupted

__all__ = ["Interrupts", "interrupted_as", "interrupts"]


class Interrupts:
    """Holds back the first Ctrl-C until it may be raised.

    Raised in the middle of an access to the database, it would leave the lock and the transaction behind, and the
    process would wait for itself.
    """

    def __init__(self) -> None:
        self._is_pending = False
        self._is_allowed = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Raise a Ctrl-C in this block, and one that came before at its start."""
        self._is_allowed = True
        try:
            if self._is_pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_allowed = False

    def forget(self) -> None:
        """Let the next Ctrl-C be handled as the first: the process continues after this one."""
        if self._is_pending:
            self._is_pending = False
            signal.signal(signal.SIGINT, self.handle_signal)

    def handle_signal(self, number: int, frame: object) -> None:
        """Handle the first Ctrl-C. The next one ends the process at once, which the records survive."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._is_pending = True
        if self._is_allowed:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle Ctrl-C in this block; only the main thread receives signals."""
    handler = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    before = signal.signal(signal.SIGINT, handler.handle_signal)
    try:
        yield handler
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupted_as(message: str, hint: str) -> Iterator[None]:
    """Raise `Interrupted` on a Ctrl-C in this block, to say what is not done and may be done by another process."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message, hint) from None
