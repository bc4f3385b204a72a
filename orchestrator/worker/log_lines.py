"""Show the log lines of a study, with time and experiment, where the study itself has not configured `logging`.

Python shows records without a handler by `logging.lastResort`, from the level WARNING on. Here it is replaced: so what
a study configures, when it is imported or later, holds as it is, and no line is shown twice.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.handoff.environment import LOG_LEVEL

__all__ = ["log_lines", "within_experiment"]

DEFAULT = "INFO"

STANDARD_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_experiment: int | None = None


@contextmanager
def log_lines(submitted_level: str | None = None) -> Iterator[None]:
    """Print log records to standard error, unless the root logger has handlers.

    Parameters
    ----------
    submitted_level : str, optional
        The level if this process's environment has no `ORCHESTRATOR_LOG_LEVEL`; by default INFO.
    """
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = _Handler(_Level(_level(os.environ.get(LOG_LEVEL) or submitted_level or DEFAULT)))
    last_resort, logging.lastResort = logging.lastResort, handler
    level = root.level
    # A level that the study has set holds.
    if level == logging.WARNING:
        root.setLevel(handler.level)
    try:
        yield
    finally:
        logging.lastResort = last_resort
        if root.level is handler.level:
            root.setLevel(level)


@contextmanager
def within_experiment(row: int | None) -> Iterator[None]:
    """Name an experiment in all log lines, also in those of threads."""
    global _experiment
    before, _experiment = _experiment, row
    try:
        yield
    finally:
        _experiment = before


class _Level(int):
    """A level whose identity shows that nothing else has set it."""


class _Handler(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(where)s: %(message)s", "%Y-%m-%d %H:%M:%S"))

    def filter(self, record: logging.LogRecord) -> bool:
        # At the level DEBUG, some libraries write thousands of lines a second.
        return record.levelno >= logging.INFO or not _is_of_a_library(record.pathname)

    def emit(self, record: logging.LogRecord) -> None:
        record.where = record.name if _experiment is None else f"experiment {_experiment} {record.name}"
        try:
            # One call of `write`, so that the lines of threads stay whole.
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def _is_of_a_library(path: str) -> bool:
    return path.startswith(STANDARD_LIBRARY) or any(part in path for part in LIBRARIES)


def _level(text: str) -> int:
    name = text.strip().upper()
    level = int(name) if name.isdecimal() else logging.getLevelNamesMapping().get(name)
    if level is None:
        names = "DEBUG, INFO, WARNING, ERROR or CRITICAL"
        print(f"{LOG_LEVEL}={text!r} is not a level. {DEFAULT} is used. Use {names}, or a number.", file=sys.stderr)
        return logging.INFO
    return level
