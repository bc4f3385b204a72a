"""Whether a study is being loaded. A call of `Pipeline.run` there does nothing but end the loading."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "FIRST_FOLDER",
    "EndOfLoading",
    "current_folder",
    "is_child_import",
    "is_loading",
    "is_loading_again",
    "loading",
    "main_name",
    "name_main",
]

_NOT, _FIRST, _AGAIN = range(3)
_state = _NOT
_main_name: str | None = None


def current_folder() -> str:
    """Return the working folder; empty if it was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


FIRST_FOLDER = current_folder()
"""The working folder when this was imported."""


class EndOfLoading(BaseException):
    """The module that is loaded has come to the point where it runs a pipeline; what it defined before counts.

    Parameters
    ----------
    pipeline : object
        The pipeline.
    """

    def __init__(self, pipeline: Any) -> None:
        super().__init__("the study runs its pipeline while it is loaded")
        self.pipeline = pipeline


@contextmanager
def loading(*, again: bool) -> Iterator[None]:
    """Mark that a study is loaded in this block.

    Parameters
    ----------
    again : bool
        Whether the study has been loaded before by the process that submitted the run, which had the effects of its
        module-level code.
    """
    global _state
    before, _state = _state, _AGAIN if again else _FIRST
    try:
        yield
    finally:
        _state = before


def is_loading() -> bool:
    """Whether a study is being loaded."""
    return _state != _NOT


def is_loading_again() -> bool:
    """Whether a study is being loaded again, to run a step of it."""
    return _state == _AGAIN or is_child_import()


def is_child_import() -> bool:
    """Whether a child process that `multiprocessing` has started imports the study, before it begins its work."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def name_main(name: str) -> None:
    """Record the name by which other processes can import the `__main__` of this one."""
    global _main_name
    _main_name = name


def main_name() -> str | None:
    """Return the name by which other processes can import the `__main__` of this one; None if there is none."""
    return _main_name
