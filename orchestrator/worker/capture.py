"""Write the output of a step to its log.

`tee` is for steps in the process of a local run, `redirect` for workers of its pool. On a cluster SLURM writes the
logs.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import F_GETFL, fcntl
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from orchestrator.host import c_function
from orchestrator.no_links import append_to

__all__ = ["flush_output", "log_position", "print_at_once", "redirect", "tee"]

CHUNK = 65536
"""Bytes that are copied at once: the capacity of a pipe, so that one read returns all that was written before it."""

LONGEST_LINE = 65536
"""Bytes of an unfinished line that are held back."""

LONGEST_WAIT = 0.5
"""Seconds for which an unfinished line is held back."""

_position_in_tee: Callable[[], int] | None = None


@contextmanager
def tee(log: Path, *, is_printed: bool = True) -> Iterator[None]:
    """Copy all output of this process and its children to the end of a log.

    Parameters
    ----------
    log : Path
        Its folder is created if missing.
    is_printed : bool, default True
        Whether it is still printed, too.
    """
    global _position_in_tee
    # First, so that the log does not get the number of a descriptor that was closed.
    usable = [_opened(number) for number in (1, 2)]
    with os.fdopen(append_to(log), "ab", buffering=0) as file, ExitStack() as stack:
        descriptor = file.fileno()
        parts: list[_Lines] = []
        piped = []
        for number, name, is_usable in zip((1, 2), ("stdout", "stderr"), usable, strict=True):
            stream = getattr(sys, name)
            if stream is None:
                _replace_stream(stack, name, _stream_to(descriptor))
            elif _descriptor(stream) != number:
                # In a notebook or a test, sys.stdout may not be descriptor 1.
                lines = _Lines(descriptor)
                stack.callback(lines.end)
                parts.append(lines)
                _replace_stream(stack, name, _Both(stream, lines, is_printed=is_printed))
            else:
                stack.enter_context(_shown_at_once(stream))
            if stream is not None or is_usable:
                piped.append(number)
        # With one pipe, the order of output and errors is kept. Two are needed only to print them apart.
        together = not is_printed or _is_same_file(piped)
        for numbers in [piped] if together else [[number] for number in piped]:
            parts.append(stack.enter_context(_piped(numbers, descriptor, is_printed=is_printed)))

        def position() -> int:
            flush_output()
            for part in parts:
                part.update()
            for part in parts:
                part.end()
            return os.fstat(descriptor).st_size

        stack.callback(flush_output)
        before, _position_in_tee = _position_in_tee, position
        try:
            yield
        finally:
            _position_in_tee = before


def redirect(log: Path) -> None:
    """Redirect all further output of this process and its children to the end of a log."""
    flush_output()
    descriptor = append_to(log)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if descriptor > 2:
        os.close(descriptor)
    print_at_once()


def print_at_once() -> None:
    """Let this process print each line to its log at once, and any text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


@contextmanager
def log_position() -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the size in bytes of the log, with all that was printed before the call.

    It returns None if the output of this process does not go to a log.
    """
    if _position_in_tee is not None:
        yield _position_in_tee
        return
    try:
        # The user's code may replace descriptor 1.
        log = os.dup(1) if stat.S_ISREG(os.fstat(1).st_mode) else None
    except OSError:
        log = None
    # To move to the end of a file takes a third of the time. What is appended is not written elsewhere then.
    is_appended = log is not None and fcntl(log, F_GETFL) & os.O_APPEND != 0

    def position() -> int | None:
        flush_output()
        if log is None:
            return None
        return os.lseek(log, 0, os.SEEK_END) if is_appended else os.fstat(log).st_size

    try:
        yield position
    finally:
        if log is not None:
            os.close(log)


def flush_output() -> None:
    """Write what Python and libraries in C have buffered of the output of this process."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - `suppress` takes longer, and this is done for each experiment
            stream.flush()
        except Exception:  # the user's code may have replaced or closed it
            pass
    if (fflush := c_function("fflush")) is not None:
        fflush(None)


# --- descriptors ---------------------------------------------------------------------------------


@contextmanager
def _piped(numbers: Sequence[int], log: int, *, is_printed: bool) -> Iterator[_Copy]:
    """Replace descriptors by a pipe; a thread copies from it to the log, and, if wanted, to the first of these."""
    originals = [os.dup(number) for number in numbers]
    out, into = os.pipe()
    os.set_blocking(out, False)
    for number in numbers:
        os.dup2(into, number)
    os.close(into)
    # A child process of the step may keep the first pipe open. Closing this second pipe ends the thread.
    stop_out, stop_in = os.pipe()
    import threading

    copy = _Copy(out, originals[0] if is_printed else None, log)
    thread = threading.Thread(target=copy.run, args=(stop_out,), daemon=True)
    thread.start()
    try:
        yield copy
    finally:
        flush_output()
        for number, original in zip(numbers, originals, strict=True):
            os.dup2(original, number)
        os.close(stop_in)
        thread.join()
        for descriptor in (out, stop_out, *originals):
            os.close(descriptor)


def _is_same_file(numbers: Sequence[int]) -> bool:
    return len({(found.st_dev, found.st_ino) for found in map(os.fstat, numbers)}) == 1


class _Lines:
    """Writes whole lines to a log, because another stream writes to it, too.

    A carriage return ends a line, too: progress bars print it. A line that is long or not finished soon is written in
    parts, so that it is seen, and takes neither much memory nor more than linear time.
    """

    def __init__(self, log: int) -> None:
        self._log = log
        from threading import RLock  # Most tasks have no threads.

        self._lock = RLock()
        self._unfinished = bytearray()
        self._since = 0.0

    def add(self, content: bytes) -> None:
        """Write whole lines, and keep the rest."""
        with self._lock:
            now = time.monotonic()
            if not self._unfinished:
                self._since = now
            end = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
            if end:
                self._write(content[:end])
                self._since = now
            self._unfinished += content[end:]
            if len(self._unfinished) >= LONGEST_LINE or now - self._since >= LONGEST_WAIT:
                self._write(b"")

    def update(self) -> bool:
        """Write the whole lines that were printed before this call, and return whether there may be more."""
        return True

    def end(self) -> None:
        """Write the rest, too."""
        with self._lock:
            self._write(b"")

    def _write(self, content: bytes) -> None:
        _write_all(self._log, bytes(self._unfinished) + content)
        self._unfinished.clear()


class _Copy(_Lines):
    """Copies what arrives on a pipe to the original descriptor at once, if there is one, and to the log by lines."""

    def __init__(self, out: int, original: int | None, log: int) -> None:
        super().__init__(log)
        self._out = out
        self._original = original

    def run(self, stop: int) -> None:
        """Copy until all writers have closed the pipe, or `stop` is closed."""
        import selectors  # not needed in a task of an array

        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            selector.register(stop, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(LONGEST_WAIT if self._unfinished else None)}
                if not self.update() or stop in ready:
                    self.end()
                    return

    def end(self) -> None:
        """Copy what was printed before this call, including an unfinished line."""
        with self._lock:
            self.update()
            super().end()

    def update(self) -> bool:
        """Copy what was printed before this call, and return whether there may be more."""
        with self._lock:
            try:
                content = os.read(self._out, CHUNK)
            except BlockingIOError:  # nothing has arrived since
                self.add(b"")
                return True
            if self._original is not None:
                _write_all(self._original, content)
            self.add(content)
            return bool(content)


def _write_all(target: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(target, content) :]
        except OSError:  # the reader has ended, or the disk is full: the step continues
            return


def _opened(number: int) -> bool:
    """Open a descriptor if it is closed, and return whether it was."""
    with suppress(OSError):
        os.fstat(number)
        return False
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
    os.set_inheritable(number, True)
    return True


# --- Python's streams ----------------------------------------------------------------------------


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _stream_to(log: int) -> TextIO:
    return open(log, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _replace_stream(stack: ExitStack, name: str, stream: Any) -> None:
    before = getattr(sys, name)
    stack.callback(setattr, sys, name, before)
    setattr(sys, name, stream)
    if "logging" not in sys.modules:
        return
    import logging  # Few tasks need it.

    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(stream)
            stack.callback(handler.setStream, before)


@contextmanager
def _shown_at_once(stream: Any) -> Iterator[None]:
    errors, line_buffering = stream.errors, stream.line_buffering
    stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code has closed it
            stream.reconfigure(errors=errors, line_buffering=line_buffering)


class _Both:
    """A text stream that also, or only, writes to a log."""

    def __init__(self, stream: TextIO, lines: _Lines, *, is_printed: bool) -> None:
        self._stream = stream
        self._lines = lines
        self._is_printed = is_printed

    def write(self, text: str) -> int:
        self._lines.add(text.encode(errors="backslashreplace"))
        return self._stream.write(text) if self._is_printed else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
