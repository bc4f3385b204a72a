"""Evaluate experiments in several processes of this machine, outside of a pipeline: forks of the calling process."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from orchestrator.errors import DataError
from orchestrator.host import usable_cpus

__all__ = ["in_processes"]

_work: list[Callable[[int], Any]] = []
"""What the forks inherit, so that it need not be possible to pickle it."""


def in_processes(work: Callable[[int], Any], n: int, n_processes: int | None = None) -> list[Any]:
    """Call a function with 0, 1, ... in several processes.

    Parameters
    ----------
    work : callable
        The function. It must be possible to pickle what it returns.
    n : int
        Number of calls.
    n_processes : int or None, default None
        Number of processes. By default as many as CPUs may be used.

    Returns
    -------
    list
        What it returned, in order.

    Raises
    ------
    DataError
        If a process has died, or a return value can't be pickled.
    """
    if not n:
        return []
    count = min(n, n_processes or usable_cpus())
    _work.append(work)
    try:
        with warnings.catch_warnings():
            # Python warns of a fork while other threads run, as those of NumPy.
            warnings.simplefilter("ignore", DeprecationWarning)
            with ProcessPoolExecutor(count, multiprocessing.get_context("fork")) as pool:
                results = pool.map(_call, range(n), chunksize=max(1, n // (4 * count)))
                return [pickle.loads(result) for result in results]
    except BrokenProcessPool as error:
        raise DataError(
            "a process that evaluated experiments has died, as by a crash or the kernel's out-of-memory killer.",
            "Find the experiment with mode='sequential', or use a step with parallel=True, which continues without it.",
        ) from error
    finally:
        _work.pop()


def _call(number: int) -> bytes:
    result = _work[-1](number)
    try:
        return pickle.dumps(result)
    except Exception as error:
        raise DataError(
            f"the outputs of an experiment can't be sent to another process: {type(error).__name__}: {error}",
            "Write them to their own files with to_disk=True, or use mode='sequential'.",
        ) from error
