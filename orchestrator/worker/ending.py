"""End a process without the end of the interpreter, and do before what that would do for the user's code.

The end of the interpreter takes a tenth of the time of a short task, and would wait for threads that an experiment has
left behind.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.host import count_threads
from orchestrator.worker.capture import flush_output

__all__ = ["complete_files", "end_if_alone", "flush_files", "remember_files"]

EXTENSION, OF_PYTHON = ".so", "lib-dynload"
"""Suffix of an extension module, and the folder of Python's own."""

_files: list[Any] = []
_compressed: list[Any] = []
"""Files that were open before `gc.freeze`. After it they can't be found again."""


def remember_files() -> None:
    """Find the files that this process has opened to write. Call it before `gc.freeze`."""
    _files.extend(_found(_written()))
    _compressed.extend(_found(_compressing()))


def flush_files() -> None:
    """Write what is buffered of the output and of these files. Otherwise each fork would write it."""
    flush_output()
    _flush(_files)


def complete_files() -> None:
    """Write what the interpreter writes at its end: what is buffered, and the ends of compressed files."""
    if "logging" in sys.modules:
        sys.modules["logging"].shutdown()
    flush_files()
    _flush(_found(_written()))
    # They are written through some of the files above, which are flushed again.
    _close(_found(_compressing()))
    _flush(_found((io.BufferedWriter, io.BufferedRandom)))


def end_if_alone() -> None:
    """End this process with exit code 0, if its code has nothing left that only the end of the interpreter does.

    That waits for threads, and calls libraries in C: one may have to leave MPI, or to write a file.
    """
    if count_threads() > 1 or _has_foreign_libraries():
        return
    atexit._run_exitfuncs()
    _close(_compressed)
    complete_files()
    os._exit(0)


def _has_foreign_libraries() -> bool:
    """Whether an extension module has been imported that is not one of Python's own."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return any(file.endswith(EXTENSION) and Path(file).parent.name != OF_PYTHON for file in files if file is not None)


def _written() -> tuple[type, ...]:
    return (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def _compressing() -> tuple[type, ...]:
    names = (("gzip", "GzipFile"), ("bz2", "BZ2File"), ("lzma", "LZMAFile"), ("zipfile", "ZipFile"))
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _found(kinds: tuple[type, ...]) -> list[Any]:
    # Not `isinstance`, which runs code of the object: a proxy may raise.
    return [found for found in gc.get_objects() if issubclass(type(found), kinds)] if kinds else []


def _flush(files: list[Any]) -> None:
    for file in files:
        with suppress(Exception):  # it is closed, or its disk is full
            file.flush()


def _close(files: list[Any]) -> None:
    for file in files:
        with suppress(Exception):
            file.close()
