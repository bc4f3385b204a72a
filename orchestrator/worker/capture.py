"""Write the output of a step to its log.

`tee` is for steps in the process of a local run, `redirect` for workers of its pool. On a cluster SLURM writes the
logs.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = ["redirect", "tee"]


@contextmanager
def tee(log: Path) -> Iterator[None]:
    """Copy all output of this process and its children to the end of a log; it is still printed.

    Parameters
    ----------
    log : Path
        Its folder is created if missing.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file, ExitStack() as stack:
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = getattr(sys, name)
            # In a notebook or a test, sys.stdout may not be descriptor 1.
            if _descriptor(stream) != number:
                both = _Both(stream, file)
                setattr(sys, name, both)
                stack.callback(both.end)
                stack.callback(setattr, sys, name, stream)
            stack.enter_context(_piped(number, file.fileno()))
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def redirect(log: Path) -> None:
    """Redirect all further output of this process and its children to the end of a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


@contextmanager
def _piped(number: int, log: int) -> Iterator[None]:
    """Replace a descriptor by a pipe; a thread copies from the pipe to the log and to the original descriptor."""
    original = os.dup(number)
    out, into = os.pipe()
    os.dup2(into, number)
    os.close(into)
    # A child process of the step may keep the first pipe open. Closing this second pipe ends the thread.
    stop_out, stop_in = os.pipe()
    thread = threading.Thread(target=_copy, args=(out, stop_out, original, log), daemon=True)
    thread.start()
    try:
        yield
    finally:
        (sys.stdout if number == 1 else sys.stderr).flush()
        os.dup2(original, number)
        os.close(stop_in)
        thread.join()
        for descriptor in (out, stop_out, original):
            os.close(descriptor)


def _copy(out: int, stop: int, original: int, log: int) -> None:
    """Copy output; to the log only whole lines, because the other stream writes to it, too."""
    line = b""
    while True:
        readable, _, _ = select.select([out, stop], [], [])
        content = os.read(out, 65536) if out in readable else b""
        if not content:
            _write_all(log, line)
            return
        _write_all(original, content)
        lines, newline, line = (line + content).rpartition(b"\n")
        _write_all(log, lines + newline)


def _write_all(target: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(target, content) :]
        except OSError:  # the reader has ended, or the disk is full: the step continues
            return


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


class _Both:
    """A text stream that also writes to a log; only whole lines, because another stream writes to it, too."""

    def __init__(self, stream: TextIO, log: Any) -> None:
        self._stream = stream
        self._log = log
        self._line = ""

    def write(self, text: str) -> int:
        lines, newline, self._line = (self._line + text).rpartition("\n")
        self._log.write((lines + newline).encode(errors="backslashreplace"))
        return self._stream.write(text)

    def end(self) -> None:
        self._log.write(self._line.encode(errors="backslashreplace"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
