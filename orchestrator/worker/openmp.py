"""End the threads of OpenMP before a fork.

GCC's library (libgomp) keeps them for the next parallel region. A fork does not have them, and would wait for them
forever, as where a study fits a model of scikit-learn when it is imported. The libraries of LLVM and Intel handle
forks by themselves.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["end_openmp_threads"]

HARD = 2
"""`omp_pause_hard`."""


def end_openmp_threads() -> None:
    """End the threads of each libgomp of this process; it starts others when it needs them."""
    for path in _loaded_libraries():
        import ctypes  # not needed by most processes

        with suppress(OSError, AttributeError):  # the file was replaced, or the library is older than GCC 9
            ctypes.CDLL(path).omp_pause_resource_all(HARD)


def _loaded_libraries() -> set[str]:
    try:
        maps = os.fsdecode(Path("/proc/self/maps").read_bytes())
    except OSError:  # not Linux
        return set()
    return {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libgomp" in line}
