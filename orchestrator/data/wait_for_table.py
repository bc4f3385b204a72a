"""Find the table of a project folder, which may not be there yet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["found"]

PAUSE = 5.0
"""Seconds between two attempts."""

Found = TypeVar("Found")


def found(read: Callable[[Path], Found], project_dir: Path | str, *, wait: bool, max_tries: int) -> Found:
    """Read what is in a folder; if it is not there, in the folder of this path where Hydra was started.

    Parameters
    ----------
    read : callable
        Reads a folder, or raises FileNotFoundError.
    project_dir : Path or str
        The folder.
    wait : bool
        Whether to wait until it is there.
    max_tries : int
        Number of attempts.

    Returns
    -------
    Any
        What `read` returns.

    Raises
    ------
    FileNotFoundError
        If it is not there, or not after the last attempt.
    """
    folders = [Path(project_dir), *_where_hydra_started(Path(project_dir))]
    for left in range(max_tries if wait else 1, 0, -1):
        for folder in folders:
            try:
                return read(folder)
            except FileNotFoundError:
                if folder == folders[-1] and left == 1:
                    raise
        time.sleep(PAUSE)
    raise FileNotFoundError(f"{project_dir}: max_tries={max_tries} allows no attempt")


def _where_hydra_started(folder: Path) -> list[Path]:
    if "hydra" not in sys.modules or folder.is_absolute():
        return []
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import get_original_cwd

    return [Path(get_original_cwd()) / folder] if HydraConfig.initialized() else []
