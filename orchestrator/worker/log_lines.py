"""Show the log lines of a study, with time and experiment, where the study itself has not configured `logging`.

Most studies import `logging` only with a library, or not at all. It is not imported for them: that takes a tenth of a
short task.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from orchestrator.after_import import after_import, not_after_import
from orchestrator.handoff.environment import LOG_LEVEL

__all__ = ["DEFAULT", "current_experiment", "log_lines", "name_experiment"]

DEFAULT = "INFO"
"""The level from which log records are shown, if neither the submitter nor the environment says another one."""

_experiment: int | None = None


@contextmanager
def log_lines(submitted_level: str | None = None) -> Iterator[None]:
    """Print the log records that no handler of the study gets to standard error.

    Parameters
    ----------
    submitted_level : str, optional
        The level if this process's environment has no `ORCHESTRATOR_LOG_LEVEL`; by default INFO.
    """
    with ExitStack() as stack:

        def show() -> None:
            from orchestrator.worker.log_handler import handler_above_root

            stack.enter_context(handler_above_root(os.environ.get(LOG_LEVEL) or submitted_level or DEFAULT))

        stack.callback(not_after_import, "logging", show)
        after_import("logging", show)
        yield


def name_experiment(row: int | None) -> None:
    """Name an experiment in all further log lines, also in those of threads; None: no experiment."""
    global _experiment
    _experiment = row


def current_experiment() -> int | None:
    """Return the experiment that log lines name."""
    return _experiment
