"""What surrounds an experiment: working folder, environment, arguments, signal handlers, alarm and umask.

User code may change them. They are put back, so that each experiment begins in the same way.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes members of enums, which takes longer
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator.host import is_main_thread

__all__ = ["Surroundings", "put_back_after", "say_once"]

# Only these are compared: to ask for all of them takes longer than a small experiment.
_NUMBERS = [
    int(number)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGALRM,
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGUSR1,
        signal.SIGUSR2,
    )
]


class Surroundings:
    """The surroundings of now, which `put_back` restores.

    Parameters
    ----------
    said : set of str
        The kinds of changes that were said already. They are put back silently, as each kind is after the first time.
    """

    def __init__(self, said: set[str]) -> None:
        self._said = said
        self._folder = _folder()
        self._environment = dict(_environment())
        self._arguments = list(sys.argv)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        # Only the main thread can set a handler.
        self._has_signals = is_main_thread()
        self._handlers = list(map(_signal.getsignal, _NUMBERS))

    def put_back(self, what: str, row: int | None = None) -> None:
        """Restore the surroundings.

        Parameters
        ----------
        what : str
            What may have changed them; the subject of the sentence that is said then.
        row : int, optional
            The row of the experiment that it is.
        """
        changed: list[str] = []
        if self._folder is not None and _folder() != self._folder:
            changed.append("the working folder")
            with suppress(OSError):  # the folder was removed: the next experiment finds that out
                os.chdir(self._folder)
        if _environment() != self._environment:
            changed.append("os.environ")
            os.environ.clear()
            os.environb.update(self._environment)
        changed += self._put_back_signals()
        if os.umask(self._umask) != self._umask:
            changed.append("the umask")
        if sys.argv != self._arguments:
            changed.append("sys.argv")
            sys.argv[:] = self._arguments
        for kind in changed:
            name = what if row is None else f"{what} {row}"
            say_once(self._said, kind, f"{name} changed {kind}, which was put back.")

    def _put_back_signals(self) -> list[str]:
        if not self._has_signals:
            return []
        _signal.alarm(0)
        if list(map(_signal.getsignal, _NUMBERS)) == self._handlers:
            return []
        for number, handler in zip(_NUMBERS, self._handlers, strict=True):
            # A handler that was not set by Python is None, and can't be set again.
            if handler is not None:
                signal.signal(number, handler)
        return ["a signal handler"]


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - Path is slower
    except OSError:  # it was removed
        return None


def _environment() -> dict[bytes, bytes]:
    # The comparison of two mappings of text takes ten times as long as an empty experiment.
    environment: Any = os.environ
    data: dict[bytes, bytes] = environment._data
    return data


@contextmanager
def put_back_after(what: str) -> Iterator[None]:
    """Restore the surroundings after this block.

    Parameters
    ----------
    what : str
        What may change them; the subject of the sentence that is printed then.
    """
    surroundings = Surroundings(set())
    try:
        yield
    finally:
        surroundings.put_back(what)


def say_once(said: set[str], kind: str, text: str) -> None:
    """Print a sentence to the log, unless one of its kind was printed before.

    Parameters
    ----------
    said : set of str
        The kinds that were printed; this one is added.
    kind, text : str
        The kind, and the sentence.
    """
    if kind not in said:
        said.add(kind)
        print(f"orchestrator: {text} Further cases are not reported.", file=sys.stderr, flush=True)
