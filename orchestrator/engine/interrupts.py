"""Ctrl-C: the first stops a run of this machine cleanly, a second ends the process at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import Interrupted

__all__ = ["Interrupts", "interrupted_as", "interrupts"]


class Interrupts:
    """Keeps the first Ctrl-C until it may be raised.

    An exception out of nowhere, in the middle of an access to the database, would leave its lock and its transaction
    behind, and the process would wait for itself.
    """

    def __init__(self) -> None:
        self._came = False
        self._is_allowed = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Raise it in this block; at once, if it came before."""
        self._is_allowed = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_allowed = False

    def came(self, number: int, frame: object) -> None:
        """Handle the first: the next one kills the process, and the records bear that."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._came = True
        if self._is_allowed:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle Ctrl-C, in the one thread to which signals come."""
    handler = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    before = signal.signal(signal.SIGINT, handler.came)
    try:
        yield handler
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupted_as(message: str, hint: str) -> Iterator[None]:
    """Say what a Ctrl-C left undone, where another process may go on with it.

    Raises
    ------
    Interrupted
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message, hint) from None
