"""The handler of log records that no handler of the study gets.

It belongs to a logger above the root logger. So what a study configures, when it is imported or later, holds as it is:
`logging.basicConfig` does nothing if the root logger has a handler. A record that another handler gets is not shown
twice.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.handoff.environment import LOG_LEVEL
from orchestrator.worker import log_lines
from orchestrator.worker.library_code import is_of_a_library

__all__ = ["handler_above_root"]


@contextmanager
def handler_above_root(level: str) -> Iterator[None]:
    """Print the log records that no handler of the study gets to standard error, from a level.

    Parameters
    ----------
    level : str
        Name or number of the level.
    """
    root = logging.getLogger()
    parent, before = root.parent, root.level
    handler = _Handler(_Level(_number_of(level)))
    root.parent = logging.Logger("above the root")
    root.parent.addHandler(handler)
    # A level that the study has set holds.
    if before == logging.WARNING and not root.handlers:
        root.setLevel(handler.level)
    try:
        yield
    finally:
        root.parent = parent
        if root.level is handler.level:
            root.setLevel(before)


class _Level(int):
    """A level whose identity shows that nothing else has set it."""


class _Handler(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(where)s: %(message)s", "%Y-%m-%d %H:%M:%S"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown: not one of a library below INFO, and not one that another handler shows."""
        # At the level DEBUG, some libraries write thousands of lines a second.
        is_noise = record.levelno < logging.INFO and is_of_a_library(record.pathname)
        return not is_noise and not _has_another_handler(record.name)

    def emit(self, record: logging.LogRecord) -> None:
        experiment = log_lines.current_experiment()
        record.where = record.name if experiment is None else f"experiment {experiment} {record.name}"
        try:
            # One call of `write`, so that the lines of threads stay whole.
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def _has_another_handler(name: str) -> bool:
    root = logging.getLogger()
    named = root.manager.loggerDict.get(name)
    logger: logging.Logger | None = named if isinstance(named, logging.Logger) else root
    while logger is not None and logger is not root.parent:
        if not all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent
    return False


def _number_of(text: str) -> int:
    name = text.strip().upper()
    level = int(name) if name.isdecimal() else logging.getLevelNamesMapping().get(name)
    if level is None:
        names = "DEBUG, INFO, WARNING, ERROR or CRITICAL"
        print(
            f"{LOG_LEVEL}={text!r} is not a level. {log_lines.DEFAULT} is used. Use {names}, or a number.",
            file=sys.stderr,
        )
        return logging.INFO
    return level
