"""Which code is a library's, and not the user's.

A line of the user's code is the place of an exception, and log records of libraries below INFO are not shown. What is
installed, and so is not kept with a run, is decided by `is_installed` in `orchestrator.definition.modules`.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_of_a_library"]

STANDARD_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_of_a_library(path: str) -> bool:
    """Whether a file of code belongs to the standard library or to an installed package.

    `is_installed` also knows folders of another environment; it takes an import of `sysconfig`, which a task does not
    need.
    """
    return path.startswith(STANDARD_LIBRARY) or any(part in path for part in LIBRARIES)
